package broker

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/registryd/registryd/internal/certs"
	"github.com/registryd/registryd/internal/redact"
)

// built is what options make: the NATS server's, and what is read anew while it runs.
type built struct {
	config *natsserver.Options
	token  string       // Of this process's own connections.
	certs  *certs.Store // Nil: no TLS.
	secret secrets
	tail   secrets
}

// build turns the options into those of the NATS server.
func (o ServerOptions) build() (*built, error) {
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
	var store *certs.Store
	if o.TLS.set() {
		var err error
		files := certs.Files{CA: o.TLS.CA, Cert: o.TLS.Cert, Key: o.TLS.Key}
		store, err = certs.Open("embedded", files, tls.RequireAndVerifyClientCert, component(o.Logger, "nats"))
		if err != nil {
			fault("%w", err)
		} else if o.TLS.Cert == "" {
			fault("tls of a server needs a certificate and its key")
		}
	}
	if o.TLS.set() && o.RouteListen != "" && o.TLS.CA == "" {
		fault("routes with tls need a ca: it says whose certificates are taken")
	}
	log := component(o.Logger, "nats")
	secret, err := openSecrets("cluster_secret", o.Secret, o.SecretFile, log)
	asksNone := err == nil && secret.first() == "" // a file that can't be read is one fault
	if err != nil {
		fault("%w", err)
	}
	tail, err := openSecrets("tail_secret", o.TailSecret, o.TailSecretFile, log)
	if err != nil {
		fault("%w", err)
	}
	if tail.first() != "" && (asksNone || secret.takes(tail.all()...)) {
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
		exposed = err == nil && !loopback(host)
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
		exposed = exposed || err == nil && !loopback(host)
		config.Cluster = natsserver.ClusterOpts{
			Name: cmp.Or(o.RouteCluster, DefaultRouteCluster), Host: host, Port: port,
			NoAdvertise:  loopback(config.Host), // Else clients elsewhere would be sent to their own loopback.
			PingInterval: routePing, MaxPingsOut: routeMaxPings,
		}
		if secret.first() != "" {
			config.CustomRouterAuthentication = &routeDoor{secret}
		}
	}
	for _, err := range o.show(config, secret.first()) {
		fault("%w", err)
	}
	if exposed && asksNone && o.TLS.CA == "" {
		faults = append(faults, ErrExposed)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if store != nil {
		secure(config, store)
	}
	b := &built{config: config, certs: store, secret: secret, tail: tail}
	if secret.first() == "" && o.Listen != "" || config.DontListen {
		return b, nil
	}
	b.token = rand.Text()
	config.CustomClientAuthentication = &doorkeeper{own: b.token, secret: secret, tail: tail}
	return b, nil
}

// show sets the secret that this server shows to others.
func (o ServerOptions) show(config *natsserver.Options, secret string) (faults []error) {
	if o.RouteListen != "" && secret != "" {
		config.Cluster.Username, config.Cluster.Password = secretUser, secret
	}
	config.Routes = nil
	for _, route := range o.Routes {
		u, err := routeURL(route, secret)
		if err != nil {
			faults = append(faults, fmt.Errorf("route %q: %w", redact.Text(route), err))
			continue
		}
		config.Routes = append(config.Routes, u)
	}
	return faults
}

// doorkeeper admits clients by the secret, readers by theirs, and this process by a token that it made up.
type doorkeeper struct {
	own    string
	secret secrets // None: nobody but this process.
	tail   secrets // None: no readers.
}

// Check implements natsserver.Authentication.
func (d *doorkeeper) Check(client natsserver.ClientAuthentication) bool {
	shown := client.GetOpts()
	switch {
	case same(shown.Token, d.own), d.secret.takes(shown.Token, shown.Password):
		return true
	case d.tail.takes(shown.Token, shown.Password):
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

// loopback reports whether host can be reached from this machine only. A name other than localhost may be anything.
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
