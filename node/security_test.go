package node_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/node"
)

// adminToken is that of the login boss of secured nodes.
const adminToken = "0123456789abcdef"

// secured returns options with https, by a certificate of a CA, and one login, of an admin.
func secured(t *testing.T, ca *certstest.CA, opts node.Options) node.Options {
	t.Helper()
	sum := sha256.Sum256([]byte(adminToken))
	file := filepath.Join(t.TempDir(), "logins")
	if err := os.WriteFile(file, []byte("boss admin sha256:"+hex.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.Security.Access = access.Options{File: file}
	opts.Security.TLSCert, opts.Security.TLSKey = ca.Files(t, t.TempDir(), "node")
	return opts
}

// TestNoSecretIsShown asks a node with a wrong login and with the right one for all that it
// tells, and looks for the token and its hash.
func TestNoSecretIsShown(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	var log lockedLog
	opts := secured(t, ca, node.Options{Name: "n1", Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	n := start(t, opts)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: ca.Client(t, "")}, Timeout: patience}
	t.Cleanup(client.CloseIdleConnections)
	root := strings.TrimSuffix(n.URL(), "eureka/")
	if !strings.HasPrefix(root, "https://") {
		t.Fatalf("advertised: %s", n.URL())
	}
	sum := sha256.Sum256([]byte(adminToken))
	secrets := []string{adminToken, hex.EncodeToString(sum[:]), "wrong-" + adminToken[:4]}
	ask := func(login, path string, want int) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, root+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("boss", login)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // It was read.
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != want {
			t.Errorf("%s as %q: %s, %v", path, login, res.Status, err)
		}
		return string(body)
	}
	told := map[string]string{}
	for _, path := range []string{ // fewer than ten, which slow the address
		"", "status", "metrics", "versions", "lastn", "v1/history", "eureka/apps", "eureka/status", "debug/pprof/",
	} {
		told[path] = ask(adminToken, path, http.StatusOK) + ask("wrong-"+adminToken[:4], path, http.StatusUnauthorized)
	}
	told["the log"] = log.String()
	for where, text := range told {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows a secret", where)
			}
		}
	}
	if !strings.Contains(told["the log"], "login failed") {
		t.Error("the log does not tell of the failed logins")
	}
}

// lockedLog takes a log from several goroutines.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
