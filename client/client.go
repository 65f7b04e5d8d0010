package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults of [Options].
const (
	DefaultConnectTimeout = 5 * time.Second
	DefaultTimeout        = 8 * time.Second
	DefaultMaxBody        = 64 << 20
)

// tries is how many servers one call tries at most, as Netflix's
// RetryableEurekaHttpClient does. Each is tried once.
const tries = 3

// drainBytes is how much of an answer that nobody wants is read, so that its
// connection can be used again. A longer one costs the connection.
const drainBytes = 64 << 10

// idleConns is how many idle connections to one server the client's own
// transport keeps: one process may hold many leases.
const idleConns = 32

// Options are the choices of a [Client]. A zero field means its default.
type Options struct {
	// URLs are the service URLs of the servers, as http://host:8761/eureka/,
	// in the order in which they are tried. A user and a password in a URL are
	// sent as basic authentication. Required.
	URLs []string
	// HTTPClient makes the requests. Default: one of its own, which follows no
	// redirect and honours ConnectTimeout.
	HTTPClient *http.Client
	// TLS is for https: CAs other than the system's, a certificate to show. Without effect
	// if HTTPClient is given.
	TLS *tls.Config
	// ConnectTimeout bounds connecting, without effect if HTTPClient is given.
	// Default 5 s, as eureka.client.eurekaServerConnectTimeoutSeconds.
	ConnectTimeout time.Duration
	// Timeout bounds one try, from connecting to the last byte of the answer.
	// Default 8 s, as eureka.client.eurekaServerReadTimeoutSeconds.
	Timeout time.Duration
	// MaxBody bounds an answer, in bytes after decompression. Default 64 MiB.
	MaxBody int64
}

// Client calls Eureka servers. All methods may be called from any goroutine.
//
// A call goes to the server that answered last, at first to the first of
// Options.URLs. When that can't be reached, doesn't answer in time or answers
// with 5xx, the next in order is tried, each once and three at most, and the
// one that answers is asked first from then on. Any other answer is final.
type Client struct {
	servers []*url.URL
	http    *http.Client
	own     bool // http is ours
	timeout time.Duration
	maxBody int64

	current atomic.Int64 // index of the server that answered last
}

// withDefaults returns the options in full, and the service URLs parsed, or all that
// is wrong with them.
func (o Options) withDefaults() (Options, []*url.URL, error) {
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, DefaultConnectTimeout)
	o.MaxBody = cmp.Or(o.MaxBody, DefaultMaxBody)
	var errs []error
	if len(o.URLs) == 0 {
		errs = append(errs, errors.New("client: URLs is empty, want a service URL as http://host:8761/eureka/"))
	}
	servers := make([]*url.URL, len(o.URLs))
	for i, text := range o.URLs {
		var err error
		if servers[i], err = serviceURL(text); err != nil {
			errs = append(errs, fmt.Errorf("client: URLs[%d]: %w", i, err))
		}
	}
	if o.MaxBody < 0 {
		errs = append(errs, fmt.Errorf("client: MaxBody is %d, want more than 0", o.MaxBody))
	}
	errs = append(errs, positive("Timeout", o.Timeout), positive("ConnectTimeout", o.ConnectTimeout))
	return o, servers, errors.Join(errs...)
}

func positive(name string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("client: %s is %v, want more than 0", name, d)
	}
	return nil
}

// New returns a Client. It makes no request. An error names each option that
// is missing or out of bounds.
func New(opts Options) (*Client, error) {
	opts, servers, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{servers: servers, http: opts.HTTPClient, timeout: opts.Timeout, maxBody: opts.MaxBody}
	if c.http == nil {
		c.own = true
		c.http = newHTTPClient(opts.ConnectTimeout, opts.TLS)
	}
	return c, nil
}

func newHTTPClient(connect time.Duration, secure *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: connect}).DialContext,
			TLSHandshakeTimeout: connect,
			TLSClientConfig:     secure,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: idleConns,
			IdleConnTimeout:     30 * time.Second,
		},
		// An answer to a write must not become a GET elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// serviceURL parses a service URL and takes the slash from its end. Its error
// never shows a password.
func serviceURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The text of url.Error holds the whole input.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q has scheme %q, want http or https", u.Redacted(), u.Scheme)
	case u.Host == "":
		return nil, fmt.Errorf("%q has no host", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q has a query or a fragment", u.Redacted())
	}
	base := *u
	base.RawPath = strings.TrimRight(u.EscapedPath(), "/")
	base.Path = strings.TrimRight(u.Path, "/")
	return &base, nil
}

// Close closes the idle connections, unless Options.HTTPClient was given. The
// Client can still be used.
func (c *Client) Close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}

// call is one request as it is sent to whichever server answers.
type call struct {
	method string
	path   []string // segments behind the service URL, not escaped
	slash  bool     // the path ends with one
	query  url.Values
	body   []byte // JSON, nil: none
	want   int    // the status code of success
	read   bool   // the body of the answer is wanted
}

// do makes the call and returns the body of the answer, if it is wanted.
func (c *Client) do(ctx context.Context, what string, r call) ([]byte, error) {
	var errs []error
	start := int(c.current.Load())
	for try := range min(tries, len(c.servers)) {
		index := (start + try) % len(c.servers)
		body, err := c.try(ctx, c.servers[index], r)
		if err == nil {
			c.current.Store(int64(index))
			return body, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", what, ctx.Err())
		}
		refusal, answered := errors.AsType[*StatusError](err)
		if answered && !refusal.retryable() {
			c.current.Store(int64(index))
		}
		if answered && !refusal.retryable() || errors.Is(err, ErrTooLarge) {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%s: %w", what, errors.Join(errs...))
}

// try makes the call at one server.
func (c *Client) try(ctx context.Context, server *url.URL, r call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	u := r.url(server)
	var content io.Reader
	if r.body != nil {
		content = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// Every call may be repeated, so the transport may send it again when an
	// idle connection turns out to be closed. An empty value is not sent.
	req.Header["Idempotency-Key"] = []string{}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, res.Body, drainBytes) //nolint:errcheck // the answer has been judged
		_ = res.Body.Close()                              //nolint:errcheck // as above
	}()
	if res.StatusCode != r.want {
		piece, _ := io.ReadAll(io.LimitReader(res.Body, bodyPiece)) //nolint:errcheck // what could be read is enough
		return nil, &StatusError{
			Method: r.method, Path: u.EscapedPath(), Code: res.StatusCode,
			Body: strings.ToValidUTF8(string(piece), "\uFFFD"),
		}
	}
	if !r.read {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, c.maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read answer: %w", r.method, u.Redacted(), err)
	}
	if int64(len(body)) > c.maxBody {
		return nil, fmt.Errorf("%s %s: %w (%d bytes)", r.method, u.EscapedPath(), ErrTooLarge, c.maxBody)
	}
	return body, nil
}

// url returns where the call goes at a server.
func (r call) url(server *url.URL) *url.URL {
	u := *server
	for _, segment := range r.path {
		u.Path += "/" + segment
		u.RawPath += "/" + escapeSegment(segment)
	}
	if r.slash {
		u.Path += "/"
		u.RawPath += "/"
	}
	u.RawQuery = r.query.Encode()
	return &u
}

// escapeSegment percent-encodes a path segment. Dots are encoded where servers
// and proxies would take them for a step up the path.
func escapeSegment(s string) string {
	switch s {
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	default:
		return url.PathEscape(s)
	}
}
