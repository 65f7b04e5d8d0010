package broker

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

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
	creds *reread.Files[proof]
	nkey  *reread.Files[proof]
	login *reread.Files[proof]
}

// files are those of a login of any kind; some are nil.
func (c *credentials) files() []*reread.Files[proof] {
	return []*reread.Files[proof]{c.creds, c.nkey, c.login}
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

// proof is how a node shows who it is, made of a file.
type proof struct {
	option     nats.Option
	begin, end time.Time // of credentials that have a begin or an end
}

var _ reread.Timed[proof] = (*proof)(nil)

// Behind implements [reread.Timed]: credentials that a server refuses now are not taken in the place of others.
func (p *proof) Behind(old *proof, now time.Time) error {
	if old.holds(now) && !p.holds(now) {
		return errors.New("these credentials have ended or have not begun, and those before are valid")
	}
	return nil
}

func (p *proof) holds(now time.Time) bool {
	return !now.Before(p.begin) && (p.end.IsZero() || now.Before(p.end))
}

// lifeOf returns when a JWT begins and ends, zero where it does not say. The server checks it.
func lifeOf(jwt string) (begin, end time.Time) {
	var claims struct {
		Begin int64 `json:"nbf"`
		End   int64 `json:"exp"`
	}
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return begin, end
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &claims) != nil {
		return begin, end
	}
	if claims.Begin > 0 {
		begin = time.Unix(claims.Begin, 0)
	}
	if claims.End > 0 {
		end = time.Unix(claims.End, 0)
	}
	return begin, end
}

// parseCreds reads a credentials file: a JWT and an NKey seed.
func parseCreds(contents [][]byte) (*proof, error) {
	jwt, err := nkeys.ParseDecoratedJWT(contents[0])
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.ParseDecoratedNKey(contents[0])
	if err != nil {
		return nil, err
	}
	p := &proof{option: nats.UserJWT(func() (string, error) { return jwt, nil }, pair.Sign)}
	p.begin, p.end = lifeOf(jwt)
	return p, nil
}

// parseSeed reads a file with the NKey seed of a user.
func parseSeed(contents [][]byte) (*proof, error) {
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
	return &proof{option: option}, nil
}

// parseLogin reads a file with USER:PASSWORD or a token.
func parseLogin(contents [][]byte) (*proof, error) {
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
	return &proof{option: option}, nil
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
			out = append(out, f.Current().option)
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
