package bridge

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/registryd/registryd/internal/serviceurl"
	"github.com/registryd/registryd/registry"
)

// Defaults and bounds of [Options].
const (
	// DefaultInterval is the time between two comparisons. A Java server's list may
	// be as old (responseCacheUpdateIntervalMs).
	DefaultInterval = 30 * time.Second
	// DefaultListTimeout bounds the request for the peer's list.
	DefaultListTimeout = 30 * time.Second
	// maxList and maxAnswer bound what is read of a list, and of an answer to a
	// batch, in bytes.
	maxList   = 512 << 20
	maxAnswer = 32 << 20
	// idleTimeout is how long a connection is kept without a request.
	idleTimeout = 90 * time.Second
	// maxName bounds a peer's name, in bytes.
	maxName = 64
)

// Options of a [Peer]. URL and Registry are required. The zero value of any other
// field means its default.
type Options struct {
	// URL is the peer's base, as Eureka's own settings give it: http or https, with a
	// user and a password if it asks for them, such as
	// http://user:password@host:8761/eureka/.
	URL      string
	Registry *registry.Registry
	// LocalOnly asks for the peer's own instances alone, where it shows other regions too:
	// these are none of this node's. A Java server logs a warning for each list that it
	// makes so, because the request names a region that it does not have.
	LocalOnly bool
	// Cluster is the name of this node's cluster. A server that says that it is a node of
	// that is no peer of this kind while it says so. Default: no server is.
	Cluster string
	// MayCompare reports whether this node knows what the other nodes know. Any
	// goroutine may call it. Default: always.
	MayCompare func() bool
	// Mirror shows a batch to whoever watches, and returns a function that shows its
	// answer: a code with a body, or with the text of a failure. Default: nobody
	// watches.
	Mirror func(peer, batch string, body []byte) func(code int, text string, answer []byte)
	// Interval is the time between two comparisons. Default DefaultInterval.
	Interval time.Duration
	// RoundTripper makes the requests. Default: one of its own, with the proxy that the
	// environment names.
	RoundTripper http.RoundTripper
	Logger       *slog.Logger // default: none
}

// withDefaults returns the options with their defaults, and the URL and its user. Its
// errors do not contain the URL, which may hold a password.
func (o Options) withDefaults() (Options, *url.URL, *url.Userinfo, error) {
	base, user, err := serviceurl.Parse(o.URL)
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	if o.Registry == nil {
		errs = append(errs, errors.New("registry: missing"))
	}
	if o.Interval < 0 {
		errs = append(errs, fmt.Errorf("interval %v: negative", o.Interval))
	}
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	if o.MayCompare == nil {
		o.MayCompare = func() bool { return true }
	}
	if o.Mirror == nil {
		o.Mirror = func(string, string, []byte) func(int, string, []byte) { return func(int, string, []byte) {} }
	}
	if o.RoundTripper == nil {
		own := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout}
		o.RoundTripper = own
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, base, user, errors.Join(errs...)
}

// Check returns what is wrong with the URLs of a node's peers, without repeating them:
// they may hold passwords.
func Check(urls []string) error {
	var errs []error
	names := make(map[string]bool)
	for i, text := range urls {
		u, _, err := serviceurl.Parse(text)
		if err == nil && names[name(u)] {
			err = fmt.Errorf("url: %s is listed twice", u.Host)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("eureka peers, number %d: %w", i+1, err))
			continue
		}
		names[name(u)] = true
	}
	return errors.Join(errs...)
}

// name makes a peer's name of its address: a token of a NATS subject.
func name(u *url.URL) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, "java-"+u.Host)
	return clean[:min(len(clean), maxName)]
}
