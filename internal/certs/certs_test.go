package certs_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/internal/certs"
	"github.com/registryd/registryd/internal/certstest"
)

// handshake connects a client to a server over a pipe, and returns the name of the server's
// certificate.
func handshake(t *testing.T, server, client *tls.Config) (string, error) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // A test's own.
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		s := tls.Server(c, server)
		if err = s.HandshakeContext(t.Context()); err == nil {
			_, err = s.Write([]byte("x"))
		}
		served <- err
		s.Close() //nolint:errcheck // A test's own.
	}()
	config := client.Clone()
	config.ServerName = "localhost"
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := tls.Client(c, config)
	defer s.Close() //nolint:errcheck // A test's own.
	if err = s.HandshakeContext(t.Context()); err == nil {
		_, err = s.Read(make([]byte, 1)) // a server tells a refused certificate after the handshake
	}
	if serr := <-served; err == nil {
		err = serr
	}
	if err != nil {
		return "", err
	}
	return s.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// TestRotation replaces certificate, key and CA of a server while it runs.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	cert, key := ca.Pair(t, "first", 30*24*time.Hour)
	f := certs.Files{
		CA: certstest.Write(t, at("ca.pem"), ca.PEM), Cert: certstest.Write(t, at("cert.pem"), cert),
		Key: certstest.Write(t, at("key.pem"), key),
	}
	var log strings.Builder
	s, err := certs.Open("test", f, tls.RequireAndVerifyClientCert, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	server := s.Server() // once, for all that follows
	is := func(client *tls.Config, want string) {
		t.Helper()
		if got, err := handshake(t, server, client); err != nil || got != want {
			t.Errorf("server is %q, %v; want %q", got, err, want)
		}
	}
	refused := func(client *tls.Config) {
		t.Helper()
		if got, err := handshake(t, server, client); err == nil {
			t.Errorf("%q took the connection", got)
		}
	}
	is(ca.Client(t, "client"), "first")
	refused(ca.Client(t, "")) // no certificate
	stranger := ca.Client(t, "")
	stranger.Certificates = other.Client(t, "client").Certificates
	refused(stranger)

	// The certificate before its key: nothing changes until both are there.
	cert, key = ca.Pair(t, "second", 3*24*time.Hour)
	certstest.Write(t, f.Cert, cert)
	s.Look()
	is(ca.Client(t, "client"), "first")
	if log.Len() > 0 {
		t.Errorf("half a rotation is logged: %s", &log)
	}
	certstest.Write(t, f.Key, key)
	s.Look()
	is(ca.Client(t, "client"), "second")
	if !strings.Contains(log.String(), "a certificate ends soon") {
		t.Errorf("three days before its end nothing is said: %s", &log)
	}

	metrics := prometheus.NewRegistry()
	if err := metrics.Register(s); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(metrics, "registryd_tls_certificate_expiry_seconds"); n != 2 || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "registryd_tls_certificate_expiry_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			want := map[string]float64{"ca": 10, "certificate": 3}[m.GetLabel()[0].GetValue()]
			if days := m.GetGauge().GetValue() / 86400; days < want-.01 || days > want {
				t.Errorf("%v: %v days, want %v", m.GetLabel(), days, want)
			}
		}
	}

	// Both CAs for a while, then the new one alone.
	cert, key = other.Pair(t, "third", 30*24*time.Hour)
	certstest.Write(t, f.CA, append(ca.PEM, other.PEM...))
	s.Look()
	stranger.Certificates = other.Client(t, "client").Certificates
	is(stranger, "second")
	certstest.Write(t, f.Cert, cert)
	certstest.Write(t, f.Key, key)
	certstest.Write(t, f.CA, other.PEM)
	s.Look()
	is(other.Client(t, "client"), "third")
	refused(ca.Client(t, "client"))

	// What does not parse keeps the old ones, and says so.
	log.Reset()
	certstest.Write(t, f.CA, []byte("no certificate"))
	s.Look()
	s.Look()
	is(other.Client(t, "client"), "third")
	if !strings.Contains(log.String(), "files unusable, keeping what was read before") {
		t.Errorf("nothing is said: %s", &log)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Files(t, dir, "node")
	_, another := ca.Files(t, dir, "another")
	empty := certstest.Write(t, filepath.Join(dir, "empty"), nil)
	for name, f := range map[string]certs.Files{
		"no key":       {Cert: cert},
		"no cert":      {Key: key},
		"another key":  {Cert: cert, Key: another},
		"no such file": {CA: filepath.Join(dir, "missing"), Cert: cert, Key: key},
		"an empty CA":  {CA: empty},
		"CA is a key":  {CA: key},
	} {
		if _, err := certs.Open("test", f, tls.NoClientCert, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := certs.Open("test", certs.Files{CA: cert, Cert: cert, Key: key}, tls.NoClientCert, nil); err != nil {
		t.Error(err)
	}
}

// TestEndedIsSaid has a certificate that is over: it does not end soon.
func TestEndedIsSaid(t *testing.T) {
	cert, key := certstest.NewCA(t, "ca").Pair(t, "over", -time.Minute)
	dir := t.TempDir()
	f := certs.Files{
		Cert: certstest.Write(t, filepath.Join(dir, "cert.pem"), cert), Key: certstest.Write(t, filepath.Join(dir, "key.pem"), key),
	}
	var log strings.Builder
	s, err := certs.Open("http", f, tls.NoClientCert, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.Look()
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "has ended") || strings.Contains(log.String(), "soon") {
		t.Errorf("got %s, want that it has ended", &log)
	}
}
