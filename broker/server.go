package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/registryd/registryd/internal/certs"
	"github.com/registryd/registryd/internal/reread"
)

// Defaults and bounds of a Server.
const (
	DefaultMaxPayload   = 1 << 20 // Bytes, NATS's own default.
	MaxMaxPayload       = 8 << 20 // Bytes, beyond which the NATS server warns.
	DefaultReadyTimeout = 5 * time.Second
	DefaultRouteCluster = "registryd"

	secretUser = "registryd"
	tailUser   = "tail"

	// serverPing makes the server forget a client that vanished without a word after three of these. NATS's default of
	// two minutes would keep its subscriptions, and requests to it would time out all that while.
	serverPing = 10 * time.Second

	// routePing and routeMaxPings make the server give up a route that has been silent for six seconds, and dial it
	// again each second. Left alone, a route that a partition has cut waits for TCP's next retransmission, which comes
	// as long after the partition as that has lasted, and then brings all the old messages that waited in it.
	routePing     = 2 * time.Second
	routeMaxPings = 2

	readyStep = 50 * time.Millisecond
	routeStep = 20 * time.Millisecond
)

// ServerOptions configures an embedded NATS server. The zero value is a server without a socket, for the process alone.
type ServerOptions struct {
	// Name starts the server's name, as `nats server list` shows it; a random suffix keeps it unique, because NATS
	// refuses a route between two servers of one name. Default "registryd".
	Name string

	// Listen is the host:port for clients. Port 0 is any free port. Empty: no socket for clients, unless RouteListen is
	// set, which needs one (on 127.0.0.1, any port, for this process only).
	Listen string

	// ListenFallback takes any free port of the same host when the port of Listen is taken.
	ListenFallback bool

	// RouteListen is the host:port where the embedded servers of other nodes connect. Empty: no routes.
	RouteListen string

	// Routes are RouteListen addresses of other nodes, as host:port or nats-route://host:port. One is enough, the
	// servers tell each other. They need RouteListen.
	Routes []string

	// RouteCluster is the NATS cluster's name, the same on all routes. Default DefaultRouteCluster.
	RouteCluster string

	// Secret is asked of clients (as a token, or as the password of any user) and of routes. This process needs none.
	Secret string

	// SecretFile holds the secret instead, or two, see MaxSecrets. It is reread when it changes. Connections that are
	// up stay, but for the routes that this server has dialled: they are dialled again.
	SecretFile string

	// TailSecret is another secret for clients: who shows it may subscribe to "registry.>" and publish nothing. It
	// needs Secret, and differs from it.
	TailSecret string

	// TailSecretFile holds it instead, as SecretFile does.
	TailSecretFile string

	// TLS is for clients and routes. With a CA, both have to show a certificate that it signed. Routes need one: each
	// side verifies the other. Over TLS the secret goes to no stranger.
	TLS TLSFiles

	// MaxPayload bounds one message with its headers, in bytes. Default DefaultMaxPayload, at most MaxMaxPayload.
	MaxPayload int

	// StoreDir switches JetStream on, with its files there. Nothing on the path of a registration needs it.
	StoreDir string

	// ReadyTimeout bounds StartServer. Default DefaultReadyTimeout.
	ReadyTimeout time.Duration

	// Logger takes the server's lines, as component "nats". Default: none.
	Logger *slog.Logger
}

// Server is a NATS server inside this process. Its methods may be called from any goroutine.
type Server struct {
	server  *natsserver.Server
	token   string   // What this process's own connections show; empty if nobody has to show anything.
	private bool     // The socket for clients is there only because routes want one.
	peers   []string // The host:port of each configured route except our own.

	options      ServerOptions       // As given.
	config       *natsserver.Options // As given, for reloads.
	certificates *certs.Store        // Nil: no TLS.
	secret, tail secrets
	shown        string // The secret that this server shows to others; "" for none. Of the goroutine that rereads.
	stopReread   func() // Ends the rereading of files and waits for it; nil: there is none.
	log          *slog.Logger
}

// StartServer starts a NATS server and waits until it takes connections.
//
// It returns ErrExposed for a server beyond loopback that anybody could use, ErrOptions for options that don't fit, and
// the cause, for instance syscall.EADDRINUSE, if a port can't be had.
func StartServer(ctx context.Context, options ServerOptions) (*Server, error) {
	s, err := startServer(ctx, options, false)
	if options.ListenFallback && errors.Is(err, errClientPort) && errors.Is(err, syscall.EADDRINUSE) {
		s, err = startServer(ctx, options, true)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return s, nil
}

// errClientPort marks the failure to listen for clients, as opposed to routes.
var errClientPort = errors.New("no socket for clients")

func startServer(ctx context.Context, options ServerOptions, anyPort bool) (*Server, error) {
	b, err := options.build()
	if err != nil {
		return nil, err
	}
	config := b.config
	if anyPort {
		config.Port = natsserver.RANDOM_PORT
	}
	s := &Server{
		token: b.token, private: options.Listen == "", log: component(options.Logger, "nats"),
		options: options, config: config.Clone(), certificates: b.certs,
		secret: b.secret, tail: b.tail, shown: b.secret.first(),
	}
	s.server, err = natsserver.NewServer(config)
	if err != nil {
		return nil, err
	}
	lines := &serverLog{log: s.log}
	s.server.SetLoggerV2(lines, s.log.Enabled(ctx, levelServerDebug), false, false)
	s.server.Start()
	if err := s.ready(ctx, lines, cmp.Or(options.ReadyTimeout, DefaultReadyTimeout)); err != nil {
		if !config.DontListen && s.server.Addr() == nil {
			err = fmt.Errorf("%w: %w", errClientPort, err)
		}
		s.stop()
		return nil, err
	}
	s.startReread()
	s.peers = routePeers(config.Routes, s.server.ClusterAddr(), config.Cluster.Host)
	s.log.Info("embedded broker started", "address", s.Address(), "routes", s.RouteAddress())
	return s, nil
}

func (s *Server) ready(ctx context.Context, lines *serverLog, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; {
		if err := lines.failed(); err != nil {
			return err
		}
		if s.server.ReadyForConnections(readyStep) {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("not ready after %s", timeout)
		}
	}
}

// Address returns the host:port where clients may connect, or "" if there is no such socket.
func (s *Server) Address() string {
	if addr := s.server.Addr(); addr != nil && !s.private {
		return addr.String()
	}
	return ""
}

// RouteAddress returns the host:port where other embedded servers may connect, or "" if there is no such socket.
func (s *Server) RouteAddress() string {
	if addr := s.server.ClusterAddr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Routes returns how many routes to other servers are up. NATS keeps several to each.
func (s *Server) Routes() int { return s.server.NumRoutes() }

// Alone reports whether no route is up although ServerOptions.Routes names other servers.
func (s *Server) Alone() bool { return len(s.peers) > 0 && s.Routes() == 0 }

// WaitRoutes waits until the first route is up, which is true, or until nobody listens at any of ServerOptions.Routes,
// which is false: this server is the first of its cluster. A route to itself doesn't count. When ctx ends before
// either, the error is its cause. Without routes the answer is false at once.
func (s *Server) WaitRoutes(ctx context.Context) (bool, error) {
	alone := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	var probing sync.WaitGroup
	defer probing.Wait()
	defer cancel()
	probing.Go(func() {
		for _, peer := range s.peers {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", peer)
			if err == nil {
				_ = conn.Close() //nolint:errcheck // It was only asked whether somebody listens.
			}
			if !errors.Is(err, syscall.ECONNREFUSED) {
				return
			}
		}
		close(alone)
	})
	tick := time.NewTicker(routeStep)
	defer tick.Stop()
	for {
		if s.Routes() > 0 {
			return true, nil
		}
		select {
		case <-alone:
			return s.Routes() > 0, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// routePeers returns where the routes go, without the one to this server itself.
func routePeers(routes []*url.URL, own *net.TCPAddr, ownHost string) []string {
	var peers []string
	for _, route := range routes {
		host, port := route.Hostname(), route.Port()
		if own != nil && port == strconv.Itoa(own.Port) && (host == ownHost || loopback(host)) {
			continue
		}
		peers = append(peers, net.JoinHostPort(host, port))
	}
	return peers
}

// Shutdown stops the server and waits until it has: its sockets are free and its goroutines gone. Connections of this
// process lose their broker, as all others do. It may be called more than once.
func (s *Server) Shutdown() {
	if s.server.Running() {
		s.log.Info("embedded broker stopping", "address", s.Address())
	}
	s.stop()
}

// startReread looks at the certificates and secrets until the server stops.
func (s *Server) startReread() {
	if s.certificates == nil && s.secret.file == nil && s.tail.file == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(reread.Interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.renew()
			}
		}
	})
	s.stopReread = func() {
		cancel()
		running.Wait()
	}
}

// renew takes certificates and secrets that have changed. New clients and routes then use them; those that are up stay.
// Where the CA of routes changes, or the secret that is shown to others, the NATS server reloads its options. It then
// closes the connections of clients that show a user name, which connect again; those of this process and of clients
// with a token stay. For another secret it also dials the routes again that it has dialled.
func (s *Server) renew() {
	s.secret.look()
	s.tail.look()
	anew := false
	if s.certificates != nil {
		before := s.certificates.Current().Pool
		s.certificates.Look()
		anew = before != nil && !before.Equal(s.certificates.Current().Pool)
	}
	shown := s.secret.first()
	if s.config.Cluster.Name == "" || !anew && shown == s.shown {
		return
	}
	config := s.config.Clone()
	if s.certificates != nil {
		secure(config, s.certificates)
	}
	err := errors.Join(s.options.show(config, shown)...)
	if err == nil {
		err = s.server.ReloadOptions(config)
	}
	if err != nil {
		s.log.Error("routes do not use the new CA or secret, that needs a restart", "err", err)
	}
	s.shown = shown
}

func (s *Server) stop() {
	if s.stopReread != nil {
		s.stopReread()
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// component returns the logger of one part; without a logger, one that writes nothing.
func component(log *slog.Logger, name string) *slog.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return log.With("component", name)
}

// hears reports whether anybody subscribes to a subject, here or at a server with a route to this one.
func (s *Server) hears(subject string) bool { return s.server.GlobalAccount().Interest(subject) > 0 }
