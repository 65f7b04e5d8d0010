package mixed_test

import (
	"context"
	"net"
	"sync"
	"testing"
)

// proxy passes connections on to a server, and can be cut: then nothing passes, and
// nobody is told. When it heals, what was open meanwhile is closed.
type proxy struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	healed chan struct{} // nil: not cut; closed when the cut ends
	open   map[net.Conn]struct{}
	work   sync.WaitGroup
}

// newProxy listens at host, on a free port, for a server at to.
func newProxy(t *testing.T, host, to string) *proxy {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, open: make(map[net.Conn]struct{})}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() //nolint:errcheck // accept ends with it
		p.heal()
		p.closeAll()
		p.work.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healed = make(chan struct{})
}

func (p *proxy) heal() {
	p.mu.Lock()
	if p.healed != nil {
		close(p.healed)
		p.healed = nil
	}
	p.mu.Unlock()
	p.closeAll()
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close() //nolint:errcheck // its copiers end
	}
}

// isCut returns a channel that is closed when the cut ends, nil without one.
func (p *proxy) isCut() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.healed
}

func (p *proxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = struct{}{}
}

func (p *proxy) forget(c net.Conn) {
	_ = c.Close() //nolint:errcheck // it may be closed already
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.track(c)
		p.work.Go(func() {
			defer p.forget(c)
			if healed := p.isCut(); healed != nil {
				<-healed
				return
			}
			var d net.Dialer
			to, err := d.DialContext(context.Background(), "tcp", p.to)
			if err != nil {
				return
			}
			p.track(to)
			defer p.forget(to)
			var copying sync.WaitGroup
			copying.Go(func() { p.copy(to, c) })
			copying.Go(func() { p.copy(c, to) })
			copying.Wait()
		})
	}
}

// copy passes bytes on until one side ends. In a cut it holds what it has read.
func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()   //nolint:errcheck // the other direction ends with it
	defer from.Close() //nolint:errcheck // the same
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if healed := p.isCut(); healed != nil {
			<-healed
			return
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}
