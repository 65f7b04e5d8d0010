package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
)

// running is a server and what ends it.
type running struct {
	*api.Server
	url  string
	stop context.CancelFunc
	done chan error
}

// serve runs a server until the test ends, or stop is called.
func serve(t *testing.T, h http.Handler, opts api.ServerOptions) *running {
	t.Helper()
	s, err := api.Listen(t.Context(), "127.0.0.1:0", opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{Server: s, url: "http://" + s.Addr().String(), stop: stop, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- s.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	if err := s.Open(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	return r
}

// reply is what a server answered.
type reply struct {
	code   int
	length int64 // as announced
	body   string
}

// do sends a request by a connection of its own, from any goroutine.
func do(t *testing.T, method, url, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return reply{}
	}
	r.Close = true
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer answer.Body.Close() //nolint:errcheck // It was read to its end.
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{code: answer.StatusCode, length: answer.ContentLength, body: string(text)}
}

// dial connects to a server until the test ends.
func dial(t *testing.T, s *running) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // A test's own, and it may be closed.
	return c
}

func TestServer(t *testing.T) {
	n := newNode(t, api.Options{})
	s := serve(t, n, api.ServerOptions{})
	if a := do(t, "POST", s.url+"/eureka/apps/ORDERS", registration("ORDERS", "a/b:1", ""), "Content-Type", jsonType); a.code != 204 {
		t.Fatalf("register: status %d", a.code)
	}
	if a := do(t, "PUT", s.url+"/eureka/apps/ORDERS/a%2Fb%3A1", "{}", "Content-Type", jsonType); a.code != 200 || a.body != "" {
		t.Errorf("heartbeat: status %d, body %q", a.code, a.body)
	}
	get := do(t, "GET", s.url+"/eureka/apps/", "", "Accept", jsonType, "Accept-Encoding", "identity")
	head := do(t, "HEAD", s.url+"/eureka/apps/", "", "Accept", jsonType, "Accept-Encoding", "identity")
	if head.code != 200 || head.body != "" || head.length != get.length || head.length != int64(len(get.body)) {
		t.Errorf("HEAD: status %d, %d bytes announced, body %q; GET announced %d and sent %d", head.code, head.length, head.body, get.length, len(get.body))
	}
	if a := do(t, "HEAD", s.url+"/eureka/apps/NONE", ""); a.code != 404 || a.body != "" {
		t.Errorf("HEAD of none: status %d, body %q", a.code, a.body)
	}
	long := "/eureka/apps/ORDERS/id/metadata?k=" + strings.Repeat("x", api.MaxHeaderBytes+8<<10)
	if a := do(t, "PUT", s.url+long, ""); a.code != 431 {
		t.Errorf("long query: status %d, want 431", a.code)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
}

// TestTooLargeIsAnswered sends more than is read: the client gets its answer all
// the same, however often it is tried.
func TestTooLargeIsAnswered(t *testing.T) {
	s := serve(t, newNode(t, api.Options{MaxBody: 1024}), api.ServerOptions{})
	var done sync.WaitGroup
	for range 20 {
		done.Go(func() {
			a := do(t, "POST", s.url+"/eureka/apps/ORDERS", strings.Repeat("x", 1<<20), "Content-Type", jsonType)
			if a.code != 413 || a.body != "body: larger than 1024 bytes" {
				t.Errorf("status %d, body %q", a.code, a.body)
			}
		})
	}
	done.Wait()
	// Who asks before sending is told without.
	c := dial(t, s)
	if _, err := io.WriteString(c, "POST /eureka/apps/ORDERS HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1048576\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") {
		t.Errorf("answer %q, %v", line, err)
	}
}

// TestShutdownLetsRequestsEnd stops a server with a request under way.
func TestShutdownLetsRequestsEnd(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(in)
		<-out
		io.WriteString(w, "done") //nolint:errcheck // The client tells.
	}), api.ServerOptions{})
	answer := make(chan string, 1)
	go func() {
		answer <- do(t, "GET", s.url, "").body
	}()
	<-in
	s.stop()
	for { // until nobody is let in
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
		if err != nil {
			break
		}
		c.Close() //nolint:errcheck // It is not needed.
	}
	close(out)
	if got := <-answer; got != "done" {
		t.Errorf("answer %q, want done", got)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestShutdownTimeout(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	defer close(out)
	s := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(in)
		<-out
	}), api.ServerOptions{ShutdownTimeout: 20 * time.Millisecond})
	c := dial(t, s)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-in
	s.stop()
	if err := <-s.done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v, want a deadline exceeded", err)
	}
}

// TestSlowHeaders: a client that doesn't finish its request is cut off.
func TestSlowHeaders(t *testing.T) {
	s := serve(t, newNode(t, api.Options{}), api.ServerOptions{ReadHeaderTimeout: 20 * time.Millisecond})
	c := dial(t, s)
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: h\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("read: %v, want the end", err)
	}
}

// TestSilentConnections: who connects and says nothing doesn't delay a shutdown.
func TestSilentConnections(t *testing.T) {
	s := serve(t, newNode(t, api.Options{}), api.ServerOptions{ShutdownTimeout: 4 * time.Second})
	silent := dial(t, s)
	if a := do(t, "GET", s.url+"/healthz", ""); a.code != 200 { // accepted after the silent one
		t.Fatalf("status %d", a.code)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection is open")
	}
}

// TestMaxConnections opens one more than are served: it waits for its turn.
func TestMaxConnections(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s := serve(t, newNode(t, api.Options{}), api.ServerOptions{MaxConnections: 2, Metrics: metrics})
	connect := func() net.Conn {
		t.Helper()
		c := dial(t, s)
		if _, err := fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn) {
		t.Helper()
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || line != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("answer %q, %v", line, err)
		}
	}
	first, second := connect(), connect()
	answered(first)
	answered(second)
	third := connect()
	if err := third.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if b, err := third.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes on a connection beyond the bound", b)
	}
	if err := errors.Join(third.SetReadDeadline(time.Time{}), first.Close()); err != nil {
		t.Fatal(err)
	}
	answered(third)
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	_, err := api.Listen(t.Context(), "127.0.0.1:0", api.ServerOptions{ReadHeaderTimeout: -1, IdleTimeout: -2, MaxConnections: -3, ShutdownTimeout: -4})
	for _, want := range []string{"read header timeout -1ns", "idle timeout -2ns", "max connections -3", "shutdown timeout -4ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	s, err := api.Listen(t.Context(), "127.0.0.1:0", api.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(t.Context(), s.Addr().String(), api.ServerOptions{}); err == nil {
		t.Error("an address taken twice, and no error")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
