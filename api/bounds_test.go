package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionBound(t *testing.T) {
	for _, tt := range []struct{ wanted, files, want int }{
		{32768, 0, 32768},           // no bound of files
		{32768, 1 << 20, 32768},     // more than enough
		{32768, 32768, 32768 - 512}, // room for the broker and the rest
		{32768, 1024, 512},          // half, where there are few
		{32768, 700, 350},           // the same
		{100, 1024, 100},            // fewer are wanted
		{32768, 1, 1},               // at least one
	} {
		if got := connectionBound(tt.wanted, tt.files); got != tt.want {
			t.Errorf("connectionBound(%d, %d) is %d, want %d", tt.wanted, tt.files, got, tt.want)
		}
	}
}

// from dials a server from an address of this machine.
func from(t *testing.T, address string, to net.Addr) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.DialContext(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // A test's own.
	return c
}

// alive asks on a connection, and reports whether there was an answer.
func alive(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Fatal("neither an answer nor the end")
	}
	return err == nil
}

// TestConnectionsOfOneAddress gives one address its share, and others theirs.
func TestConnectionsOfOneAddress(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(l, ServerOptions{MaxPerAddress: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	if err := s.Open(t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})); err != nil {
		t.Fatal(err)
	}
	first, second := from(t, "127.0.0.1", l.Addr()), from(t, "127.0.0.1", l.Addr())
	if !alive(t, first) || !alive(t, second) {
		t.Error("one of the first two is refused")
	}
	if alive(t, from(t, "127.0.0.1", l.Addr())) {
		t.Error("the third is taken")
	}
	if !alive(t, from(t, "127.0.0.2", l.Addr())) {
		t.Error("another address is refused")
	}
	if got := s.door.addresses.refused.Load(); got != 1 {
		t.Errorf("%d refused, want 1", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !alive(t, from(t, "127.0.0.1", l.Addr())); {
		if time.Now().After(deadline) {
			t.Fatal("a place that is free again is not given")
		}
	}
}

// TestRegistersWait has more registrations than turns. Those beyond wait, a bounded number
// for a bounded time; heartbeats do not.
func TestRegistersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, false, func(o *Options) { o.Access, o.MaxWaiting = nil, 1 })
		for range cap(g.registers.slots) {
			g.registers.slots <- struct{}{} // as if these took forever
		}
		ask := func(method, path, body string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			g.ServeHTTP(w, callers[0].request(t, method, path, body))
			return w
		}
		start := time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			w := ask("POST", "/eureka/apps/A", instanceOf("A", "one"))
			if w.Code != 503 || w.Header().Get("Retry-After") != "1" || w.Body.Len() > 0 || time.Since(start) != registerWait {
				t.Errorf("one that waits: %d %v %q after %v", w.Code, w.Header(), w.Body, time.Since(start))
			}
		})
		synctest.Wait()
		if w := ask("POST", "/eureka/apps/A", instanceOf("A", "two")); w.Code != 503 || time.Since(start) != 0 {
			t.Errorf("one too many: %d after %v", w.Code, time.Since(start))
		}
		if w := ask("PUT", "/eureka/apps/A/one", ""); w.Code != 404 || time.Since(start) != 0 {
			t.Errorf("a heartbeat: %d after %v", w.Code, time.Since(start))
		}
		waiting.Wait()
		<-g.registers.slots
		if w := ask("POST", "/eureka/apps/A", instanceOf("A", "one")); w.Code != 204 {
			t.Errorf("with a turn: %d", w.Code)
		}
		if n := g.registers.waiting.Load(); n != 0 || len(g.registers.slots) != cap(g.registers.slots)-1 {
			t.Errorf("%d wait, %d turns taken", n, len(g.registers.slots))
		}
	})
}

// TestBodiesAreBounded holds the bytes of bodies, also of those that never end, within their
// bound.
func TestBodiesAreBounded(t *testing.T) {
	g := newGuarded(t, false, func(o *Options) { o.Access, o.MaxBodyBytes = nil, 40<<10 })
	ask := func(body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/eureka/apps/A", body)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w
	}
	slow, end := io.Pipe()
	var asking sync.WaitGroup
	asking.Go(func() { ask(slow) })
	if _, err := end.Write([]byte(strings.Repeat(" ", 20<<10))); err != nil { // more than firstRead
		t.Fatal(err)
	}
	if used := g.bodies.used.Load(); used < 20<<10 || used > 40<<10 {
		t.Errorf("%d bytes held", used)
	}
	if w := ask(strings.NewReader(strings.Repeat(" ", 30<<10))); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one body too many: %d", w.Code)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	asking.Wait()
	if used := g.bodies.used.Load(); used != 0 {
		t.Errorf("%d bytes held after all", used)
	}
	if w := ask(strings.NewReader(instanceOf("A", "one"))); w.Code != 204 {
		t.Errorf("afterwards: %d", w.Code)
	}
}
