package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	drainTimeout  = 5 * time.Second
	flushTimeout  = time.Second

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
		options := []nats.Option{nats.InProcessServer(a.Server.server), nats.IgnoreDiscoveredServers()}
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

	connects    atomic.Uint64
	disconnects atomic.Uint64
	failures    atomic.Uint64 // Attempts that failed.
	slow        atomic.Uint64 // Times that a subscription began to drop messages.
	refused     atomic.Uint64 // Errors that the broker sent, such as a missing permission.

	firstUp chan struct{} // Closed at the first connect.
	closed  chan struct{} // Closed when the connection has ended for good.

	// Owned by the connection's callback goroutine.
	tried uint64 // Attempts since the connection was last up.
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
	options = append(options,
		nats.SetCustomDialer(l.dialer),
		nats.SkipHostLookup(), // The dialer looks names up, within its time-out.
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // Credentials may be put right while the node runs.
		nats.ReconnectBufSize(-1),   // A batch that waits in the client is neither sent nor refused.
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectRand, reconnectRand),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(writeTimeout),
		nats.DrainTimeout(drainTimeout),
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
	l.connected.Store(true)
	l.log.Info("connected to broker", "url", nc.ConnectedUrlRedacted(), "server", nc.ConnectedServerName(),
		"connects", l.connects.Add(1), "failed_attempts", l.tried)
	l.tried = 0
	l.once.Do(func() { close(l.firstUp) })
}

func (l *link) down(_ *nats.Conn, err error) {
	l.connected.Store(false)
	if l.onDown != nil {
		l.onDown()
	}
	count := l.disconnects.Add(1)
	if l.closing.Load() {
		return
	}
	l.log.Warn("connection to broker lost, reconnecting for ever", "disconnects", count, "err", err)
}

func (l *link) failed(_ *nats.Conn, err error) {
	l.failures.Add(1)
	l.tried++
	if l.tried == 1 && !l.closing.Load() {
		l.log.Warn("broker unreachable, trying again for ever", "err", err)
	}
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

// settle waits until the broker has taken what was subscribed so far, if there is one.
func (l *link) settle() {
	if l.usable() == nil {
		// The error means that the connection went, and then a reconnect subscribes again.
		_ = l.nc.FlushTimeout(flushTimeout)
	}
}

// close sends what is written, lets the callbacks finish what has come, and ends the connection; when ctx ends, at once.
func (l *link) close(ctx context.Context) error {
	l.closing.Store(true)
	l.dialer.close()
	if err := l.nc.Drain(); err != nil {
		l.nc.Close()
	}
	select {
	case <-l.closed:
		return nil
	case <-ctx.Done():
	}
	l.nc.Close()
	<-l.closed
	return fmt.Errorf("drain the broker connection: %w", context.Cause(ctx))
}

// dialer makes the NATS client's dials end: each after dialTimeout, all of them after startBudget while Start waits, and
// at once when the link is closed. The client dials with its lock held.
type dialer struct {
	ctx    context.Context //nolint:containedctx // The link's life; Dial has no context of its own.
	cancel context.CancelFunc
	start  atomic.Pointer[context.Context]
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
	ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
	defer cancel()
	if start := d.start.Load(); start != nil {
		stop := context.AfterFunc(*start, cancel)
		defer stop()
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (d *dialer) close() { d.cancel() }
