package broker_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/broker"
)

// TestExpiry shows when certificates are over, as they stand in the files at the moment.
func TestExpiry(t *testing.T) {
	ca, cert, _ := certificates(t)
	chain := filepath.Join(t.TempDir(), "chain.pem")
	var text []byte
	for _, file := range []string{cert, ca} {
		part, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	block, rest := pem.Decode(text)
	first, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode(rest)
	second, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	earlier := min(first.NotAfter.Unix(), second.NotAfter.Unix())
	metric := broker.NewExpiry(broker.TLSFiles{Cert: chain}, broker.TLSFiles{})
	if n := testutil.CollectAndCount(metric); n != 0 {
		t.Errorf("%d series without a file, want 0", n)
	}
	if err := os.WriteFile(chain, text, 0o600); err != nil {
		t.Fatal(err)
	}
	const head = `# HELP registryd_broker_certificate_expiry_timestamp_seconds When the first certificate of the chain is over that this node shows, by use: nats, to an existing NATS, or embedded, by the embedded broker.
# TYPE registryd_broker_certificate_expiry_timestamp_seconds gauge
`
	want := head + fmt.Sprintf("registryd_broker_certificate_expiry_timestamp_seconds{use=\"nats\"} %d\n", earlier)
	if err := testutil.CollectAndCompare(metric, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(chain, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(metric); n != 0 {
		t.Errorf("%d series of a file without a certificate, want 0", n)
	}
}
