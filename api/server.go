package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of a [Server], where ServerOptions leave them out.
const (
	DefaultReadHeaderTimeout = 5 * time.Second
	// DefaultIdleTimeout is how long a connection is kept without a request:
	// beyond Eureka's heartbeat of 30 s, and beyond the 90 s after which many
	// clients and proxies give up one of theirs. A client that sends on a
	// connection which is just being closed would meet an error.
	DefaultIdleTimeout = 120 * time.Second
	// DefaultMaxConnections is how many connections are open at a time; others
	// wait to be accepted. A client of Eureka keeps one or two.
	DefaultMaxConnections = 32 << 10
	// DefaultShutdownTimeout is how long requests under way may take at the end.
	DefaultShutdownTimeout = 5 * time.Second
)

// Bounds of every [Server].
const (
	ReadTimeout  = 30 * time.Second // headers and body
	WriteTimeout = 60 * time.Second // from the headers' end to the answer's
	// MaxHeaderBytes bounds the request line, and so metadata in a query,
	// together with the headers. net/http allows 4 KiB more.
	MaxHeaderBytes = 64 << 10
)

// ServerOptions of a [Server]. A zero field means its default.
type ServerOptions struct {
	ReadHeaderTimeout time.Duration
	IdleTimeout       time.Duration
	MaxConnections    int // beyond what the process may open, fewer; see Server.MaxConnections
	MaxPerAddress     int // connections of one address; default a quarter of MaxConnections
	ShutdownTimeout   time.Duration
	// TLS is for https, HTTP/1.1 alone: the bounds of connections, and what is refused of a
	// connection that is older than Open, mean one request at a time. nil: http.
	TLS     *tls.Config
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: nowhere
}

// withDefaults returns the options in full, or all that is wrong with them.
func (o ServerOptions) withDefaults() (ServerOptions, error) {
	o.ReadHeaderTimeout = cmp.Or(o.ReadHeaderTimeout, DefaultReadHeaderTimeout)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, DefaultIdleTimeout)
	o.MaxConnections = cmp.Or(o.MaxConnections, DefaultMaxConnections)
	if o.MaxConnections > 0 {
		o.MaxConnections = connectionBound(o.MaxConnections, fileLimit())
	}
	o.MaxPerAddress = cmp.Or(o.MaxPerAddress, perAddress(o.MaxConnections))
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, DefaultShutdownTimeout)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(
		notNegative("read header timeout", o.ReadHeaderTimeout), notNegative("idle timeout", o.IdleTimeout),
		notNegative("shutdown timeout", o.ShutdownTimeout), atLeastOne("max connections", o.MaxConnections),
		atLeastOne("max connections per address", o.MaxPerAddress),
	)
}

// Server serves a listener. Its owner calls Run once, or Close. The server answers
// from the start of Run, and serves its handler from [Server.Open] on.
type Server struct {
	door     *door
	http     *http.Server
	log      *slog.Logger
	shutdown time.Duration
	silent   silentConns
	tls      *tls.Config
}

// NewServer returns a server for a listener, and owns the listener unless it fails.
// The server accepts no connection before Run.
func NewServer(l net.Listener, opts ServerOptions) (*Server, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	d := newDoor(l, opts.MaxConnections, opts.MaxPerAddress)
	if opts.Metrics != nil {
		err := errors.Join(opts.Metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_api_max_connections",
			Help: "Bound of the connections, within what the process may open.",
		}, func() float64 { return float64(opts.MaxConnections) })),
			opts.Metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "registryd_api_refused_connections_total",
				Help: "Connections closed because their address had too many.",
			}, func() float64 { return float64(d.addresses.refused.Load()) })),
			opts.Metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "registryd_api_connections", Help: "Connections open, and the one being waited for.",
			}, func() float64 { return float64(d.connections()) })),
			opts.Metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "registryd_api_early_requests_total",
				Help: "Requests refused because their connection was accepted before the node served.",
			}, func() float64 { return float64(d.refused.Load()) })))
		if err != nil {
			return nil, fmt.Errorf("api: metrics: %w", err)
		}
	}
	log := opts.Logger.With("component", "api")
	s := &Server{
		door: d, log: log, shutdown: opts.ShutdownTimeout, tls: opts.TLS,
		http: &http.Server{
			Handler:           d,
			ReadHeaderTimeout: opts.ReadHeaderTimeout, ReadTimeout: ReadTimeout,
			WriteTimeout: WriteTimeout, IdleTimeout: opts.IdleTimeout,
			MaxHeaderBytes: MaxHeaderBytes,
			// Broken connections and such: nobody needs to act.
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	s.http.ConnContext = d.connContext
	s.http.ConnState = s.silent.changed
	s.http.RegisterOnShutdown(s.silent.close)
	return s, nil
}

// Listen is NewServer for a listener that it binds to addr, as in ":8761".
func Listen(ctx context.Context, addr string, opts ServerOptions) (*Server, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	s, err := NewServer(l, opts)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

// MaxConnections returns how many connections there may be: those of the options, or fewer
// where the process may not open as many files.
func (s *Server) MaxConnections() int { return cap(s.door.places) }

// Addr returns the address that the server listens at, with the port that was
// chosen.
func (s *Server) Addr() net.Addr { return s.door.Addr() }

// Open begins to serve h. No write that was sent before Open is applied: on a
// connection that was accepted earlier, or that waited to be accepted, writes are
// answered with 503 and no body. Before the first Open lists are 403 and /readyz is
// 503; later reads are served. Each such connection is closed after its next answer.
//
// Open returns once the accept queue has been empty, which requires Run. It fails
// when ctx or the server ends first.
func (s *Server) Open(ctx context.Context, h http.Handler) error {
	if err := s.door.open(ctx, h); err != nil {
		return err
	}
	if refused := s.door.refused.Load(); refused > 0 {
		s.log.Info("http is open, earlier requests were refused", "refused", refused)
	}
	return nil
}

// Run serves until ctx is done. Then it takes no more requests, waits up to the
// shutdown timeout for those under way, and returns nil. It returns an error if
// serving fails or requests had to be cut off.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	listener := net.Listener(s.door)
	if s.tls != nil {
		listener = tls.NewListener(s.door, s.tls)
	}
	go func() { served <- s.http.Serve(listener) }() // ends with Shutdown, or by itself
	select {
	case err := <-served:
		return fmt.Errorf("api: serve: %w", err)
	case <-ctx.Done():
	}
	// ctx is done, but the requests under way still have their time.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.shutdown)
	defer cancel()
	err := s.http.Shutdown(grace)
	if err != nil {
		err = errors.Join(fmt.Errorf("api: shutdown: %w", err), s.http.Close())
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("api: serve: %w", e))
	}
	return err
}

// Close frees the address of a server that was not run. After Run it does nothing.
func (s *Server) Close() error {
	if err := s.door.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}
