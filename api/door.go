package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// drainStep is the time between two looks at the kernel's accept queue while a
// door opens.
const drainStep = 10 * time.Millisecond

// door is a listener and a handler. It refuses requests that were sent before the
// node served. The port is bound from the start, and a request may wait there: its
// client may have gone to another node meanwhile.
//
// open opens it once the kernel's accept queue has been empty. A request is served
// if its connection was accepted after that. On all other connections the door
// answers writes with 503, serves reads if there is a handler, and closes the
// connection after the answer.
type door struct {
	*boundedListener
	raw       net.Listener // below boundedListener
	addresses *addressConns

	handler atomic.Pointer[http.Handler] // nil: not open yet
	refused atomic.Uint64                // requests

	mu       sync.Mutex
	next     *http.Handler // of the opening under way
	opening  chan struct{} // closed at the end of the opening under way; nil: none is
	stepping bool          // Accept's deadline is a drainStep from its start
	ended    chan struct{} // closed when Accept has failed for good
	end      sync.Once
}

func newDoor(l net.Listener, maxConnections, maxPerAddress int) *door {
	return &door{
		boundedListener: newBoundedListener(l, maxConnections), raw: l, ended: make(chan struct{}),
		addresses: newAddressConns(maxPerAddress),
	}
}

// oldConn is a connection that was accepted before the door opened.
type oldConn struct{ *placedConn }

// Accept implements net.Listener. One goroutine calls it.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.accept()
		vain := errors.Is(err, os.ErrDeadlineExceeded)
		old, opening := d.accepted(vain)
		switch {
		case err == nil && !d.admit(c):
			_ = c.Close() //nolint:errcheck // Nothing was said on it.
		case err == nil && old:
			return &oldConn{c}, nil
		case err == nil:
			return c, nil
		case vain && opening:
		default:
			d.end.Do(func() { close(d.ended) })
			return nil, err
		}
	}
}

// admit counts a connection of its address, and reports whether it may have one more.
func (d *door) admit(c *placedConn) bool {
	from := addressOf(c.RemoteAddr())
	if !d.addresses.enter(from) {
		return false
	}
	place := c.leave
	c.leave = func() {
		place()
		d.addresses.leave(from)
	}
	return true
}

// accepted reports whether a connection that was just accepted is old, and whether
// the door was opening. It ends the opening if no connection waits: all later ones
// came after the call of open. vain reports that Accept reached its deadline.
func (d *door) accepted(vain bool) (old, opening bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old = d.handler.Load() == nil
	if d.opening == nil {
		return old, false
	}
	if acceptQueueEmpty(d.raw, vain && d.stepping) {
		d.stepping = false
		d.wakeAt(time.Time{})   //nolint:errcheck // A closed listener fails in Accept too.
		d.handler.Store(d.next) // not before: who sees that reads are served may write
		close(d.opening)
		d.opening = nil
	} else {
		d.stepping = true
		d.wakeAt(time.Now().Add(drainStep)) //nolint:errcheck // The same.
	}
	return old, true
}

// wakeAt sets the time at which a waiting Accept looks at the queue again. It
// fails when the listener is closed, or has no deadline.
func (d *door) wakeAt(at time.Time) error {
	if l, ok := d.raw.(interface{ SetDeadline(t time.Time) error }); ok {
		return l.SetDeadline(at)
	}
	return errors.ErrUnsupported
}

// open begins to serve with h. It returns once all connections of the accept queue
// have been accepted as old. It fails when ctx or the listener ends first.
func (d *door) open(ctx context.Context, h http.Handler) error {
	d.mu.Lock()
	if d.handler.Load() != nil {
		d.handler.Store(&h)
	} else {
		d.next = &h
	}
	if d.opening == nil && d.handler.Load() == nil {
		if err := d.wakeAt(time.Unix(1, 0)); err != nil {
			d.mu.Unlock()
			return fmt.Errorf("api: open: %w", err)
		}
		d.opening = make(chan struct{})
	}
	opening := d.opening
	d.mu.Unlock()
	if opening == nil {
		return nil
	}
	select {
	case <-opening:
		return nil
	case <-d.ended:
		return fmt.Errorf("api: open: %w", net.ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("api: open: accept queue not empty: %w", context.Cause(ctx))
	}
}

// oldKey is the key of what marks the requests of old connections, in their contexts.
type oldKey struct{}

// connContext is the server's ConnContext.
func (d *door) connContext(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if _, old := c.(*oldConn); old {
		return context.WithValue(ctx, oldKey{}, true)
	}
	return ctx
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler := d.handler.Load()
	if r.Context().Value(oldKey{}) == nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Connection", "close")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if handler != nil && reads {
		(*handler).ServeHTTP(w, r)
		return
	}
	d.refused.Add(1)
	t := parsePath(r.URL.Path, r.URL.RawPath)
	switch t.resource.operation(r.Method) {
	case health:
		text(w, http.StatusOK, "ok")
	case readiness:
		text(w, http.StatusServiceUnavailable, "starting")
	case getApps, getDelta, getApp, getVIP, getSVIP:
		empty(w, http.StatusForbidden) // clients keep the list that they have
	default:
		empty(w, http.StatusServiceUnavailable)
	}
}
