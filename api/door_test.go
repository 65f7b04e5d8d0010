package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/registryd/registryd/api"
)

// askOn sends a request by a connection and returns the status of the answer,
// and whether the server closes the connection.
func askOn(t *testing.T, c net.Conn, method, path string) (code int, closes bool) {
	t.Helper()
	send(t, c, method, path)
	return receive(t, c, method)
}

func send(t *testing.T, c net.Conn, method, path string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", method, path); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, method string) (code int, closes bool) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // It is in memory.
	return r.StatusCode, r.Close
}

// TestWhatWaitedIsNotApplied: a cancel that waits in the accept queue from before
// the door opens is refused, though nobody reads it until then.
func TestWhatWaitedIsNotApplied(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	server, err := api.Listen(t.Context(), "127.0.0.1:0", api.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &running{Server: server, done: make(chan error, 1)}
	var waiting []net.Conn
	for range 5 {
		waiting = append(waiting, dial(t, s))
		send(t, waiting[len(waiting)-1], "DELETE", orders1)
	}
	silent := dial(t, s)
	opened := make(chan error, 1)
	go func() { opened <- server.Open(t.Context(), n) }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { s.done <- server.Run(ctx) }()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	for _, c := range waiting {
		if code, closes := receive(t, c, "DELETE"); code != 503 || !closes {
			t.Errorf("cancel that waited: status %d, closes %t; want 503, true", code, closes)
		}
	}
	if code, closes := askOn(t, silent, "DELETE", orders1); code != 503 || !closes {
		t.Errorf("cancel on a connection that waited: status %d, closes %t; want 503, true", code, closes)
	}
	n.want(t, 200, "GET", orders1, "")
	if code, closes := askOn(t, dial(t, s), "DELETE", orders1); code != 200 || closes {
		t.Errorf("cancel after the opening: status %d, closes %t; want 200, false", code, closes)
	}
	stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// TestDoor: what is asked before the door opens, on a connection of that time, and
// on one that is made after it.
func TestDoor(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	server, err := api.Listen(t.Context(), "127.0.0.1:0", api.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &running{Server: server, done: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	go func() { s.done <- server.Run(ctx) }()
	defer func() {
		stop()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
	}()
	asks := []struct {
		method, path        string
		closed, old, opened int
	}{
		{"GET", "/healthz", 200, 200, 200},
		{"GET", "/readyz", 503, 200, 200},
		{"GET", "/eureka/apps", 403, 200, 200},
		{"GET", "/eureka/v2/vips/x", 403, 200, 200},
		{"GET", orders1, 503, 200, 200},
		{"PUT", orders1, 503, 503, 200},
		{"POST", "/eureka/peerreplication/batch/", 503, 503, 415},
		{"DELETE", orders1 + "/status?value=UP", 503, 503, 200},
	}
	old := make([]net.Conn, len(asks))
	for i, a := range asks {
		if code, closes := askOn(t, dial(t, s), a.method, a.path); code != a.closed || !closes {
			t.Errorf("closed: %s %s: status %d, closes %t; want %d, true", a.method, a.path, code, closes, a.closed)
		}
		old[i] = dial(t, s)
	}
	if err := server.Open(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	kept := dial(t, s)
	for i, a := range asks {
		if code, closes := askOn(t, old[i], a.method, a.path); code != a.old || !closes {
			t.Errorf("old: %s %s: status %d, closes %t; want %d, true", a.method, a.path, code, closes, a.old)
		}
		if code, closes := askOn(t, kept, a.method, a.path); code != a.opened || closes {
			t.Errorf("open: %s %s: status %d, closes %t; want %d, false", a.method, a.path, code, closes, a.opened)
		}
	}
}

// TestOpenEnds: opening a server that has ended fails.
func TestOpenEnds(t *testing.T) {
	server, err := api.Listen(t.Context(), "127.0.0.1:0", api.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := server.Run(ended); err != nil {
		t.Fatal(err)
	}
	if err := server.Open(t.Context(), http.NotFoundHandler()); err == nil {
		t.Error("open after the end: no error")
	}
}
