package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/certs"
	"github.com/registryd/registryd/internal/reread"
)

// credentials are what the files of an Access held when they could last be used. One goroutine calls look and options.
type credentials struct {
	own   string // What this process's own server asks for.
	tls   *certs.Store
	creds *reread.Files[nats.Option]
	nkey  *reread.Files[nats.Option]
	login *reread.Files[nats.Option]
}

// files are those of a login of any kind; some are nil.
func (c *credentials) files() []*reread.Files[nats.Option] {
	return []*reread.Files[nats.Option]{c.creds, c.nkey, c.login}
}

// open reads the files.
func (a Access) open(log *slog.Logger) (*credentials, error) {
	c := &credentials{}
	if a.Server != nil {
		c.own = a.Server.token
		return c, nil
	}
	var err error
	if a.CredsFile != "" {
		if c.creds, err = reread.Open("nats_creds", []string{a.CredsFile}, log, parseCreds); err != nil {
			return nil, fmt.Errorf("%w: credentials file: %q: %w", ErrOptions, a.CredsFile, err)
		}
	}
	if a.NKeyFile != "" {
		if c.nkey, err = reread.Open("nats_nkey", []string{a.NKeyFile}, log, parseSeed); err != nil {
			return nil, fmt.Errorf("%w: nkey file %q: %w", ErrOptions, a.NKeyFile, err)
		}
	}
	if a.LoginFile != "" {
		if c.login, err = reread.Open("nats_login", []string{a.LoginFile}, log, parseLogin); err != nil {
			return nil, fmt.Errorf("%w: login file %q: %w", ErrOptions, a.LoginFile, err)
		}
	}
	if a.TLS.set() {
		files := certs.Files{CA: a.TLS.CA, Cert: a.TLS.Cert, Key: a.TLS.Key}
		if c.tls, err = certs.Open("nats", files, tls.NoClientCert, log); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	return c, nil
}

// parseCreds reads a credentials file: a JWT and an NKey seed.
func parseCreds(contents [][]byte) (*nats.Option, error) {
	jwt, err := nkeys.ParseDecoratedJWT(contents[0])
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.ParseDecoratedNKey(contents[0])
	if err != nil {
		return nil, err
	}
	option := nats.UserJWT(func() (string, error) { return jwt, nil }, pair.Sign)
	return &option, nil
}

// parseSeed reads a file with the NKey seed of a user.
func parseSeed(contents [][]byte) (*nats.Option, error) {
	pair, err := nkeys.ParseDecoratedNKey(contents[0])
	if err != nil {
		return nil, err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	if !nkeys.IsValidPublicUserKey(public) {
		return nil, fmt.Errorf("the seed is no user's")
	}
	option := nats.Nkey(public, pair.Sign)
	return &option, nil
}

// parseLogin reads a file with USER:PASSWORD or a token.
func parseLogin(contents [][]byte) (*nats.Option, error) {
	all, err := ParseSecrets(contents[0])
	if err != nil {
		return nil, err
	}
	if len(all) > 1 {
		return nil, errors.New("has more than one line")
	}
	option := nats.Token(all[0])
	if user, password, ok := strings.Cut(all[0], ":"); ok {
		option = nats.UserInfo(user, password)
	}
	return &option, nil
}

// look takes files that have changed. What can't be used changes nothing.
func (c *credentials) look() {
	if c.tls != nil {
		c.tls.Look()
	}
	for _, f := range c.files() {
		if f != nil {
			f.Look()
		}
	}
}

// options are those of a connection that begins now. tlsName is whom the server's certificate has to be for, if that is
// not the host of its URL.
func (c *credentials) options(tlsName string) []nats.Option {
	if c.own != "" {
		return []nats.Option{nats.Token(c.own)}
	}
	var out []nats.Option
	for _, f := range c.files() {
		if f != nil {
			out = append(out, *f.Current())
		}
	}
	var config *tls.Config
	if c.tls != nil {
		config = c.tls.Current().Client()
	}
	if tlsName != "" {
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		config.ServerName = tlsName
	}
	if config != nil {
		out = append(out, nats.Secure(config))
	}
	return out
}

// collectors are the metrics of the files.
func (c *credentials) collectors() []prometheus.Collector {
	var out []prometheus.Collector
	if c.tls != nil {
		out = append(out, c.tls)
	}
	for _, f := range c.files() {
		if f != nil {
			out = append(out, f)
		}
	}
	return out
}
