package certs_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
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

// TestWhatIsNotValidWaits replaces files by some that are not valid now: what is, is kept for as
// long as it is valid, and the newer is taken then, or when it is valid itself.
func TestWhatIsNotValidWaits(t *testing.T) {
	const lookEach = 5 * time.Second
	for name, c := range map[string]struct {
		old, begins, ends time.Duration // from the start: the end of the first, and the life of the second
		kept              time.Duration // when the first is kept still; 0: at no time
		taken             time.Duration // when the second is there
	}{
		"it has ended":        {old: 2 * time.Hour, begins: -time.Hour, ends: -time.Minute, kept: 2*time.Hour - lookEach, taken: 2*time.Hour + 3*lookEach},
		"it has not begun":    {old: 2 * time.Hour, begins: time.Hour, ends: 3 * time.Hour, kept: time.Hour - lookEach, taken: time.Hour + lookEach},
		"both have ended":     {old: -2 * time.Minute, begins: -time.Hour, ends: -time.Minute, taken: 0},
		"both are valid":      {old: 2 * time.Hour, begins: -time.Hour, ends: time.Hour, taken: 0},
		"neither is, for now": {old: -time.Minute, begins: time.Hour, ends: 2 * time.Hour, taken: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, dir := time.Now(), t.TempDir()
				ca := certstest.NewCA(t, "ca")
				cert, key := ca.Pair(t, "first", c.old)
				f := certs.Files{
					Cert: certstest.Write(t, filepath.Join(dir, "cert.pem"), cert), Key: certstest.Write(t, filepath.Join(dir, "key.pem"), key),
				}
				var log strings.Builder
				s, err := certs.Open("http", f, tls.NoClientCert, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				until := func(after time.Duration, want string) {
					t.Helper()
					for time.Since(began) < after {
						time.Sleep(lookEach)
						s.Look()
					}
					s.Look()
					if got := s.Current().Pairs[0].Leaf.Subject.CommonName; got != want {
						t.Errorf("after %v: the %s one is there, want the %s", after, got, want)
					}
				}
				until(0, "first")
				cert, key = ca.Between(t, "second", began.Add(c.begins), began.Add(c.ends))
				certstest.Write(t, f.Cert, cert)
				certstest.Write(t, f.Key, key)
				if c.kept > 0 {
					until(lookEach, "first")
					if n := testutil.ToFloat64(stale{s}); n != 1 {
						t.Errorf("registryd_files_stale %v, want 1", n)
					}
					until(c.kept, "first")
					if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "the one before is valid until 2000-") {
						t.Errorf("%d errors, want one that says until when: %s", n, &log)
					}
				}
				until(c.taken, "second")
				if n := testutil.ToFloat64(stale{s}); n != 0 {
					t.Errorf("registryd_files_stale %v after it was taken, want 0", n)
				}
			})
		})
	}
}

// stale is one metric of a store.
type stale struct{ *certs.Store }

func (s stale) Collect(out chan<- prometheus.Metric) {
	all := make(chan prometheus.Metric, 16)
	s.Store.Collect(all)
	close(all)
	for m := range all {
		if strings.Contains(m.Desc().String(), `"registryd_files_stale"`) {
			out <- m
		}
	}
}

// TestCAsThatAreOver: CAs of which none is valid are not taken in the place of one that is. Of
// several one may be over.
func TestCAsThatAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := certstest.NewCA(t, "over")
		time.Sleep(11 * 24 * time.Hour)
		ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
		f := certs.Files{CA: certstest.Write(t, filepath.Join(t.TempDir(), "ca.pem"), ca.PEM)}
		s, err := certs.Open("http", f, tls.NoClientCert, nil)
		if err != nil {
			t.Fatal(err)
		}
		first := s.Current()
		certstest.Write(t, f.CA, over.PEM)
		for range 3 {
			s.Look()
		}
		if s.Current() != first {
			t.Error("a CA that is over took the place of one that is valid")
		}
		certstest.Write(t, f.CA, append(over.PEM, other.PEM...))
		if s.Look(); s.Current() == first {
			t.Error("CAs of which one is valid were not taken")
		}
		certstest.Write(t, f.CA, over.PEM)
		time.Sleep(11 * 24 * time.Hour)
		if s.Look(); s.Current().Pool.Equal(first.Pool) || testutil.ToFloat64(stale{s}) != 0 {
			t.Error("with all of them over the newest were not taken")
		}
	})
}
