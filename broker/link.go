package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registryd/registryd/internal/reread"
)

// How a connection is watched. Each is short enough that a broker which is gone is noticed within a few seconds, and
// that nothing which holds the connection's lock holds it for longer than that.
const (
	pingInterval = time.Second // Two of them unanswered, and the connection is given up.
	maxPings     = 2
	writeTimeout = 2 * time.Second // A write to a broker that doesn't read.
	startBudget  = 2 * time.Second // How long Start waits for the first connection.
	flushTimeout = time.Second
	drainStep    = 5 * time.Millisecond
	lookInterval = time.Second // Between two looks at the max payload and at what is denied.

	maxNamedErrors = 64 // Texts of errors that are logged once each; more are only counted.
)

// link owns a sequence of connections: when one has ended, for whatever reason, it opens the next, with options built
// anew from their files, and makes all interests anew on it. One goroutine, run, does all that.
//
// The NATS client's own reconnect is off: it gives up for good on every error of the broker that it does not know.
type link struct {
	log     *slog.Logger
	metrics *metrics
	dialer  dialer
	onDown  func() // Called by run when a connection has ended; may be nil.
	denied  *denied

	state      atomic.Pointer[State]
	current    atomic.Pointer[conn] // Nil while there is none.
	closing    atomic.Bool
	maxPayload atomic.Int64 // As the current connection's broker said at the last look.

	cancel  context.CancelFunc
	tried   chan struct{} // Closed when the first round over all servers is over.
	stopped chan struct{} // Closed by run.

	mu        sync.Mutex // Held while interests are attached: the NATS client's lock comes after it.
	interests []interest
	attached  *nats.Conn // Where they are attached; nil while there is no connection.

	namedMu sync.Mutex
	named   map[string]struct{}
}

// connect opens a link. It fails only for files and URLs that can't be used; a broker that can't be reached is tried
// until the link is closed. It waits for the first connection, as long as ctx and startBudget allow, or for the first
// round over all servers.
func connect(
	ctx context.Context, access Access, log *slog.Logger, metrics *metrics, onDown func(),
	interests []interest, extra ...nats.Option,
) (*link, error) {
	files, err := access.open(log)
	if err != nil {
		return nil, err
	}
	l := &link{
		log: log, metrics: metrics, onDown: onDown, denied: newDenied(log), interests: interests,
		tried: make(chan struct{}), stopped: make(chan struct{}), named: map[string]struct{}{},
	}
	l.dialer = dialer{access: access, files: files, options: append(extra,
		nats.NoReconnect(),
		nats.SkipHostLookup(), // The dialer looks names up, within its time-out.
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(writeTimeout),
		nats.ReconnectOnFlusherError(), // Which ends the connection, as reconnecting is off.
		nats.ErrorHandler(l.asyncError),
	)}
	l.maxPayload.Store(DefaultMaxPayload)
	l.state.Store(&State{Since: time.Now(), Trouble: "not connected yet"})
	running, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go l.run(running)
	budget := time.NewTimer(startBudget)
	defer budget.Stop()
	select {
	case <-l.tried:
	case <-budget.C:
	case <-ctx.Done():
	}
	return l, nil
}

// run opens one connection after the other until ctx ends.
func (l *link) run(ctx context.Context) {
	defer close(l.stopped)
	attempts, said := 0, false
	firstRound := sync.OnceFunc(func() { close(l.tried) })
	for ctx.Err() == nil {
		attempts++
		c, last, err := l.dialer.next(ctx)
		var began time.Time
		if err == nil {
			if err = l.settleIn(ctx, c); err == nil {
				began = time.Now()
				l.up(c, attempts)
				firstRound()
				err = l.keep(ctx, c)
				l.down(ctx, err)
				attempts, said = 0, false
			} else {
				l.drop(c)
			}
		}
		if ctx.Err() != nil {
			return
		}
		if began.IsZero() {
			l.metrics.attempts.WithLabelValues("failed").Inc()
			l.still(err)
			if !said { // Once until the connection is up again; the counters tell the rest.
				said = true
				l.log.Warn("broker unreachable, trying again", "err", err)
			}
			if !last {
				continue
			}
		}
		firstRound()
		rest := time.NewTimer(l.dialer.wait(began))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
		}
	}
}

// settleIn makes all interests anew on a connection, and waits until the broker has taken them.
func (l *link) settleIn(ctx context.Context, c *conn) error {
	stop := context.AfterFunc(ctx, c.nc.Close)
	defer stop()
	l.denied.renew()
	l.mu.Lock()
	l.attached = c.nc
	var err error
	for _, i := range l.interests {
		err = errors.Join(err, i.attach(c.nc))
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := flush(ctx, c.nc, c.timeout); err != nil {
		if last := c.nc.LastError(); last != nil {
			return last
		}
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return nil
}

func (l *link) up(c *conn, attempts int) {
	// The broker names the bounds of an account or a user after CONNECT, and has done so by now.
	l.maxPayload.Store(c.nc.MaxPayload())
	l.dialer.learn(c.nc)
	l.current.Store(c)
	l.metrics.attempts.WithLabelValues("connected").Inc()
	clients, err := c.nc.GetClientID()
	if err != nil {
		clients = 0
	}
	l.state.Store(&State{Up: true, Since: time.Now(), Rounds: l.dialer.failures, Clients: clients})
	l.log.Info("connected to broker", "url", c.url, "server", c.nc.ConnectedServerName(),
		"attempts", attempts)
}

// keep looks after a connection until it has ended, and returns why.
func (l *link) keep(ctx context.Context, c *conn) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	reread := time.NewTicker(reread.Interval)
	defer reread.Stop()
	for {
		select {
		case <-reread.C:
			l.dialer.files.look()
		case <-c.ended:
			l.drop(c)
			return c.nc.LastError()
		case <-ctx.Done():
			l.drop(c)
			return nil
		case <-look.C:
			l.maxPayload.Store(c.nc.MaxPayload())
			l.dialer.learn(c.nc)
			l.denied.look(ctx, l, c.nc)
		}
	}
}

// drop ends a connection and waits until it has ended.
func (l *link) drop(c *conn) {
	l.mu.Lock()
	l.attached = nil
	l.mu.Unlock()
	l.current.Store(nil)
	c.nc.Close()
	<-c.ended
}

func (l *link) down(ctx context.Context, err error) {
	l.state.Store(&State{Since: time.Now(), Trouble: troubleText(err)})
	if l.onDown != nil {
		l.onDown()
	}
	l.metrics.lost.Inc()
	if ctx.Err() == nil {
		l.log.Warn("connection to broker lost, connecting again", "err", err)
	}
}

// still keeps the reason for which there is no connection.
func (l *link) still(err error) {
	l.state.Store(&State{Since: l.state.Load().Since, Trouble: troubleText(err)})
}

// asyncError is called on the connection's callback goroutine. It takes no lock of the link.
func (l *link) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		l.metrics.slow.Inc()
	} else {
		l.metrics.refused.Inc()
		if l.denied.note(err) {
			return
		}
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	if l.firstOf(subject + "\x00" + err.Error()) {
		l.log.Warn("broker reports an error", "subject", subject, "err", err)
	}
}

// firstOf reports whether this kind of trouble comes for the first time; the counters tell the rest.
func (l *link) firstOf(key string) bool {
	l.namedMu.Lock()
	defer l.namedMu.Unlock()
	if _, named := l.named[key]; named || len(l.named) >= maxNamedErrors {
		return false
	}
	l.named[key] = struct{}{}
	return true
}

// usable returns ErrClosed or ErrDisconnected where a message can't be sent. It takes no lock.
func (l *link) usable() error {
	if l.closing.Load() {
		return ErrClosed
	}
	if !l.state.Load().Up {
		return ErrDisconnected
	}
	return nil
}

// send publishes one message, or says in this package's errors why not.
func (l *link) send(msg *nats.Msg) error {
	if err := l.usable(); err != nil {
		return err
	}
	c := l.current.Load()
	if c == nil {
		return ErrDisconnected
	}
	l.denied.tried(msg.Subject)
	err := c.nc.PublishMsg(msg)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		bound := c.nc.MaxPayload()
		l.maxPayload.Store(bound)
		return &TooLargeError{Size: wireSize(msg), Max: int(bound)}
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrBadHeaderMsg):
		return fmt.Errorf("publish on %q: %w", msg.Subject, err)
	case l.closing.Load():
		return ErrClosed
	}
	// What is left is a connection that has ended, or a write that failed.
	return fmt.Errorf("%w: %w", ErrDisconnected, err)
}

// wireSize is what counts against the max payload: headers as NATS writes them, and body.
func wireSize(msg *nats.Msg) int {
	size := len(msg.Data)
	if len(msg.Header) == 0 {
		return size
	}
	size += len("NATS/1.0\r\n\r\n")
	for key, values := range msg.Header {
		for _, value := range values {
			size += len(key) + len(": ") + len(value) + len("\r\n")
		}
	}
	return size
}

// settle waits until the broker has taken what was subscribed and published so far, if there is one.
func (l *link) settle() {
	// The error means that the connection went, and then the next one subscribes again.
	_ = l.flush(context.Background()) //nolint:errcheck // nothing follows from it
}

// flush goes once to the broker and back. The client's own FlushTimeout, and so its Drain, takes its timer from a pool
// that all connections of the process share, which tests in several testing/synctest bubbles don't survive.
func (l *link) flush(ctx context.Context) error {
	c := l.current.Load()
	if c == nil || l.usable() != nil {
		return nil
	}
	err := flush(ctx, c.nc, flushTimeout)
	if errors.Is(err, nats.ErrConnectionClosed) || !l.state.Load().Up {
		return nil // A connection that is lost just now has nothing left to flush.
	}
	return err
}

// drained waits until only left subscriptions are there, so that no drain of a stopped service is still going on, which
// would outlive the connection by a tenth of a second. It gives up after flushTimeout, because nothing is lost by that.
func (l *link) drained(ctx context.Context, left int) {
	c := l.current.Load()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	for c.nc.NumSubscriptions() > left {
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainStep):
		}
	}
}

// close sends what is written and ends the connection. The owner has shut its gates before, so what comes still would
// find nobody. The error says that the broker did not take what was written, in ctx or flushTimeout. Against a broker
// that has stopped reading it takes the write time-out too.
func (l *link) close(ctx context.Context) error {
	err := l.flush(ctx)
	l.closing.Store(true)
	l.cancel()
	<-l.stopped
	if err != nil {
		return fmt.Errorf("flush the broker connection: %w", err)
	}
	return nil
}
