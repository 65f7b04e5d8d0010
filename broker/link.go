package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// How a connection is kept. Each is short enough that a broker which is gone is noticed within a few seconds, and that
// nothing which holds the connection's lock holds it for longer than that.
const (
	pingInterval  = time.Second // Two of them unanswered, and the connection is given up.
	maxPings      = 2
	dialTimeout   = time.Second     // One server, name look-up and dial.
	startBudget   = time.Second     // All servers together, while Start waits.
	writeTimeout  = 2 * time.Second // A write to a broker that doesn't read.
	reconnectWait = 250 * time.Millisecond
	reconnectRand = 250 * time.Millisecond
	flushTimeout  = time.Second
	drainStep     = 5 * time.Millisecond

	maxNamedErrors = 64 // Texts of errors that are logged once each; more are only counted.
)

// Access says how to reach a broker: a Server of this process, or URLs with their credentials.
type Access struct {
	// Server is an embedded server, reached without a socket. It stays its owner's.
	Server *Server

	// URLs are servers of one NATS cluster, as nats://host:port, tls://, ws:// or wss://, with user:password@ or token@ if
	// needed. All are tried, in random order.
	URLs []string

	// CredsFile is a NATS credentials file (JWT and NKey). It is read again at each connect.
	CredsFile string

	// NKeyFile holds an NKey seed.
	NKeyFile string

	// TLS asks for TLS with these files. Without any, tls:// and wss:// use the system's CAs.
	TLS TLSFiles
}

// faults returns what is wrong with the access; files are read here, so that a bad one is found at the start.
func (a Access) faults() []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
	}
	if a.Server != nil {
		if len(a.URLs) > 0 || a.CredsFile != "" || a.NKeyFile != "" || a.TLS.set() {
			fault("an embedded broker takes no URLs, credentials or TLS files")
		}
		return faults
	}
	for _, text := range a.URLs {
		if err := checkURL(text); err != nil {
			fault("%w", err)
		}
	}
	if a.CredsFile != "" && a.NKeyFile != "" {
		fault("a credentials file and an NKey file: one of them")
	}
	if a.CredsFile != "" {
		if err := checkCreds(a.CredsFile); err != nil {
			fault("credentials file: %w", err)
		}
	}
	return faults
}

func checkURL(text string) error {
	if !strings.Contains(text, "://") {
		text = "nats://" + text // As the NATS client does.
	}
	u, err := url.Parse(text)
	if err != nil {
		// The parser's error quotes the URL, and the URL may hold a password.
		return errors.New("a broker URL can't be parsed")
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return fmt.Errorf("broker URL %q: scheme %q is none of nats, tls, ws, wss", u.Redacted(), u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("broker URL %q has no host", u.Redacted())
	}
	return nil
}

func checkCreds(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := nkeys.ParseDecoratedJWT(text); err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	key, err := nkeys.ParseDecoratedNKey(text)
	if err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	key.Wipe()
	return nil
}

func (a Access) options() ([]nats.Option, error) {
	if a.Server != nil {
		options := []nats.Option{nats.IgnoreDiscoveredServers()}
		if a.Server.token != "" {
			options = append(options, nats.Token(a.Server.token))
		}
		return options, nil
	}
	var options []nats.Option
	if a.CredsFile != "" {
		options = append(options, nats.UserCredentials(a.CredsFile))
	}
	if a.NKeyFile != "" {
		option, err := nats.NkeyOptionFromSeed(a.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: nkey file %q: %w", ErrOptions, a.NKeyFile, err)
		}
		options = append(options, option)
	}
	config, err := a.TLS.config()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if config != nil {
		options = append(options, nats.Secure(config))
	}
	return options, nil
}

// link is one connection that is kept for ever: it says whether it is up, logs each change once, and counts.
type link struct {
	nc     *nats.Conn
	log    *slog.Logger
	dialer *dialer
	onDown func() // Called on the connection's callback goroutine; may be nil.

	connected  atomic.Bool
	closing    atomic.Bool
	maxPayload atomic.Int64
	state      atomic.Pointer[State]

	connects    atomic.Uint64
	disconnects atomic.Uint64
	slow        atomic.Uint64 // Times that a subscription began to drop messages.
	refused     atomic.Uint64 // Errors that the broker sent, such as a missing permission.

	firstUp chan struct{} // Closed at the first connect.
	closed  chan struct{} // Closed when the connection has ended for good.

	said atomic.Bool               // That the broker is unreachable, since the connection was last up.
	last atomic.Pointer[nats.Conn] // nc, for delay, once it was up.

	// Owned by the connection's callback goroutine.
	tried uint64 // Attempts when the connection was last up.
	named map[string]struct{}
	once  sync.Once
}

// connect opens a link. It fails only for files and URLs that can't be used; a broker that can't be reached is tried for
// ever, in the background.
func connect(ctx context.Context, access Access, log *slog.Logger, onDown func(), extra ...nats.Option) (*link, error) {
	options, err := access.options()
	if err != nil {
		return nil, err
	}
	l := &link{
		log: log, onDown: onDown, dialer: newDialer(),
		firstUp: make(chan struct{}), closed: make(chan struct{}), named: map[string]struct{}{},
	}
	l.maxPayload.Store(DefaultMaxPayload)
	l.state.Store(&State{Since: time.Now(), Trouble: "not connected yet"})
	if access.Server != nil {
		options = append(options, nats.InProcessServer(&inProcess{access.Server, l.dialer}))
	}
	options = append(options,
		nats.SetCustomDialer(l.dialer),
		nats.SkipHostLookup(), // The dialer looks names up, within its time-out.
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // Credentials may be put right while the node runs.
		nats.ReconnectBufSize(-1),   // A batch that waits in the client is neither sent nor refused.
		nats.CustomReconnectDelay(l.delay),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(writeTimeout),
		nats.ConnectHandler(l.up),
		nats.ReconnectHandler(l.up),
		nats.DisconnectErrHandler(l.down),
		nats.ReconnectErrHandler(l.failed),
		nats.ErrorHandler(l.asyncError),
		nats.ClosedHandler(l.ended),
	)
	stop := l.dialer.starting(ctx)
	defer stop()
	l.nc, err = nats.Connect(strings.Join(access.URLs, ","), append(options, extra...)...)
	if err != nil {
		l.dialer.close()
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if l.nc.IsConnected() {
		select {
		case <-l.firstUp:
		case <-l.closed:
		}
	}
	return l, nil
}

func (l *link) up(nc *nats.Conn) {
	l.maxPayload.Store(nc.MaxPayload())
	l.last.Store(nc)
	l.said.Store(false)
	l.state.Store(&State{Up: true, Since: time.Now()})
	l.connected.Store(true)
	attempts := l.dialer.attempts.Load()
	url := nc.ConnectedUrlRedacted()
	if nc.Opts.InProcessServer != nil {
		url = "in-process" // The client would name its default URL.
	}
	l.log.Info("connected to broker", "url", url, "server", nc.ConnectedServerName(),
		"connects", l.connects.Add(1), "attempts", attempts-l.tried)
	l.tried = attempts
	l.once.Do(func() { close(l.firstUp) })
}

func (l *link) down(_ *nats.Conn, err error) {
	l.connected.Store(false)
	l.state.Store(&State{Since: time.Now(), Trouble: troubleText(err)})
	if l.onDown != nil {
		l.onDown()
	}
	count := l.disconnects.Add(1)
	if l.closing.Load() {
		return
	}
	l.log.Warn("connection to broker lost, reconnecting for ever", "disconnects", count, "err", err)
}

// failed hears of dials that fail, and of the first connect of all.
func (l *link) failed(_ *nats.Conn, err error) { l.unreachable(err) }

// delay says how long to wait before all servers are tried once more. It is also the only one to hear of servers that
// answer the dial and then refuse, for instance the credentials.
func (l *link) delay(round int) time.Duration {
	if nc := l.last.Load(); nc != nil && round > 1 {
		if err := nc.LastError(); err != nil { // Else the dial failed, and failed hears why.
			l.unreachable(err)
		}
	}
	return reconnectWait + rand.N(reconnectRand)
}

// unreachable says so once until the connection is up again; the counters tell the rest.
func (l *link) unreachable(err error) {
	if was := l.state.Load(); !was.Up {
		l.state.CompareAndSwap(was, &State{Since: was.Since, Trouble: troubleText(err)})
	}
	if !l.closing.Load() && l.said.CompareAndSwap(false, true) {
		l.log.Warn("broker unreachable, trying again for ever", "err", err)
	}
}

// failures returns how many attempts to connect have failed. One that is under way counts until it succeeds.
func (l *link) failures() uint64 {
	connects := l.connects.Load()
	return max(l.dialer.attempts.Load(), connects) - connects
}

func (l *link) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		l.slow.Add(1)
	} else {
		l.refused.Add(1)
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	// One line for each kind of trouble; the counters tell the rest.
	key := subject + "\x00" + err.Error()
	if _, told := l.named[key]; told || len(l.named) >= maxNamedErrors {
		return
	}
	l.named[key] = struct{}{}
	l.log.Warn("broker reports an error", "subject", subject, "err", err)
}

func (l *link) ended(*nats.Conn) {
	l.connected.Store(false)
	close(l.closed)
}

// usable returns ErrClosed or ErrDisconnected where a message can't be sent. It takes no lock: the connection's own is
// held while the NATS client dials.
func (l *link) usable() error {
	if l.closing.Load() {
		return ErrClosed
	}
	if !l.connected.Load() {
		return ErrDisconnected
	}
	return nil
}

// send publishes one message, or says in this package's errors why not.
func (l *link) send(msg *nats.Msg) error {
	if err := l.usable(); err != nil {
		return err
	}
	return l.sendError(msg, l.nc.PublishMsg(msg))
}

func (l *link) sendError(msg *nats.Msg, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return &TooLargeError{Size: wireSize(msg), Max: int(l.maxPayload.Load())}
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrBadHeaderMsg):
		return fmt.Errorf("publish on %q: %w", msg.Subject, err)
	}
	// What is left is a buffer that isn't kept, or a write that failed.
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
	if l.usable() == nil {
		// The error means that the connection went, and then a reconnect subscribes again.
		_ = l.flush(context.Background()) //nolint:errcheck // nothing follows from it
	}
}

// flush goes once to the broker and back. The client's own FlushTimeout, and so its Drain, takes its timer from a pool
// that all connections of the process share, which tests in several testing/synctest bubbles don't survive.
func (l *link) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return l.nc.FlushWithContext(ctx)
}

// drained waits until only left subscriptions are there, so that no drain of a stopped service is still going on, which
// would outlive the connection by a tenth of a second. It gives up after flushTimeout, because nothing is lost by that.
func (l *link) drained(ctx context.Context, left int) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	for l.nc.NumSubscriptions() > left {
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
	var err error
	if l.usable() == nil {
		// A connection that is lost just now is no fault of the close.
		if err = l.flush(ctx); errors.Is(err, nats.ErrConnectionClosed) || !l.connected.Load() {
			err = nil
		}
	}
	l.closing.Store(true)
	l.dialer.close()
	l.nc.Close()
	<-l.closed
	if err != nil {
		return fmt.Errorf("flush the broker connection: %w", err)
	}
	return nil
}

// dialer makes the NATS client's dials end: each after dialTimeout, all of them after startBudget while Start waits, and
// at once when the link is closed. The client dials with its lock held.
type dialer struct {
	ctx      context.Context //nolint:containedctx // The link's life; Dial has no context of its own.
	cancel   context.CancelFunc
	start    atomic.Pointer[context.Context]
	attempts atomic.Uint64
}

func newDialer() *dialer {
	ctx, cancel := context.WithCancel(context.Background())
	return &dialer{ctx: ctx, cancel: cancel}
}

// starting bounds the dials until the function that it returns is called.
func (d *dialer) starting(ctx context.Context) context.CancelFunc {
	ctx, cancel := context.WithTimeout(ctx, startBudget)
	d.start.Store(&ctx)
	return func() {
		d.start.Store(nil)
		cancel()
	}
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.attempts.Add(1)
	ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
	defer cancel()
	if start := d.start.Load(); start != nil {
		stop := context.AfterFunc(*start, cancel)
		defer stop()
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (d *dialer) close() { d.cancel() }

// inProcess connects to a server of this process, and counts like a dial.
type inProcess struct {
	server *Server
	dialer *dialer
}

// InProcessConn implements nats.InProcessConnProvider.
func (p *inProcess) InProcessConn() (net.Conn, error) {
	p.dialer.attempts.Add(1)
	return p.server.server.InProcessConn()
}
