package broker

import "sync"

// gate lets callbacks in until it is closed, and tells when the last one is out.
type gate struct {
	mu     sync.Mutex
	inside int
	shut   bool
	empty  chan struct{} // Made by the first close; closed when nobody is inside any more.
}

// enter reports whether the callback may run. If so, it calls leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.shut && g.inside == 0 {
		close(g.empty)
	}
}

// close lets nobody in from now on. The channel closes when the last one is out.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.shut = true
		g.empty = make(chan struct{})
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}
