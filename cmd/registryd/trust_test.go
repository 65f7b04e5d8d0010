package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/internal/certstest"
)

// TestAskerRereads changes what a command shows and trusts while it runs, as top and drain do for
// long: the first request after the change is answered. Where nothing has changed, it is made once.
func TestAskerRereads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	login := certstest.Write(t, filepath.Join(dir, "login"), []byte("boss:old"))
	trusted := certstest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM)

	var password atomic.Value
	var pair atomic.Pointer[tls.Certificate]
	password.Store("old")
	shows := func(ca *certstest.CA) {
		cert, key := ca.Files(t, t.TempDir(), "node")
		loaded, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		pair.Store(&loaded)
	}
	shows(ca)
	requests := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if _, given, _ := r.BasicAuth(); given != password.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*pair.Load()}}, nil
		},
	}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // handshakes fail
	server.StartTLS()
	t.Cleanup(server.Close)

	c := &cobra.Command{}
	nodes := addNodes(c, firstAnswers)
	if err := c.ParseFlags([]string{"--login-file", login, "--tls-ca", trusted}); err != nil {
		t.Fatal(err)
	}
	a, err := nodes.asker()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	root, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		requests = 0
		_, err := a.ask(t.Context(), root, request{path: []string{"status"}})
		return err
	}
	if err := ask(); err != nil || requests != 1 {
		t.Fatalf("at first: %v after %d requests", err, requests)
	}

	password.Store("new")
	if err := ask(); !isCode(err, http.StatusUnauthorized) || requests != 1 {
		t.Errorf("with the old login: %v after %d requests, want 401 after one", err, requests)
	}
	certstest.Write(t, login, []byte("boss:new"))
	if err := ask(); err != nil || requests != 2 {
		t.Errorf("with the new login: %v after %d requests, want an answer to the second", err, requests)
	}

	shows(other)
	server.CloseClientConnections()
	if err := ask(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("with the old CA: %v", err)
	}
	certstest.Write(t, trusted, other.PEM)
	if err := ask(); err != nil || requests != 1 {
		t.Errorf("with the new CA: %v after %d requests", err, requests)
	}

	// What can't be used changes nothing.
	certstest.Write(t, login, []byte("boss:new\nother"))
	if err := ask(); err != nil {
		t.Errorf("with a login file of two lines: %v", err)
	}
}
