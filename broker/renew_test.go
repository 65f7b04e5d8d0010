package broker_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/internal/natstest"
)

// renewable are TLS files of one server or client.
type renewable struct {
	broker.TLSFiles
	dir string
}

func newRenewable(t *testing.T, ca *certstest.CA, name string) renewable {
	t.Helper()
	r := renewable{dir: t.TempDir()}
	r.CA = certstest.Write(t, filepath.Join(r.dir, "ca.pem"), ca.PEM)
	r.Cert, r.Key = ca.Files(t, r.dir, "node")
	r.sign(t, ca, name)
	return r
}

// sign writes a new certificate.
func (r renewable) sign(t *testing.T, ca *certstest.CA, name string) {
	t.Helper()
	cert, key := ca.Pair(t, name, 30*24*time.Hour)
	certstest.Write(t, r.Cert, cert)
	certstest.Write(t, r.Key, key)
}

// TestServerCertificatesRenewed gives an embedded server, another one and a client the certificates of another CA while
// they run. No connection and no request is lost; later ones, routes too, use the new ones.
func TestServerCertificatesRenewed(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	here, there, client := newRenewable(t, ca, "here"), newRenewable(t, ca, "there"), newRenewable(t, ca, "client")
	routeHere, routeThere := natstest.FreeAddress(t), natstest.FreeAddress(t)
	startAt := func(route string, files renewable, routes ...string) *broker.Server {
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{
			Listen: "127.0.0.1:0", RouteListen: route, Routes: routes, Secret: "s3cret", TailSecret: "look", TLS: files.TLSFiles,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server
	}
	second := startAt(routeThere, there)
	first := startAt(routeHere, here, routeThere) // the one that dials
	eventually(t, "a route", func() bool { return first.Routes() > 0 })
	in := natstest.Node(t, first, "in")
	out := natstest.Start(t, broker.Options{Node: "out", Access: broker.Access{
		URLs: []string{"tls://s3cret@" + first.Address()}, TLS: client.TLSFiles,
	}})
	far := natstest.Node(t, second, "far")
	serve(t, in, echo(t))
	mustAsk(t, out, "in", "x")
	reader, err := nats.Connect("tls://look@"+first.Address(), nats.Secure(ca.Client(t, "tail")), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)

	// Requests go on all the while.
	done := make(chan struct{})
	var asking sync.WaitGroup
	asked := 0
	asking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				mustAsk(t, out, "in", "x")
				mustAsk(t, far, "in", "x")
				asked++
			}
		}
	})
	shows := func(server *broker.Server, config *tls.Config) (issuer, name string, err error) {
		nc, err := nats.Connect("tls://registryd:s3cret@"+server.Address(), nats.Secure(config), nats.NoReconnect())
		if err != nil {
			return "", "", err
		}
		defer nc.Close()
		state, err := nc.TLSConnectionState()
		if err != nil {
			return "", "", err
		}
		leaf := state.PeerCertificates[0]
		return leaf.Issuer.CommonName, leaf.Subject.CommonName, nil
	}
	// New certificates of the same CA: everybody stays.
	for _, files := range []renewable{here, there, client} {
		files.sign(t, ca, "again")
	}
	for _, server := range []*broker.Server{first, second} {
		eventually(t, "the new certificate is shown", func() bool {
			_, name, err := shows(server, ca.Client(t, "probe"))
			return err == nil && name == "again"
		})
	}
	if reader.IsClosed() {
		t.Error("a reader lost its connection")
	}
	both := append(bytes.Clone(ca.PEM), other.PEM...)
	trusts := ca.Client(t, "probe")
	trusts.RootCAs.AddCert(other.Cert)
	trusts.Certificates = other.Client(t, "probe").Certificates
	for _, files := range []renewable{here, there, client} {
		certstest.Write(t, files.CA, both)
	}
	for _, server := range []*broker.Server{first, second} {
		eventually(t, "both CAs are trusted", func() bool { _, _, err := shows(server, trusts); return err == nil })
	}
	for _, files := range []renewable{here, there, client} {
		files.sign(t, other, "renewed")
	}
	for _, server := range []*broker.Server{first, second} {
		eventually(t, "the new certificate is shown", func() bool { issuer, _, err := shows(server, trusts); return err == nil && issuer == "other" })
	}
	close(done)
	asking.Wait()
	t.Logf("%d times two requests", asked)
	if out.Count("disconnects_total") != 0 || in.Count("disconnects_total") != 0 {
		t.Errorf("connections lost: %d by socket, %d in the process",
			out.Count("disconnects_total"), in.Count("disconnects_total"))
	}
	if first.Routes() == 0 {
		t.Error("the route is lost")
	}

	// The new CA alone. The second server starts again with it, and the first one dials it.
	for _, files := range []renewable{here, there} {
		certstest.Write(t, files.CA, other.PEM)
	}
	eventually(t, "the old CA is refused", func() bool { _, _, err := shows(first, ca.Client(t, "old")); return err != nil })
	second.Shutdown()
	startAt(routeThere, there)
	eventually(t, "a route with the new certificates", func() bool { return first.Routes() > 0 })
}

// TestBadFilesKeepTheOld breaks the files of a client while it is connected, then ends its connection: it connects again
// with what it read before.
func TestBadFilesKeepTheOld(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	ca := certstest.NewCA(t, "ca")
	files := newRenewable(t, ca, "client")
	own := newRenewable(t, ca, "server")
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := certstest.Write(t, filepath.Join(files.dir, "seed"), seed)
	pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	if err != nil {
		t.Fatal(err)
	}
	config := ca.Client(t, "")
	config.Certificates, config.ClientCAs, config.ClientAuth = []tls.Certificate{pair}, config.RootCAs, tls.RequireAndVerifyClientCert
	address := natstest.FreeAddress(t)
	start := func() *natsserver.Server {
		server := strict(t, address, &natsserver.Options{
			TLS: true, TLSVerify: true, TLSConfig: config, Nkeys: []*natsserver.NkeyUser{{Nkey: public}},
		})
		return server
	}
	first := start()
	var log lockedBuffer
	a := natstest.Start(t, broker.Options{Node: "a", Logger: slog.New(slog.NewTextHandler(&log, nil)), Access: broker.Access{
		URLs: []string{"tls://" + address}, TLS: files.TLSFiles, NKeyFile: seedFile,
	}})
	eventually(t, "connected", a.Connected)
	if err := os.WriteFile(seedFile, []byte("no seed"), 0o600); err != nil {
		t.Fatal(err)
	}
	certstest.Write(t, files.CA, []byte("no certificate"))
	for _, use := range []string{"nats", "nats_nkey"} {
		eventually(t, "what is wrong is told", func() bool {
			return strings.Contains(log.String(), fmt.Sprintf("keeping what was read before\" component=broker use=%s ", use))
		})
	}
	if strings.Contains(log.String(), string(seed)) {
		t.Error("the log shows the seed")
	}
	first.Shutdown()
	first.WaitForShutdown()
	eventually(t, "the connection is lost", func() bool { return !a.Connected() })
	start()
	eventually(t, "connected with what was read before", a.Connected)
}

// TestWatchRenewed gives a watcher, which may run for long, other files while it runs: it goes on with the server that
// asks for them.
func TestWatchRenewed(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	files := newRenewable(t, ca, "tail")
	seedFile := filepath.Join(files.dir, "seed")
	address := natstest.FreeAddress(t)
	start := func(ca *certstest.CA) *natsserver.Server {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		certstest.Write(t, seedFile, seed)
		certstest.Write(t, files.CA, ca.PEM)
		files.sign(t, ca, "tail")
		config := ca.Client(t, "server")
		config.ClientCAs, config.ClientAuth = config.RootCAs, tls.RequireAndVerifyClientCert
		return strict(t, address, &natsserver.Options{
			TLS: true, TLSVerify: true, TLSConfig: config, Nkeys: []*natsserver.NkeyUser{{Nkey: public}},
		})
	}
	server := start(ca)
	w, err := broker.Watch(t.Context(), broker.WatchOptions{Cluster: "default", Access: broker.Access{
		URLs: []string{"tls://" + address}, TLS: files.TLSFiles, NKeyFile: seedFile,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(within(t, patience)); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "connected", func() bool { return w.Stats().Connected })
	server.Shutdown()
	server.WaitForShutdown()
	eventually(t, "the connection is lost", func() bool { return !w.Stats().Connected })
	start(other)
	eventually(t, "connected with the new files", func() bool { return w.Stats().Connected })
}

// TestLoginRenewed changes the secret of a server, and the file of a node elsewhere that shows it: it goes on when it
// has to connect again.
func TestLoginRenewed(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	address := natstest.FreeAddress(t)
	file := certstest.Write(t, filepath.Join(t.TempDir(), "login"), []byte("any:old"))
	start := func(secret string) *broker.Server {
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: address, Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server
	}
	server := start("old")
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{URLs: []string{"nats://" + address}, LoginFile: file}})
	eventually(t, "connected", a.Connected)
	server.Shutdown()
	start("token")
	certstest.Write(t, file, []byte("token\n"))
	eventually(t, "connected with the token", func() bool { return a.Connected() && a.Count("disconnects_total") == 1 })
}

// strict starts a NATS server of its own.
func strict(t *testing.T, address string, options *natsserver.Options) *natsserver.Server {
	t.Helper()
	var port int
	if _, err := fmt.Sscanf(address[strings.LastIndex(address, ":"):], ":%d", &port); err != nil {
		t.Fatal(err)
	}
	options.Host, options.Port, options.NoSigs, options.NoLog = "127.0.0.1", port, true, true
	server, err := natsserver.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(server.Shutdown)
	if !server.ReadyForConnections(patience) {
		t.Fatal("not ready")
	}
	return server
}
