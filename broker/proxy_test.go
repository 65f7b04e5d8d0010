package broker_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is a TCP proxy that can stop moving bytes without closing anything.
type proxy struct {
	listener net.Listener
	target   string
	delay    atomic.Int64 // Of each chunk, a time.Duration.
	wg       sync.WaitGroup

	mu    sync.Mutex
	cond  *sync.Cond
	still bool
	conns []net.Conn // A client's and its server's in turn.
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target}
	p.cond = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.resume()
		_ = listener.Close() //nolint:errcheck // A test's own.
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close() //nolint:errcheck // A test's own.
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = client.Close() //nolint:errcheck // A test's own.
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.wg.Go(func() { p.copy(client, server) })
		p.wg.Go(func() { p.copy(server, client) })
	}
}

func (p *proxy) copy(to io.WriteCloser, from io.Reader) {
	defer to.Close() //nolint:errcheck // A test's own.
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.still {
			p.cond.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			time.Sleep(time.Duration(p.delay.Load()))
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// inject says something to the newest client in the server's name, and hangs up as the server does then.
func (p *proxy) inject(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	client, server := p.conns[len(p.conns)-2], p.conns[len(p.conns)-1]
	_, _ = client.Write([]byte(text)) //nolint:errcheck // The test sees what follows.
	_ = server.Close()                //nolint:errcheck // A test's own.
}

func (p *proxy) stall() {
	p.mu.Lock()
	p.still = true
	p.mu.Unlock()
}

func (p *proxy) resume() {
	p.mu.Lock()
	p.still = false
	p.mu.Unlock()
	p.cond.Broadcast()
}
