//go:build faults

package faults_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// regions are the servers of deploy/nats/regions, as their files name them.
var regions = map[string][]string{
	"east": {"east-1", "east-2"},
	"west": {"west-1", "west-2"},
}

// homes is the region of each node of permissions.conf in this test.
var homes = map[string]string{"node-a": "east", "node-b": "east", "node-c": "west"}

// TestShortRegions runs the files of deploy/nats/regions as they are: two
// clusters joined by leaf links are one registry, also after a server of the link
// was killed, and after the link was cut.
func TestShortRegions(t *testing.T) {
	t.Parallel()
	l := newBareLab(t)
	files, err := filepath.Abs("../deploy/nats/regions")
	if err != nil {
		t.Fatal(err)
	}
	env := certificates(t, append(regions["east"], regions["west"]...))
	for _, name := range []string{"NODE_A", "NODE_B", "NODE_C", "TAIL", "OPS", "LEAF"} {
		env = append(env, fmt.Sprintf("REGISTRYD_%s_PASSWORD=%q", name, "secret"))
	}
	for i, server := range regions["east"] {
		env = append(env, fmt.Sprintf("REGISTRYD_EAST_%d=%q", i+1, "tls://west:secret@"+server+":7422"))
	}
	servers := map[string][]*natsServer{}
	var names strings.Builder
	for _, region := range []string{"east", "west"} {
		for _, name := range regions[region] {
			s := l.addBroker(name, "-n", name, "-c", filepath.Join(files, region+".conf"))
			s.env = env
			servers[region] = append(servers[region], s)
			fmt.Fprintln(&names, s.host.addr, name)
		}
	}
	resolve(t, names.String())
	for _, s := range l.brokers {
		s.start()
	}
	l.waitBrokers()
	for _, name := range []string{"node-a", "node-b", "node-c"} {
		n := l.addNode(name, servers[homes[name]], labOptions{})
		for i, arg := range n.args {
			n.args[i] = strings.ReplaceAll(arg, "nats://", "nats://"+name+":secret@")
		}
		n.start()
	}
	l.waitReady(l.nodes...)
	l.united()
	f := startFleet(l, fleetOptions{Size: 40})
	f.settle("the start of two regions")
	east, west := servers["east"], servers["west"]
	play(t, l, f, false,
		fault{"kill -9 of east-1", func(l *lab, _ *fleet) {
			east[0].kill()
			pause(downTime)
			l.united()
			east[0].start()
			l.waitBrokers()
		}},
		fault{"the link between the regions cut", func(l *lab, _ *fleet) {
			for _, s := range west {
				s.host.cut(east[0].host, east[1].host)
			}
			l.divided(l.nodes[2], 2)
			l.divided(l.nodes[0], 1)
			pause(partitionTime / 2)
			l.mend(east[0].host, east[1].host, west[0].host, west[1].host)
		}},
	)
	f.settleExpired("all faults of regions")
}

// resolve adds names to the hosts file of these namespaces.
func resolve(t *testing.T, lines string) {
	t.Helper()
	file, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(lines)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// certificates makes a CA and one certificate of all the names, and returns the
// environment that names the files.
func certificates(t *testing.T, names []string) []string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "faults"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(err)
	quoted := func(name, file string) string { return fmt.Sprintf("%s=%q", name, file) }
	return []string{
		quoted("REGISTRYD_TLS_CA", write("ca.pem", "CERTIFICATE", caDER)),
		quoted("REGISTRYD_TLS_CERT", write("cert.pem", "CERTIFICATE", der)),
		quoted("REGISTRYD_TLS_KEY", write("key.pem", "EC PRIVATE KEY", keyDER)),
	}
}
