package main

import (
	"net"
	"os"
	"runtime"
	"slices"

	"github.com/spf13/pflag"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/node"
)

// securityFlags are the flags of who may do what.
type securityFlags struct {
	logins              *string
	cert, key, ca       *string
	own, metrics, debug *bool
	instances           *int
	connections         *int
	perAddress          *int
}

func addSecurityFlags(fs *pflag.FlagSet) securityFlags {
	f := securityFlags{
		cert: fs.String("tls-cert", "", "`FILE` with the certificate of the HTTP server, which then speaks https; "+
			"files of TLS are reread when they change"),
		key: fs.String("tls-key", "", "`FILE` with the key of --tls-cert"),
		ca: fs.String("tls-client-ca", "", "`FILE` with the CAs whose client certificates prove a login; "+
			"without --logins every client has to show one"),
		logins: fs.String("logins", "",
			"`FILE` of who may use the HTTP server, as registryd user writes it; it is reread when it changes"),
		own: fs.Bool("own-apps-only", false,
			"let a login of role client change instances of its own applications alone"),
		metrics: fs.Bool("open-metrics", false, "show /metrics to who has no login"),
		debug: fs.Bool("debug-paths", false,
			"serve /debug/pprof and /debug/log-level also without --logins; with it they are there, for admins"),
		instances: fs.Int("max-instances-per-login", access.DefaultMaxInstances,
			"`COUNT` of instances that a login may have registered here, beyond which a new one is refused with 507"),
	}
	f.connections = fs.Int("max-connections", api.DefaultMaxConnections,
		"`COUNT` of HTTP connections that are open at a time, within what the process may open; others wait")
	f.perAddress = fs.Int("max-connections-per-address", 0,
		"`COUNT` of HTTP connections of one address, beyond which a new one is closed; behind a proxy all clients "+
			"have its address (default: a quarter of --max-connections)")
	group(fs, "HTTP", "max-connections", "max-connections-per-address", "tls-cert", "tls-key", "tls-client-ca")
	group(fs, "Logins", "logins", "own-apps-only", "max-instances-per-login", "open-metrics", "debug-paths")
	return f
}

// apply sets the options of a node.
func (f securityFlags) apply(o *settings, wrong *faults) {
	o.Security = node.Security{
		Access:  access.Options{File: *f.logins, OwnAppsOnly: *f.own, MaxInstances: *f.instances},
		TLSCert: *f.cert, TLSKey: *f.key, TLSClientCA: *f.ca,
		OpenMetrics: *f.metrics, Debug: *f.debug, LogLevel: o.level,
	}
	o.MaxConnections, o.MaxPerAddress = *f.connections, *f.perAddress
	if *f.perAddress < 0 {
		wrong.addf("--max-connections-per-address %d: below 0", *f.perAddress)
	}
	if (*f.cert == "") != (*f.key == "") {
		wrong.addf("--tls-cert and --tls-key: one without the other")
	}
	if *f.ca != "" && *f.cert == "" {
		wrong.addf("--tls-client-ca needs --tls-cert and --tls-key")
	}
	if *f.logins == "" {
		for _, needs := range []struct {
			name  string
			given bool
		}{{"own-apps-only", *f.own}, {"open-metrics", *f.metrics}} {
			if needs.given {
				wrong.addf("--%s needs --logins", needs.name)
			}
		}
		return
	}
	if _, err := access.List(*f.logins); err != nil {
		wrong.addf("--logins: %w", err)
	}
}

// warnOpen says loudly that anybody may change a node which others can reach.
func (s *settings) warnOpen(n *node.Node) {
	host, _, err := net.SplitHostPort(s.Listen)
	if s.Security.Access.File != "" || s.Security.TLSClientCA != "" || err == nil && isLoopbackHost(host) {
		return
	}
	s.Logger.Warn("OPEN TO ANYBODY: whoever reaches this port may read and change everything; "+
		"turn logins on with --logins FILE, or listen on 127.0.0.1",
		"node", n.Name(), "component", "node", "listen", s.Listen)
}

// minSecret is how long a secret should be, in bytes: one of 16 random bytes in hex is longer.
const minSecret = 16

// warnSecrets says what makes a secret of the embedded broker known to others.
func (s *settings) warnSecrets(n *node.Node) {
	for _, file := range []string{s.Embedded.SecretFile, s.Embedded.TailSecretFile} {
		if file == "" {
			continue
		}
		log := s.Logger.With("node", n.Name(), "component", "node", "file", file)
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 && runtime.GOOS != "windows" {
			log.Warn("everybody on this machine may read the secret", "mode", info.Mode().Perm())
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it was read before, and is reread
		}
		secrets, _ := broker.ParseSecrets(text) //nolint:errcheck // As above.
		if slices.ContainsFunc(secrets, func(secret string) bool { return len(secret) < minSecret }) {
			log.Warn("the secret is short enough to be guessed", "want_bytes", minSecret)
		}
	}
}

func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
