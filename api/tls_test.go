package api_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/certs"
	"github.com/registryd/registryd/internal/certstest"
)

// secureStore returns a store of a server's certificate in a directory.
func secureStore(t *testing.T, ca *certstest.CA, dir string) *certs.Store {
	t.Helper()
	cert, key := ca.Files(t, dir, "node")
	s, err := certs.Open("http", certs.Files{Cert: cert, Key: key}, tls.NoClientCert, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// secureClient returns a client that trusts a CA. Without keepAlive each request has a
// connection of its own.
func secureClient(t *testing.T, ca *certstest.CA, keepAlive bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: ca.Client(t, ""), DisableKeepAlives: !keepAlive, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func code(t *testing.T, c *http.Client, method, url, body string) (status, protocol int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	r.Header.Set("Content-Type", jsonType)
	res, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer res.Body.Close() //nolint:errcheck // It was read.
	_, err = io.Copy(io.Discard, res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, res.ProtoMajor
}

// TestRotationUnderLoad replaces the server's certificate again and again while clients send
// heartbeats on kept and on new connections. None is lost.
func TestRotationUnderLoad(t *testing.T) {
	ca, dir := certstest.NewCA(t, "ca"), t.TempDir()
	store := secureStore(t, ca, dir)
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "one", "")
	s := serve(t, n, api.ServerOptions{TLS: store.Server()})
	url := "https://" + s.Addr().String() + "/eureka/apps/ORDERS/one"
	var sent atomic.Int64
	done := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			c := secureClient(t, ca, i%2 == 0)
			for {
				select {
				case <-done:
					return
				default:
				}
				status, protocol := code(t, c, http.MethodPut, url, "")
				if status != 200 || protocol != 1 {
					t.Errorf("heartbeat: status %d by HTTP/%d, want 200 by HTTP/1", status, protocol)
					return
				}
				sent.Add(1)
			}
		})
	}
	const rotations = 20
	last := ""
	for i := range rotations {
		before := sent.Load()
		cert, key := ca.Pair(t, "node-"+string(rune('a'+i)), time.Hour)
		last = "node-" + string(rune('a'+i))
		certstest.Write(t, filepath.Join(dir, "node.pem"), cert)
		store.Look() // between the two, as a poll may come
		certstest.Write(t, filepath.Join(dir, "node.key"), key)
		store.Look()
		for deadline := time.Now().Add(20 * time.Second); sent.Load() < before+16; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) || t.Failed() {
				t.Fatalf("%d heartbeats after rotation %d", sent.Load()-before, i+1)
			}
		}
	}
	close(done)
	clients.Wait()
	dialer := tls.Dialer{Config: ca.Client(t, "")}
	c, err := dialer.DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // A test's own.
	if got := c.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != last {
		t.Errorf("the server is %q after all, want %q", got, last)
	}
	t.Logf("%d heartbeats over %d rotations", sent.Load(), rotations)
}

// TestSecureDoor holds what TestServer… hold of plain connections: nothing that was sent
// before Open is applied, however late its handshake.
func TestSecureDoor(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	store := secureStore(t, ca, t.TempDir())
	n := newNode(t, api.Options{})
	s, err := api.Listen(t.Context(), "127.0.0.1:0", api.ServerOptions{TLS: store.Server()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	url := "https://" + s.Addr().String()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	old := secureClient(t, ca, true)
	if status, _ := code(t, old, http.MethodPost, url+"/eureka/apps/ORDERS", registration("ORDERS", "one", "")); status != 503 {
		t.Errorf("a register before Open: %d, want 503", status)
	}
	if status, _ := code(t, old, http.MethodGet, url+"/eureka/apps", ""); status != 403 {
		t.Errorf("a list before Open: %d, want 403", status)
	}
	if err := s.Open(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	// The connection is from before, its handshake from after.
	late := &http.Client{Transport: &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			config := ca.Client(t, "")
			config.ServerName = "localhost"
			return tls.Client(raw, config), nil
		},
	}, Timeout: 20 * time.Second}
	if status, _ := code(t, late, http.MethodPost, url+"/eureka/apps/ORDERS", registration("ORDERS", "one", "")); status != 503 {
		t.Errorf("a register on a connection from before Open: %d, want 503", status)
	}
	if status, _ := code(t, old, http.MethodPost, url+"/eureka/apps/ORDERS", registration("ORDERS", "one", "")); status != 204 {
		t.Errorf("a register after Open: %d, want 204", status)
	}
	// Who speaks http is told so, and nothing else.
	if a := do(t, "GET", "http://"+s.Addr().String()+"/eureka/apps", ""); a.code != 400 || !strings.Contains(a.body, "HTTPS") {
		t.Errorf("http: %d %q", a.code, a.body)
	}
}

// TestShutdownOfSecureConnections ends at once although connections are silent.
func TestShutdownOfSecureConnections(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	s := serve(t, newNode(t, api.Options{}), api.ServerOptions{TLS: secureStore(t, ca, t.TempDir()).Server()})
	dial(t, s)
	if status, _ := code(t, secureClient(t, ca, true), http.MethodGet, "https://"+s.Addr().String()+"/healthz", ""); status != 200 {
		t.Errorf("status %d", status)
	}
	start := time.Now()
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the end took %v", took)
	}
}
