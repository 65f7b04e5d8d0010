package broker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func TestStartUnreachable(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	address := natstest.FreeAddress(t)
	start := time.Now()
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{"nats://" + address}}})
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("start took %s", took)
	}
	if a.Connected() {
		t.Error("connected to nobody")
	}
	if state := a.State(); state.Up || state.Trouble == "" || state.Since.Before(start) {
		t.Errorf("state %+v before the first connect, want a reason for which it is down", state)
	}
	if got := a.MaxPayload(); got != broker.DefaultMaxPayload {
		t.Errorf("max payload %d before the first connect, want %d", got, broker.DefaultMaxPayload)
	}
	_, err := ask(t.Context(), a, "b", "")
	wantError(t, err, broker.ErrDisconnected)
	wantError(t, a.Publish("registry.test.presence.a", nil), broker.ErrDisconnected)

	// What is subscribed now holds once there is a broker.
	serve(t, a, echo(t))
	heard := make(chan broker.Message, 1)
	if _, err := a.Subscribe(a.Subjects().AllPresence(), func(m broker.Message) { heard <- m }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "failed attempts are counted", func() bool { return a.Count("connect_attempts_total", "failed") > 0 })
	server := natstest.At(t, address)
	eventually(t, "connected", a.Connected)
	b := natstest.Node(t, server, "b")
	eventually(t, "the service is there", func() bool {
		reply, err := ask(within(t, time.Second), b, "a", "x")
		return err == nil && reply == "b:x"
	})
	if err := b.Publish(b.Subjects().Presence("b"), []byte("here")); err != nil {
		t.Fatal(err)
	}
	if m := <-heard; string(m.Body) != "here" {
		t.Errorf("heard %q", m.Body)
	}
	wantCounts(t, a, 1, 0, 1)
	if got := a.Count("published_messages_total", "unsent"); got != 1 {
		t.Errorf("%d messages unsent, want 1", got)
	}
}

func TestBlackHole(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	// A listener that accepts and says nothing.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // A test's own.
	start := time.Now()
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{listener.Addr().String()}}})
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("start took %s", took)
	}
	start = time.Now()
	_, err = ask(t.Context(), a, "b", "")
	wantError(t, err, broker.ErrDisconnected)
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("the request waited %s for a broker that isn't there", took)
	}
}

func TestBrokerRestart(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	address := natstest.FreeAddress(t)
	first := natstest.At(t, address)
	access := broker.Access{URLs: []string{"nats://" + address}}
	a := natstest.Start(t, broker.Options{Node: "a", Access: access})
	b := natstest.Start(t, broker.Options{Node: "b", Access: access})
	served := make(chan string, 100)
	held := make(chan struct{}, 1)
	serve(t, b, func(r *broker.Request) {
		served <- string(r.Body)
		if string(r.Body) == "hold" {
			held <- struct{}{}
			return
		}
		echo(t)(r)
	})
	mustAsk(t, a, "b", "before")
	before := a.State()
	if !before.Up || before.Trouble != "" || a.State() != before {
		t.Errorf("states %+v, %+v of one connection, want up, and equal", before, a.State())
	}

	// A request that waits when the broker is lost fails at once, not after its time-out.
	waiting := make(chan error, 1)
	go func() {
		_, err := ask(within(t, patience), a, "b", "hold")
		waiting <- err
	}()
	<-held
	first.Shutdown()
	wantError(t, <-waiting, broker.ErrDisconnected)
	eventually(t, "both are disconnected", func() bool { return !a.Connected() && !b.Connected() })
	for range 5 {
		_, err := ask(t.Context(), a, "b", "meanwhile")
		wantError(t, err, broker.ErrDisconnected)
	}
	wantError(t, a.Publish(a.Subjects().Presence("a"), nil), broker.ErrDisconnected)

	down := a.State()
	if down.Up || down.Trouble == "" || !down.Since.After(before.Since) {
		t.Errorf("state %+v after the connection ended", down)
	}
	natstest.At(t, address)
	eventually(t, "both are connected", func() bool { return a.Connected() && b.Connected() })
	eventually(t, "requests work again", func() bool {
		reply, err := ask(within(t, time.Second), a, "b", "after")
		return err == nil && reply == "a:after"
	})
	if after := a.State(); !after.Up || after.Trouble != "" || !after.Since.After(down.Since) {
		t.Errorf("state %+v of the second connection, want it up since later", after)
	}
	close(served)
	for body := range served {
		if body == "meanwhile" {
			t.Error("a request that had failed was sent later")
		}
	}
	wantCounts(t, a, 2, 1, 6)
}

// A broker that has stopped without closing its sockets (a stopped process, a cut cable) is noticed by the pings, and
// holds nobody for longer than the write time-out, even with full buffers.
func TestStalledBroker(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	tests := []struct {
		name string
		body string
	}{
		{"idle", ""},
		{"full buffers", strings.Repeat("x", 512<<10)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := natstest.TCP(t)
			proxy := newProxy(t, server.Address())
			a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{proxy.address()}}})
			b := natstest.Node(t, server, "b")
			serve(t, b, echo(t))
			mustAsk(t, a, "b", "before")
			proxy.stall()
			start := time.Now()
			for test.body != "" && a.Connected() && time.Since(start) < patience {
				before := time.Now()
				if _, err := ask(within(t, 100*time.Millisecond), a, "b", test.body); err == nil {
					t.Fatal("answered through a stalled proxy")
				}
				if took := time.Since(before); took > 3*time.Second {
					t.Errorf("a request was held for %s", took)
				}
			}
			eventually(t, "disconnected", func() bool { return !a.Connected() })
			if took := time.Since(start); took > 6*time.Second {
				t.Errorf("noticed after %s", took)
			}
			proxy.resume()
			eventually(t, "connected again", a.Connected)
			mustAsk(t, a, "b", "after")
		})
	}
}

func TestMaxPayload(t *testing.T) {
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{MaxPayload: 2000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	if got := a.MaxPayload(); got != 2000 {
		t.Errorf("max payload %d, want 2000", got)
	}
	answers := make(chan error, 2)
	serve(t, b, func(r *broker.Request) {
		answers <- r.Respond(make([]byte, 3000))
		answers <- r.Fail(500, "too much to say")
	})
	_, err = ask(within(t, patience), a, "b", strings.Repeat("x", 1800))
	wantError(t, <-answers, broker.ErrTooLarge)
	if err := <-answers; err != nil {
		t.Errorf("fail after a too large answer: %v", err)
	}
	wantError(t, err, broker.ErrRemote)

	_, err = ask(t.Context(), a, "b", strings.Repeat("x", 1990)) // With the headers it is over.
	wantError(t, err, broker.ErrTooLarge)
	if tooLarge, ok := errors.AsType[*broker.TooLargeError](err); !ok || tooLarge.Max != 2000 || tooLarge.Size <= 2000 {
		t.Errorf("error %+v, want one that tells size and bound", tooLarge)
	}
	wantError(t, a.Publish(a.Subjects().Presence("a"), make([]byte, 2001)), broker.ErrTooLarge)
	if !a.Connected() {
		t.Error("a message that was too large cost the connection")
	}
}

func TestStartOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(file, []byte("nothing of use"), 0o600); err != nil {
		t.Fatal(err)
	}
	urls := []string{"nats://127.0.0.1:1"}
	tests := []struct {
		name    string
		options broker.Options
		want    error
		text    string
	}{
		{"no cluster", broker.Options{Node: "a", Access: broker.Access{URLs: urls}}, broker.ErrName, `cluster ""`},
		{"bad node", broker.Options{Cluster: "c", Node: "a.b", Access: broker.Access{URLs: urls}}, broker.ErrName, `node "a.b"`},
		{"reserved node", broker.Options{Cluster: "c", Node: "ask", Access: broker.Access{URLs: urls}}, broker.ErrName, `node "ask"`},
		{"no broker", broker.Options{Cluster: "c", Node: "a"}, broker.ErrOptions, "want one"},
		{"two brokers", broker.Options{Cluster: "c", Node: "a", Embedded: &broker.ServerOptions{}, Access: broker.Access{URLs: urls}}, broker.ErrOptions, "want one"},
		{"negative", broker.Options{Cluster: "c", Node: "a", MaxRequests: -1, Access: broker.Access{URLs: urls}}, broker.ErrOptions, "negative"},
		{"embedded", broker.Options{Cluster: "c", Node: "a", Embedded: &broker.ServerOptions{Listen: "0.0.0.0:0", MaxPayload: -1}}, broker.ErrOptions, "payload -1"},
		{"bad scheme", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: []string{"http://u:hidden@h"}}}, broker.ErrOptions, `scheme "http"`},
		{"no host", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: []string{"nats://:4222"}}}, broker.ErrOptions, "no host"},
		{"no URL", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: []string{"nats://u:hidden@h:port"}}}, broker.ErrOptions, "parsed"},
		{"no creds file", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, CredsFile: file + "x"}}, broker.ErrOptions, "credentials file"},
		{"bad creds file", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, CredsFile: file}}, broker.ErrOptions, "credentials file"},
		{"bad nkey file", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, NKeyFile: file}}, broker.ErrOptions, "nkey file"},
		{"creds and nkey", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, CredsFile: file, NKeyFile: file}}, broker.ErrOptions, "one of them"},
		{"bad ca", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, TLS: broker.TLSFiles{CA: file}}}, broker.ErrOptions, "no certificate"},
		{"cert without key", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, TLS: broker.TLSFiles{Cert: file}}}, broker.ErrOptions, "without the other"},
		{"bad cert", broker.Options{Cluster: "c", Node: "a", Access: broker.Access{URLs: urls, TLS: broker.TLSFiles{Cert: file, Key: file}}}, broker.ErrOptions, "tls cert"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := broker.Start(t.Context(), test.options)
			if err == nil {
				_ = b.Close(t.Context()) //nolint:errcheck // The test has failed anyway.
				t.Fatal("started")
			}
			wantError(t, err, test.want)
			if !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error %q, want %q in it and no password", err, test.text)
			}
		})
	}
}

func TestClose(t *testing.T) {
	server := natstest.TCP(t)
	b := natstest.Node(t, server, "b")
	serve(t, b, func(*broker.Request) {})
	a, err := broker.Start(t.Context(), broker.Options{Cluster: natstest.Cluster, Node: "a", Access: broker.Access{Server: server}})
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := ask(within(t, patience), a, "b", "")
		waiting <- err
	}()
	eventually(t, "a request waits", func() bool { return a.Count("waiting_requests") == 1 })
	running, finish := make(chan struct{}), make(chan struct{})
	_, err = a.Subscribe("slow", func(broker.Message) {
		close(running)
		<-finish
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish("slow", nil); err != nil {
		t.Fatal(err)
	}
	<-running

	// A callback that doesn't end costs the deadline, and is named.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = a.Close(ctx)
	wantError(t, err, context.DeadlineExceeded)
	if err == nil || !strings.Contains(err.Error(), `"slow"`) {
		t.Errorf("error %v, want it to name the subject", err)
	}
	wantError(t, <-waiting, broker.ErrClosed)
	close(finish)

	_, err = ask(t.Context(), a, "b", "")
	wantError(t, err, broker.ErrClosed)
	wantError(t, a.Publish("x", nil), broker.ErrClosed)
	_, err = a.Subscribe("x", func(broker.Message) {})
	wantError(t, err, broker.ErrClosed)
	_, err = a.Serve(broker.Handlers{})
	wantError(t, err, broker.ErrClosed)
	if a.Connected() {
		t.Error("connected after Close")
	}
}

// What was published just before Close still goes out.
func TestCloseFlushes(t *testing.T) {
	server := natstest.TCP(t)
	b := natstest.Node(t, server, "b")
	heard := make(chan broker.Message, 1000)
	if _, err := b.Subscribe("x", func(m broker.Message) { heard <- m }); err != nil {
		t.Fatal(err)
	}
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{natstest.URL(server)}}})
	for range 1000 {
		if err := a.Publish("x", []byte("last words")); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all 1000 are heard", func() bool { return len(heard) == 1000 })
}
