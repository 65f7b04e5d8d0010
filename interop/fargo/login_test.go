package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hudl/fargo"

	"github.com/registryd/registryd/interop/process"
)

// certificate writes the certificate of the standard library's tests, which is for 127.0.0.1,
// with its key, and returns a client that trusts it.
func certificate(t *testing.T, dir string) (cert, key string, client *http.Client) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	s.Close()
	pair := s.TLS.Certificates[0]
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	client = &http.Client{Timeout: requestTime, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
	}}
	t.Cleanup(client.CloseIdleConnections)
	return write("cert.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", secret), client
}

// TestLogins has fargo put a login into its URL, by http and by https. It does what it always
// does with its own application, and nothing with another's.
func TestLogins(t *testing.T) {
	c := newCluster(t)
	cert, key, secure := certificate(t, t.TempDir())
	before := fargo.HttpClient
	t.Cleanup(func() { fargo.HttpClient = before })
	for scheme, client := range map[string]*http.Client{"http": c.http, "https": secure} {
		t.Run(scheme, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			fargo.HttpClient = client
			logins := filepath.Join(t.TempDir(), "logins")
			token, err := exec.CommandContext(ctx, c.binary, "user", "add", "orders", "--logins", logins,
				"--role", "client", "--apps", "ORDERS", "--token").Output()
			if err != nil {
				t.Fatal(err)
			}
			at := "127.0.0.1:" + strconv.Itoa(process.FreePort(ctx, t))
			args := []string{
				"serve", "--node", "n", "--data", "none", "--listen", at, "--embedded-listen", "127.0.0.1:0",
				"--logins", logins, "--own-apps-only",
			}
			if scheme == "https" {
				args = append(args, "--tls-cert", cert, "--tls-key", key)
			}
			if _, err := process.Start(t, "node n", keep, nil, c.binary, args...); err != nil {
				t.Fatal(err)
			}
			until(ctx, t, "the node is ready", func() error {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at+"/readyz", http.NoBody)
				if err != nil {
					return err
				}
				res, err := client.Do(r)
				if err != nil {
					return err
				}
				if res.StatusCode != http.StatusOK {
					err = fmt.Errorf("readyz: %s", res.Status)
				}
				return errorsOf(err, res.Body.Close())
			})
			instance := func(app string) *fargo.Instance {
				return &fargo.Instance{
					HostName: "host-1", Port: 8080, App: app, IPAddr: "192.0.2.1", VipAddress: strings.ToLower(app),
					DataCenterInfo: fargo.DataCenterInfo{Name: fargo.MyOwn}, Status: fargo.UP,
				}
			}
			own := fargo.NewConn(scheme + "://orders:" + strings.TrimSpace(string(token)) + "@" + at + "/eureka/v2")
			orders := instance("ORDERS")
			if err := own.RegisterInstance(orders); err != nil {
				t.Errorf("register: %v", err)
			}
			if err := own.HeartBeatInstance(orders); err != nil {
				t.Errorf("heartbeat: %v", err)
			}
			app, err := own.GetApp("ORDERS")
			if err != nil || len(app.Instances) != 1 {
				t.Errorf("read back: %+v, %v", app, err)
			}
			if err := own.RegisterInstance(instance("PAYMENTS")); err == nil {
				t.Error("another's application is registered")
			}
			stranger := fargo.NewConn(scheme + "://" + at + "/eureka/v2")
			if err := stranger.RegisterInstance(instance("ORDERS")); err == nil {
				t.Error("a stranger has registered")
			}
			if apps, err := stranger.GetApps(); err == nil {
				t.Errorf("a stranger reads %v", apps)
			}
			if err := own.DeregisterInstance(orders); err != nil {
				t.Errorf("cancel: %v", err)
			}
		})
	}
}

func errorsOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
