package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registryd/registryd/internal/redact"
)

// How a server is dialled. A server that does not answer the dial costs little, and its return is to be noticed soon.
// One that answers and then says nothing, or refuses, may be busy or far away: it gets more time and more rest at each
// try.
const (
	dialTimeout     = 2 * time.Second // Name look-up and TCP.
	minHandshake    = 2 * time.Second // INFO, TLS, CONNECT and the first subscriptions; doubled at each failure ...
	maxHandshake    = 15 * time.Second
	minWait         = 250 * time.Millisecond // Between two rounds over all servers; doubled at each failure ...
	maxDialWait     = 2 * time.Second        // ... up to this while no server answers the dial,
	maxWait         = 15 * time.Second       // ... up to this while one does and the connection then fails.
	steadyTime      = 10 * time.Second       // A connection that stood for so long ends the backing off.
	maxDiscovered   = 64                     // Servers that a broker may name beside those of Access.URLs.
	unnamedInMemory = "in-process"
)

// target is one server to dial.
type target struct {
	url     string
	tlsName string // Whom the certificate has to be for; empty: the URL's host.
}

// dialer opens connections, one attempt after the other. It belongs to the link's goroutine.
type dialer struct {
	access  Access
	files   *credentials
	options []nats.Option // Those of every connection.

	discovered []target // What the last connection's broker said of its cluster.
	round      []target // What is left of this round over all servers.
	failures   int      // Rounds that failed since a connection stood.
	answered   bool     // A server answered the dial in this round.
}

// next dials one server. last reports whether the round over all servers is over. The connection's ended closes once.
func (d *dialer) next(ctx context.Context) (c *conn, last bool, err error) {
	if len(d.round) == 0 {
		d.round, d.answered = d.targets(), false
	}
	to := d.round[0]
	d.round = d.round[1:]
	c, err = d.dial(ctx, to)
	return c, len(d.round) == 0, err
}

// wait returns how long to wait after a round that failed, or after a connection that stood from began until now.
func (d *dialer) wait(began time.Time) time.Duration {
	if !began.IsZero() && time.Since(began) >= steadyTime {
		d.failures = 0
	}
	limit := maxDialWait
	if d.answered {
		limit = maxWait
	}
	wait := limit
	if d.failures < 16 { // Far beyond both limits, and no overflow.
		wait = min(minWait<<d.failures, limit)
	}
	d.failures++
	d.round = nil
	return wait/2 + rand.N(wait/2)
}

// handshake returns how long a server that has answered the dial may take for the rest.
func (d *dialer) handshake() time.Duration {
	return min(minHandshake<<min(d.failures, 8), maxHandshake)
}

// targets returns all servers in random order, those of the options first.
func (d *dialer) targets() []target {
	if d.access.Server != nil {
		return []target{{}}
	}
	given := make([]target, len(d.access.URLs))
	for i, u := range d.access.URLs {
		given[i] = target{url: u}
	}
	rand.Shuffle(len(given), func(i, j int) { given[i], given[j] = given[j], given[i] })
	discovered := slices.Clone(d.discovered)
	rand.Shuffle(len(discovered), func(i, j int) { discovered[i], discovered[j] = discovered[j], discovered[i] })
	return append(given, discovered...)
}

// learn keeps the servers that the broker of this connection names, with its login and its certificate's name.
func (d *dialer) learn(nc *nats.Conn) {
	if d.access.Server != nil {
		return
	}
	current, err := url.Parse(nc.ConnectedUrl())
	if err != nil {
		return
	}
	secure := nc.TLSRequired() || nc.Opts.Secure // TLSConnectionState races with a connection that is just ending
	var found []target
	for _, text := range nc.DiscoveredServers() {
		u, err := url.Parse(text)
		given := func(g string) bool { return sameHost(g, u) }
		if err != nil || len(found) == maxDiscovered || slices.ContainsFunc(d.access.URLs, given) {
			continue
		}
		u.User = current.User
		t := target{url: u.String()}
		if secure && net.ParseIP(u.Hostname()) != nil && net.ParseIP(current.Hostname()) == nil {
			t.tlsName = current.Hostname()
		}
		found = append(found, t)
	}
	if len(found) > 0 {
		d.discovered = found
	}
}

// sameHost reports whether a given URL, which may have no scheme, leads to the host and port of u.
func sameHost(given string, u *url.URL) bool {
	if !strings.Contains(given, "://") {
		given = "nats://" + given
	}
	g, err := url.Parse(given)
	return err == nil && g.Hostname() == u.Hostname() && cmp.Or(g.Port(), "4222") == u.Port()
}

// conn is one connection, from its first dial to its end, which is final: the NATS client does not reconnect it.
type conn struct {
	nc      *nats.Conn
	url     string        // Without its password or token.
	ended   chan struct{} // Closed when the connection has ended.
	timeout time.Duration // What is left of the handshake may take so long.
}

// errNoAnswer is the trouble of a server that lets itself be dialled and says nothing.
var errNoAnswer = errors.New("the broker did not answer in time")

func (d *dialer) dial(ctx context.Context, to target) (*conn, error) {
	d.files.look()
	own := d.files.options(to.tlsName)
	c := &conn{ended: make(chan struct{}), timeout: d.handshake()}
	wire := &wire{ctx: ctx, server: d.access.Server}
	options := append(slices.Clone(d.options), own...)
	options = append(options,
		nats.SetCustomDialer(wire),
		nats.Timeout(c.timeout),
		nats.ClosedHandler(func(*nats.Conn) { close(c.ended) }),
	)
	if d.access.Server != nil {
		options = append(options, nats.InProcessServer(wire))
	}
	var err error
	c.nc, err = nats.Connect(to.url, options...)
	wire.release()
	d.answered = d.answered || wire.reached
	if err != nil {
		if c.nc != nil {
			c.nc.Close()
		}
		return nil, wire.reason(err)
	}
	c.url = unnamedInMemory // The client would name its default URL.
	if d.access.Server == nil {
		// The NATS client would leave a token in it, which has no password.
		if u, err := url.Parse(c.nc.ConnectedUrl()); err == nil {
			c.url = redact.URL(u)
		}
	}
	return c, nil
}

// wire is the socket of one attempt. It bounds the dial, and ends the attempt at once when the link is closed: the NATS
// client knows no context.
type wire struct {
	ctx     context.Context //nolint:containedctx // The attempt's; Dial has no context of its own.
	server  *Server
	reached bool
	err     error // Why the dial failed.
	stop    func() bool
}

// Dial implements nats.CustomDialer.
func (w *wire) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(w.ctx, dialTimeout)
	defer cancel()
	return w.hold(new(net.Dialer).DialContext(ctx, network, address))
}

// InProcessConn implements nats.InProcessConnProvider.
func (w *wire) InProcessConn() (net.Conn, error) { return w.hold(w.server.server.InProcessConn()) }

func (w *wire) hold(c net.Conn, err error) (net.Conn, error) {
	w.err = err
	if err != nil {
		return nil, err
	}
	w.reached = true
	w.release()
	w.stop = context.AfterFunc(w.ctx, func() { _ = c.Close() }) //nolint:errcheck // It ends the attempt either way.
	return c, nil
}

// release lets go of the socket, which is the connection's from now on.
func (w *wire) release() {
	if w.stop != nil {
		w.stop()
	}
}

// reason returns why an attempt failed; the NATS client keeps a refused dial to itself.
func (w *wire) reason(err error) error {
	if w.err != nil {
		return w.err
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return err
}
