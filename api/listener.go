package api

import (
	"net"
	"net/http"
	"sync"
)

// boundedListener accepts no more connections than it has places: others wait in
// the kernel's queue until one is closed.
type boundedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newBoundedListener(l net.Listener, bound int) *boundedListener {
	return &boundedListener{Listener: l, places: make(chan struct{}, bound), closed: make(chan struct{})}
}

// accept waits for a place, then for a connection.
func (l *boundedListener) accept() (*placedConn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placedConn{Conn: c, leave: func() { <-l.places }}, nil
}

// Close ends the waiting of Accept too.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// connections returns how many there are. One is counted while accept waits for
// it.
func (l *boundedListener) connections() int { return len(l.places) }

// placedConn gives its place back when it is closed.
type placedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *placedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}

// CloseWrite ends sending alone. net/http asks for it where it refuses a request
// that it has not read whole: closing at once would reset the connection, and
// the client would lose the answer.
func (c *placedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// silentConns are the connections on which no request has begun. net/http lets
// each delay a shutdown for five seconds, so they are closed at its start.
type silentConns struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// changed is the server's ConnState.
func (s *silentConns) changed(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(s.conns, c)
	case s.closed:
		c.Close() //nolint:errcheck // Nothing was sent on it.
	default:
		if s.conns == nil {
			s.conns = make(map[net.Conn]struct{})
		}
		s.conns[c] = struct{}{}
	}
}

// close closes those that there are, and those that are still to come.
func (s *silentConns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.Close() //nolint:errcheck // Nothing was sent on it.
	}
}
