package broker_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

// The NATS client closes a connection for good on every error that it does not know. The next one follows, and all that
// was subscribed is there again.
func TestConnectionEnds(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	for _, text := range []string{
		"Maximum Payload Violation", "maximum control line exceeded", "Invalid Subject", "Authentication Timeout",
		"Authorization Violation", "Failed Account Registration", "Server Shutdown", "maximum account active connections exceeded",
		"maximum connections exceeded", "Stale Connection", "Unknown Protocol Operation", "anything that is new",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			server := natstest.TCP(t)
			proxy := newProxy(t, server.Address())
			a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{proxy.address()}}})
			b := natstest.Node(t, server, "b")
			held := make(chan struct{}, 1)
			serve(t, b, func(r *broker.Request) {
				if string(r.Body) == "hold" {
					held <- struct{}{}
					return
				}
				echo(t)(r)
			})
			serve(t, a, echo(t))
			tailed := newProxy(t, server.Address())
			w := watch(t, broker.WatchOptions{Access: broker.Access{URLs: []string{tailed.address()}}, Node: "a"})
			heard := make(chan string, 10)
			if _, err := a.Subscribe("x", func(m broker.Message) { heard <- string(m.Body) }); err != nil {
				t.Fatal(err)
			}
			mustAsk(t, a, "b", "before")
			waiting := make(chan error, 1)
			go func() {
				_, err := ask(within(t, patience), a, "b", "hold")
				waiting <- err
			}()
			<-held
			proxy.inject("-ERR '" + text + "'\r\n")
			wantError(t, <-waiting, broker.ErrDisconnected)
			eventually(t, "connected again", a.Connected)
			tailed.inject("-ERR '" + text + "'\r\n")
			eventually(t, "the watcher is disconnected", func() bool { return !w.Stats().Connected })
			eventually(t, "the watcher is connected again", func() bool { return w.Stats().Connected })
			mustAsk(t, a, "b", "after")
			eventually(t, "the watcher sees what follows", func() bool { return string(next(t, w).Body) == "after" })
			mustAsk(t, b, "a", "after")
			if err := b.Publish("x", []byte("after")); err != nil {
				t.Fatal(err)
			}
			if got := <-heard; got != "after" {
				t.Errorf("heard %q", got)
			}
			wantCounts(t, a, 2, 1, 1)
		})
	}
}

// A broker at a round trip of half a second needs four of them for a connection with TLS.
func TestFarBroker(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	ca, cert, key := certificates(t)
	files := broker.TLSFiles{CA: ca, Cert: cert, Key: key}
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", TLS: files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	proxy := newProxy(t, server.Address())
	proxy.delay.Store(int64(300 * time.Millisecond)) // Each way; the dial itself takes no time.
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{"tls://" + proxy.address()}, TLS: files}})
	eventually(t, "connected", a.Connected)
}

// A connection uses the files as they are when it begins.
func TestFilesReadAnew(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	address := natstest.FreeAddress(t)
	start := func() (*broker.Server, broker.TLSFiles) {
		ca, cert, key := certificates(t)
		files := broker.TLSFiles{CA: ca, Cert: cert, Key: key}
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: address, TLS: files})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server, files
	}
	first, files := start()
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{"tls://" + address}, TLS: files}})
	eventually(t, "connected", a.Connected)
	first.Shutdown()
	_, renewed := start()
	eventually(t, "the old files are refused", func() bool { return strings.Contains(a.State().Trouble, "certificate") })
	for from, to := range map[string]string{renewed.CA: files.CA, renewed.Cert: files.Cert, renewed.Key: files.Key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "connected with the new files", a.Connected)
}
