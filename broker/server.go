package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
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

	// routePing and routeMaxPings make the server give up a route that has been silent for six seconds, and dial it again
	// each second. Left alone, a route that a partition has cut waits for TCP's next retransmission, which comes as long
	// after the partition as that has lasted, and then brings all the old messages that waited in it.
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

	// Routes are RouteListen addresses of other nodes, as host:port or nats-route://host:port. One is enough, the servers
	// tell each other. They need RouteListen.
	Routes []string

	// RouteCluster is the NATS cluster's name, the same on all routes. Default DefaultRouteCluster.
	RouteCluster string

	// Secret is asked of clients (as a token, or as the password of any user) and of routes. This process needs none.
	Secret string

	// TailSecret is another secret for clients: who shows it may subscribe to "registry.>" and publish nothing. It needs
	// Secret, and differs from it.
	TailSecret string

	// TLS is for clients and routes. With a CA, both have to show a certificate that it signed. Routes need one: each side
	// verifies the other. Over TLS the secret goes to no stranger.
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
	peers   []string // The host:port of each configured route but our own.
	log     *slog.Logger
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
	config, token, err := options.build()
	if err != nil {
		return nil, err
	}
	if anyPort {
		config.Port = natsserver.RANDOM_PORT
	}
	s := &Server{token: token, private: options.Listen == "", log: component(options.Logger, "nats")}
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

// Alone tells whether no route is up although ServerOptions.Routes names other servers.
func (s *Server) Alone() bool { return len(s.peers) > 0 && s.Routes() == 0 }

// WaitRoutes waits until the first route is up, which is true, or until nobody listens at any of ServerOptions.Routes,
// which is false: this server is the first of its cluster. A route to itself doesn't count. When ctx ends before either,
// the error is its cause. Without routes the answer is false at once.
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

func (s *Server) stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// build turns the options into the NATS server's, with the token of this process's own connections.
func (o ServerOptions) build() (*natsserver.Options, string, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
	}
	if o.MaxPayload < 0 || o.MaxPayload > MaxMaxPayload {
		fault("max payload %d is not within 0..%d bytes", o.MaxPayload, MaxMaxPayload)
	}
	if len(o.Routes) > 0 && o.RouteListen == "" {
		fault("routes need a route listen address")
	}
	tlsConfig, err := o.TLS.config()
	if err != nil {
		fault("%w", err)
	} else if tlsConfig != nil && len(tlsConfig.Certificates) == 0 {
		fault("tls of a server needs a certificate and its key")
	}
	if tlsConfig != nil && o.RouteListen != "" && o.TLS.CA == "" {
		fault("routes with tls need a ca: it says whose certificates are taken")
	}
	if o.TailSecret != "" && (o.Secret == "" || o.Secret == o.TailSecret) {
		fault("a tail secret needs a secret beside it, and differs from that")
	}
	config := &natsserver.Options{
		ServerName:             cmp.Or(o.Name, "registryd") + "-" + rand.Text()[:8],
		NoSigs:                 true,
		NoLog:                  true,
		MaxPayload:             int32(cmp.Or(o.MaxPayload, DefaultMaxPayload)), //nolint:gosec // Bounded above.
		PingInterval:           serverPing,
		JetStream:              o.StoreDir != "",
		StoreDir:               o.StoreDir,
		DisableJetStreamBanner: true,
	}
	exposed := false
	switch {
	case o.Listen != "":
		host, port, err := hostPort(o.Listen)
		if err != nil {
			fault("listen: %w", err)
		}
		config.Host, config.Port = host, port
		exposed = !loopback(host)
	case o.RouteListen != "":
		// A server with routes and without a socket for clients never becomes ready.
		config.Host, config.Port = "127.0.0.1", natsserver.RANDOM_PORT
	default:
		config.DontListen = true
	}
	if o.RouteListen != "" {
		host, port, err := hostPort(o.RouteListen)
		if err != nil {
			fault("route listen: %w", err)
		}
		exposed = exposed || !loopback(host)
		config.Cluster = natsserver.ClusterOpts{
			Name: cmp.Or(o.RouteCluster, DefaultRouteCluster), Host: host, Port: port,
			NoAdvertise:  loopback(config.Host), // Else clients elsewhere would be sent to their own loopback.
			PingInterval: routePing, MaxPingsOut: routeMaxPings,
		}
		if o.Secret != "" {
			config.Cluster.Username, config.Cluster.Password = secretUser, o.Secret
		}
	}
	for _, route := range o.Routes {
		u, err := routeURL(route, o.Secret)
		if err != nil {
			fault("route %q: %w", route, err)
			continue
		}
		config.Routes = append(config.Routes, u)
	}
	if exposed && o.Secret == "" && o.TLS.CA == "" {
		faults = append(faults, ErrExposed)
	}
	if len(faults) > 0 {
		return nil, "", errors.Join(faults...)
	}
	if tlsConfig != nil {
		if o.TLS.CA != "" {
			tlsConfig.ClientCAs, tlsConfig.ClientAuth = tlsConfig.RootCAs, tls.RequireAndVerifyClientCert
			config.TLSVerify = true
		}
		config.TLS, config.TLSConfig = true, tlsConfig
		if o.RouteListen != "" {
			config.Cluster.TLSConfig = tlsConfig.Clone()
		}
	}
	if o.Secret == "" && o.Listen != "" || config.DontListen {
		return config, "", nil
	}
	door := &doorkeeper{own: rand.Text(), secret: o.Secret, tail: o.TailSecret}
	config.CustomClientAuthentication = door
	return config, door.own, nil
}

// doorkeeper admits clients by the secret, readers by theirs, and this process by a token that it made up.
type doorkeeper struct {
	own    string
	secret string // Empty: nobody but this process.
	tail   string // Empty: no readers.
}

// Check implements natsserver.Authentication.
func (d *doorkeeper) Check(client natsserver.ClientAuthentication) bool {
	shown := client.GetOpts()
	shows := func(secret string) bool {
		return secret != "" && (same(shown.Token, secret) || same(shown.Password, secret))
	}
	switch {
	case same(shown.Token, d.own), shows(d.secret):
		return true
	case shows(d.tail):
		client.RegisterUser(&natsserver.User{Username: tailUser, Permissions: &natsserver.Permissions{
			Publish:   &natsserver.SubjectPermission{Deny: []string{">"}},
			Subscribe: &natsserver.SubjectPermission{Allow: []string{subjectRoot + ".>"}},
		}})
		return true
	}
	return false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// hostPort takes host:port apart for the NATS server: no host means all of them, port 0 any free one.
func hostPort(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q of %q is not a number within 0..65535", text, address)
	}
	if port == 0 {
		return cmp.Or(host, "0.0.0.0"), natsserver.RANDOM_PORT, nil
	}
	return cmp.Or(host, "0.0.0.0"), int(port), nil
}

// loopback tells whether host can be reached from this machine only. A name other than localhost may be anything.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// routeURL reads host:port or nats-route://host:port, and adds the secret where the URL has none of its own.
func routeURL(route, secret string) (*url.URL, error) {
	u := &url.URL{Scheme: "nats-route", Host: route}
	if parsed, err := url.Parse(route); err == nil && parsed.Host != "" {
		if parsed.Scheme != "nats-route" && parsed.Scheme != "nats" && parsed.Scheme != "tls" {
			return nil, fmt.Errorf("scheme %q is not nats-route", parsed.Scheme)
		}
		u = parsed
	}
	if host, port, err := net.SplitHostPort(u.Host); err != nil || host == "" || port == "" {
		return nil, errors.New("not host:port")
	}
	if u.User == nil && secret != "" {
		u.User = url.UserPassword(secretUser, secret)
	}
	return u, nil
}

// component returns the logger of one part; without a logger, one that writes nothing.
func component(log *slog.Logger, name string) *slog.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return log.With("component", name)
}
