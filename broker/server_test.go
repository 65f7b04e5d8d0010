package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func TestServerListenFallback(t *testing.T) {
	taken := natstest.TCP(t).Address()
	_, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: taken})
	wantError(t, err, syscall.EADDRINUSE)

	server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: taken, ListenFallback: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	if server.Address() == taken || !strings.HasPrefix(server.Address(), "127.0.0.1:") {
		t.Errorf("address %q, want another one of 127.0.0.1 than %q", server.Address(), taken)
	}
	stranger(t, server)

	// Only the clients' port falls back: other nodes look for the route port.
	_, err = broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", ListenFallback: true, RouteListen: taken})
	wantError(t, err, syscall.EADDRINUSE)
}

func TestServerShutdownFreesThePort(t *testing.T) {
	server := natstest.TCP(t)
	address := server.Address()
	server.Shutdown()
	server.Shutdown()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("the port after Shutdown: %v", err)
	}
	_ = listener.Close() //nolint:errcheck // A test's own.
}

func TestServerOptions(t *testing.T) {
	ca, cert, key := certificates(t)
	tests := []struct {
		name    string
		options broker.ServerOptions
		want    error
	}{
		{"all addresses", broker.ServerOptions{Listen: "0.0.0.0:0"}, broker.ErrExposed},
		{"no host", broker.ServerOptions{Listen: ":0"}, broker.ErrExposed},
		{"all addresses, IPv6", broker.ServerOptions{Listen: "[::]:0"}, broker.ErrExposed},
		{"a name", broker.ServerOptions{Listen: "broker.example:0"}, broker.ErrExposed},
		{"routes beyond loopback", broker.ServerOptions{Listen: "127.0.0.1:0", RouteListen: "0.0.0.0:0"}, broker.ErrExposed},
		{"TLS that lets anybody in", broker.ServerOptions{Listen: "0.0.0.0:0", TLS: broker.TLSFiles{Cert: cert, Key: key}}, broker.ErrExposed},
		{"a secret", broker.ServerOptions{Listen: "0.0.0.0:0", Secret: "s3cret"}, nil},
		{"TLS with a CA", broker.ServerOptions{Listen: "0.0.0.0:0", TLS: broker.TLSFiles{CA: ca, Cert: cert, Key: key}}, nil},
		{"loopback", broker.ServerOptions{Listen: "127.0.0.1:0"}, nil},
		{"loopback by name", broker.ServerOptions{Listen: "localhost:0"}, nil},
		{"TLS without a certificate", broker.ServerOptions{Listen: "127.0.0.1:0", TLS: broker.TLSFiles{CA: ca}}, broker.ErrOptions},
		{"routes with TLS of anybody", broker.ServerOptions{RouteListen: "127.0.0.1:0", TLS: broker.TLSFiles{Cert: cert, Key: key}}, broker.ErrOptions},
		{"a tail secret alone", broker.ServerOptions{Listen: "127.0.0.1:0", TailSecret: "look"}, broker.ErrOptions},
		{"one secret for both", broker.ServerOptions{Listen: "127.0.0.1:0", Secret: "s", TailSecret: "s"}, broker.ErrOptions},
		{"no port", broker.ServerOptions{Listen: "127.0.0.1"}, broker.ErrOptions},
		{"port beyond", broker.ServerOptions{Listen: "127.0.0.1:65536"}, broker.ErrOptions},
		{"negative port", broker.ServerOptions{Listen: "127.0.0.1:-1"}, broker.ErrOptions},
		{"routes without a listener", broker.ServerOptions{Routes: []string{"127.0.0.1:1"}}, broker.ErrOptions},
		{"route without a port", broker.ServerOptions{RouteListen: "127.0.0.1:0", Routes: []string{"host"}}, broker.ErrOptions},
		{"route by HTTP", broker.ServerOptions{RouteListen: "127.0.0.1:0", Routes: []string{"http://host:1"}}, broker.ErrOptions},
		{"negative payload", broker.ServerOptions{MaxPayload: -1}, broker.ErrOptions},
		{"payload beyond", broker.ServerOptions{MaxPayload: broker.MaxMaxPayload + 1}, broker.ErrOptions},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, err := broker.StartServer(t.Context(), test.options)
			if err == nil {
				server.Shutdown()
			}
			wantError(t, err, test.want)
			if test.want == nil && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// safeLog takes a log from several goroutines.
type safeLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestTokenIsNotLogged connects with the cluster's secret as the token of a URL, as tools do and nodes may.
func TestTokenIsNotLogged(t *testing.T) {
	const secret = "31337-of-the-cluster"
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	for _, login := range []string{secret, "any:" + secret} {
		var log safeLog
		b, err := broker.Start(t.Context(), broker.Options{
			Cluster: "c", Node: "a", Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Access: broker.Access{URLs: []string{strings.Replace(natstest.URL(server), "://", "://"+login+"@", 1)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "connection", b.Connected)
		eventually(t, "line in the log", func() bool { return strings.Contains(log.String(), "connected to broker") })
		if err := b.Close(within(t, patience)); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has the secret:\n%s", log.String())
		}
	}
}

func TestServerSecret(t *testing.T) {
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Secret: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	tests := []struct {
		name   string
		option nats.Option
		ok     bool
	}{
		{"nothing", nats.Name("x"), false},
		{"another token", nats.Token("guess"), false},
		{"empty token", nats.Token(""), false},
		{"another password", nats.UserInfo("registryd", "guess"), false},
		{"the secret as the user", nats.UserInfo("s3cret", ""), false},
		{"token", nats.Token("s3cret"), true},
		{"password", nats.UserInfo("anybody", "s3cret"), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			nc, err := nats.Connect(natstest.URL(server), test.option)
			if err == nil {
				nc.Close()
			}
			if (err == nil) != test.ok {
				t.Errorf("connect: %v, want ok %v", err, test.ok)
			}
		})
	}
	in := natstest.Node(t, server, "in")
	out := natstest.Start(t, broker.Options{Node: "out", Access: broker.Access{URLs: []string{"nats://registryd:s3cret@" + server.Address()}}})
	if !in.Connected() || !out.Connected() {
		t.Errorf("connected: this process %v, by URL %v, want both", in.Connected(), out.Connected())
	}
	// A wrong secret is no reason to give up: it may be put right.
	wrong := natstest.Start(t, broker.Options{Node: "wrong", Access: broker.Access{URLs: []string{"nats://registryd:guess@" + server.Address()}}})
	eventually(t, "it tries on", func() bool { return wrong.Count("connect_attempts_total", "failed") >= 3 })
	if wrong.Connected() {
		t.Error("connected with a wrong secret")
	}
}

func TestServerTLS(t *testing.T) {
	ca, cert, key := certificates(t)
	files := broker.TLSFiles{CA: ca, Cert: cert, Key: key}
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", TLS: files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	url := []string{"tls://" + server.Address()}
	in := natstest.Node(t, server, "in")
	out := natstest.Start(t, broker.Options{Node: "out", Access: broker.Access{URLs: url, TLS: files}})
	noCert := natstest.Start(t, broker.Options{Node: "nocert", Access: broker.Access{URLs: url, TLS: broker.TLSFiles{CA: ca}}})
	noTrust := natstest.Start(t, broker.Options{Node: "notrust", Access: broker.Access{URLs: url}})
	if !in.Connected() || !out.Connected() {
		t.Errorf("connected: this process %v, with a certificate %v, want both", in.Connected(), out.Connected())
	}
	if noCert.Connected() || noTrust.Connected() {
		t.Errorf("connected: without a certificate %v, without trust %v, want neither", noCert.Connected(), noTrust.Connected())
	}
	serve(t, in, echo(t))
	mustAsk(t, out, "in", "x")
}

// A reader's secret lets it hear everything and say nothing.
func TestServerTailSecret(t *testing.T) {
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Secret: "s3cret", TailSecret: "look"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	in := natstest.Node(t, server, "in")
	heard := make(chan string, 10)
	if _, err := in.Subscribe("registry.>", func(m broker.Message) { heard <- m.Subject }); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 10)
	nc := stranger(t, server, nats.Token("look"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	reader, err := nc.SubscribeSync("registry.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"registry.test.presence.in", "registry.test.presence.ask", "registry.test.peer.in.batch.out",
		"registry.test.peer.in.sync.out", "registry.test.reply.in.token", "registry.test.event.ORDERS", "$SRV.PING", "elsewhere",
	} {
		if err := nc.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		wantError(t, <-refused, nats.ErrPermissionViolation)
	}
	if _, err := nc.SubscribeSync("_INBOX.>"); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-refused, nats.ErrPermissionViolation)
	if err := in.Publish("registry.test.presence.in", []byte("true")); err != nil {
		t.Fatal(err)
	}
	if msg, err := reader.NextMsgWithContext(within(t, patience)); err != nil || string(msg.Data) != "true" {
		t.Errorf("read %+v, %v, want what the node said", msg, err)
	}
	<-heard
	if len(heard) > 0 {
		t.Errorf("the node heard on %q", <-heard)
	}
}

// Routes over TLS: a server of another CA, or of none, gets none, though it knows the secret.
func TestServerRoutesTLS(t *testing.T) {
	files := func() broker.TLSFiles {
		ca, cert, key := certificates(t)
		return broker.TLSFiles{CA: ca, Cert: cert, Key: key}
	}
	start := func(files broker.TLSFiles, routes ...string) *broker.Server {
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{
			RouteListen: "127.0.0.1:0", Routes: routes, Secret: "s3cret", TLS: files,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server
	}
	ours, theirs := files(), files()
	first := start(ours)
	second := start(ours, first.RouteAddress())
	eventually(t, "there is a route", func() bool { return second.Routes() > 0 })
	for name, rogue := range map[string]broker.TLSFiles{
		"no TLS": {}, "their certificates": theirs,
		"their certificate, our CA": {CA: ours.CA, Cert: theirs.Cert, Key: theirs.Key},
		"our certificate, their CA": {CA: theirs.CA, Cert: ours.Cert, Key: ours.Key},
	} {
		up, err := start(rogue, first.RouteAddress()).WaitRoutes(within(t, time.Second))
		if up {
			t.Errorf("%s: a route", name)
		}
		wantError(t, err, context.DeadlineExceeded)
	}
}

// Two processes' worth of embedded servers, joined by a route.
func TestServerRoutes(t *testing.T) {
	start := func(name string, listen string, routes ...string) *broker.Server {
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{
			Name: name, Listen: listen, RouteListen: "127.0.0.1:0", Routes: routes, Secret: "s3cret", Logger: natstest.Logger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server
	}
	// The first one has no socket for clients by option; with routes NATS wants one all the same.
	first := start("one", "")
	if first.Address() != "" || first.RouteAddress() == "" {
		t.Errorf("address %q, route address %q, want the second only", first.Address(), first.RouteAddress())
	}
	if up, err := first.WaitRoutes(within(t, patience)); up || err != nil {
		t.Errorf("routes of the first: %v, %v, want none at once", up, err)
	}
	second := start("one", "127.0.0.1:0", first.RouteAddress()) // The same name: no reason to refuse a route.
	if up, err := second.WaitRoutes(within(t, patience)); !up || err != nil {
		t.Fatalf("route to the first: %v, %v", up, err)
	}
	a, b := natstest.Node(t, first, "a"), natstest.Node(t, second, "b")
	serve(t, b, echo(t))
	eventually(t, "the route knows of the service", func() bool {
		reply, err := ask(within(t, time.Second), a, "b", "x")
		return err == nil && reply == "a:x"
	})
	if second.Routes() == 0 || first.Routes() == 0 {
		t.Errorf("routes: %d and %d, want both", first.Routes(), second.Routes())
	}

	alone := start("three", "", "127.0.0.1:1", natstest.FreeAddress(t))
	if up, err := alone.WaitRoutes(within(t, patience)); up || err != nil {
		t.Errorf("routes that are refused: %v, %v, want false at once", up, err)
	}
	// Somebody listens there, and is no NATS server.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // A test's own.
	pending := start("four", "", listener.Addr().String())
	_, err = pending.WaitRoutes(within(t, 50*time.Millisecond))
	wantError(t, err, context.DeadlineExceeded)
}

// A route over which nothing comes any more, though nobody has closed it, is given up and made anew.
func TestServerSilentRoute(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	start := func(name string, routes ...string) *broker.Server {
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{
			Name: name, RouteListen: "127.0.0.1:0", Routes: routes, Secret: "s3cret", Logger: natstest.Logger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server
	}
	first := start("one")
	proxy := newProxy(t, first.RouteAddress())
	second := start("two", proxy.address())
	a, b := natstest.Node(t, first, "a"), natstest.Node(t, second, "b")
	serve(t, b, echo(t))
	answered := func() bool {
		reply, err := ask(within(t, time.Second), a, "b", "x")
		return err == nil && reply == "a:x"
	}
	eventually(t, "the route knows of the service", answered)
	proxy.stall()
	eventually(t, "both ends give the silent route up", func() bool { return first.Routes() == 0 && second.Routes() == 0 })
	proxy.resume()
	eventually(t, "there is a route again", answered)
}

// The private socket that routes need is for this process only.
func TestServerPrivateSocket(t *testing.T) {
	var lines lockedBuffer
	server, err := broker.StartServer(t.Context(), broker.ServerOptions{
		RouteListen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	_, rest, ok := strings.Cut(lines.String(), "Listening for client connections on ")
	if !ok {
		t.Fatalf("the NATS server's own lines don't come through:\n%s", lines.String())
	}
	address := rest[:strings.IndexAny(rest, "\"\n")]
	nc, err := nats.Connect("nats://" + address)
	if err == nil {
		nc.Close()
	}
	wantError(t, err, nats.ErrAuthorization)
	if !natstest.Node(t, server, "a").Connected() {
		t.Error("this process can't connect")
	}
	if !strings.Contains(lines.String(), "component=nats") {
		t.Errorf("lines without their component:\n%s", lines.String())
	}
}

func TestEmbedded(t *testing.T) {
	a := natstest.Start(t, broker.Options{Node: "a", Embedded: &broker.ServerOptions{Listen: "127.0.0.1:0"}})
	if !a.Connected() || a.Server() == nil {
		t.Fatalf("connected %v, server %v", a.Connected(), a.Server())
	}
	address := a.Server().Address()
	b := natstest.Start(t, broker.Options{Node: "b", Access: broker.Access{URLs: []string{address}}})
	serve(t, a, echo(t))
	mustAsk(t, b, "a", "x")
	nc := stranger(t, a.Server())
	if !strings.HasPrefix(nc.ConnectedServerName(), "a-") {
		t.Errorf("the server is named %q, want the node's name and a suffix", nc.ConnectedServerName())
	}
	if err := a.Close(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others lose an embedded broker", func() bool { return !b.Connected() })

	_, err := broker.Start(t.Context(), broker.Options{Cluster: "c", Node: "a", Embedded: &broker.ServerOptions{Listen: "0.0.0.0:0"}})
	wantError(t, err, broker.ErrExposed)
}

func TestStartServerCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("stopped")
	cancel(reason)
	server, err := broker.StartServer(ctx, broker.ServerOptions{RouteListen: "127.0.0.1:0"})
	if err == nil {
		server.Shutdown() // It was ready before anybody looked.
		return
	}
	wantError(t, err, reason)
}
