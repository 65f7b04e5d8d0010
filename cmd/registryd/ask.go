package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/api"
)

// Bounds of what is asked of a node.
const (
	maxStatus      = 4 << 20   // bytes
	maxVersions    = 64 << 20  // bytes
	maxList        = 256 << 20 // bytes
	connectTimeout = 3 * time.Second
	statusTimeout  = 5 * time.Second
	nodeTimeout    = 30 * time.Second // for all versions of a large registry
)

// defaultNode is the node that is asked by default.
const defaultNode = "127.0.0.1:" + eurekaPort

// nodeFlags say which nodes a command asks.
type nodeFlags struct {
	urls, listen *string
	trust        trustFlags
}

// addNodes adds the flag that names nodes. What becomes of several is what the command says.
func addNodes(c *cobra.Command, several string) nodeFlags {
	fs := c.Flags()
	n := nodeFlags{
		urls: fs.String("url", "", "`NODES`, each a host, HOST:PORT or URL, separated by commas: "+several+
			" (default: the port of --listen in the environment or the --config file, else "+defaultNode+")"),
		listen: fs.String("listen", "", "`HOST:PORT` of the node on this machine"),
		trust:  addTrustFlags(fs),
	}
	if err := fs.MarkHidden("listen"); err != nil {
		panic(err) // a fault of this program: there is no such flag
	}
	return n
}

// firstAnswers is what several nodes mean to most commands.
const firstAnswers = "the first that answers"

// roots returns the roots of the nodes: of those among the arguments, if there are any. There is
// at least one.
func (n nodeFlags) roots(args []string) ([]*url.URL, error) {
	texts, name := args, "NODE"
	if len(texts) == 0 {
		texts, name = list(*n.urls), "--url"
	}
	if len(texts) == 0 {
		if *n.urls != "" {
			return nil, usagef("--url %q: no node", *n.urls)
		}
		texts = []string{listened(*n.listen)}
	}
	var roots []*url.URL
	for i, text := range texts {
		root, err := nodeURL(text)
		switch {
		case err != nil && strings.Contains(strings.Join(texts, ""), "@"):
			// The text may hold a password, also a part of one that has a comma in it.
			return nil, usagef("%s: node %d: %w; write , as %%2C, # as %%23, ? as %%3F, / as %%2F, @ as %%40 "+
				"and %% as %%25 in a password", name, i+1, err)
		case err != nil:
			return nil, usagef("%s %.200q: %w", name, text, err)
		}
		if n.trust.secure() && !strings.Contains(text, "://") {
			root.Scheme = "https"
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// listened returns where a node of this machine answers that listens at an address.
func listened(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return defaultNode
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// nodeURL takes what people write for a node down to the URL of its root. It may be a host, with
// or without a port, or the node's URL, or its service URL: a path ahead of /eureka is a proxy's,
// and stays. Without a scheme it is http, and the port is Eureka's unless it is given.
func nodeURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	bare := !strings.Contains(text, "://")
	if bare {
		host, path, _ := strings.Cut(text, "/")
		if ip := net.ParseIP(host); ip != nil && strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		text = "http://" + host + "/" + path
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" ||
		strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") { // it was cut short by a / in a password
		return nil, errors.New("not a host, HOST:PORT or http or https URL") // the text may hold a password
	}
	if _, has := u.User.Password(); u.User != nil && !has {
		return nil, errors.New("a login is NAME:PASSWORD@, also with a token")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("the port is not in 1..65535")
		}
	}
	host := u.Host
	if bare && u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), eurekaPort)
	}
	path := strings.TrimSuffix(u.Path, "/")
	path = strings.TrimSuffix(path, "/v2")
	path = strings.TrimSuffix(path, "/eureka")
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: host, Path: strings.TrimSuffix(path, "/")}, nil
}

// asker makes the requests of one command. Files that prove who asks, and those that say whom to
// trust, are read again when a node or its certificate is refused: a command may run for long.
type asker struct {
	trust trustFiles

	mu   sync.Mutex
	with *means // guarded by mu
}

// means are what requests are made with.
type means struct {
	http  *http.Client
	login string // for the header Authorization; "": none
}

// newAsker returns an asker. A machine that is gone answers nothing, so the time to connect is
// short.
func newAsker() *asker { return &asker{with: newMeans(nil, "")} }

func newMeans(config *tls.Config, login string) *means {
	return &means{login: login, http: &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		MaxIdleConnsPerHost: importers,
		TLSClientConfig:     config,
	}}}
}

func (a *asker) current() *means {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.with
}

// reread reads the files again, and reports whether there are other means than these now.
func (a *asker) reread(used *means) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.with != used {
		return true // another request has read them
	}
	if !a.trust.look() {
		return false
	}
	a.with = a.trust.means()
	used.http.CloseIdleConnections()
	return true
}

func (a *asker) close() { a.current().http.CloseIdleConnections() }

// request is one request of a node.
type request struct {
	method string // "": GET
	path   []string
	query  url.Values
	body   []byte // JSON; nil: none
	want   int    // 0: 200
	bound  int    // of the answer, in bytes
}

// answerError is an answer with another code than the one wanted.
type answerError struct {
	url    string
	status string
	code   int
	want   int
	body   string // the beginning
}

func (e *answerError) Error() string {
	text := fmt.Sprintf("%s answers %s, want %d", e.url, e.status, e.want)
	if e.body != "" {
		text += ": " + e.body
	}
	return text
}

// isCode reports whether an error is an answer with this code.
func isCode(err error, code int) bool {
	answer, ok := errors.AsType[*answerError](err)
	return ok && answer.code == code
}

// ask makes one request of a node, below its root, and returns the body of the answer, which
// must have the code wanted and be within the bound. Where it is refused for what files held that
// hold something else now, it is made again.
func (a *asker) ask(ctx context.Context, root *url.URL, r request) ([]byte, error) {
	used := a.current()
	body, err := used.ask(ctx, root, r)
	_, answered := errors.AsType[*answerError](err)
	refused := isCode(err, http.StatusUnauthorized) || isCode(err, http.StatusForbidden)
	if err != nil && ctx.Err() == nil && (refused || !answered) && a.reread(used) {
		body, err = a.current().ask(ctx, root, r)
	}
	return body, err
}

func (m *means) ask(ctx context.Context, root *url.URL, r request) ([]byte, error) {
	target := *root
	target.RawPath = target.EscapedPath()
	for _, segment := range r.path {
		target.Path += "/" + segment
		target.RawPath += "/" + escapeSegment(segment)
	}
	target.RawQuery = r.query.Encode()
	method, want := r.method, r.want
	if method == "" {
		method = http.MethodGet
	}
	if want == 0 {
		want = http.StatusOK
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", api.ToolAgent+version())
	if m.login != "" && root.User == nil {
		req.Header.Set("Authorization", m.login)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := m.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // It was read.
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(r.bound)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", target.Redacted(), err)
	case res.StatusCode != want:
		return nil, &answerError{target.Redacted(), res.Status, res.StatusCode, want, fmt.Sprintf("%.200s", body)}
	case len(body) > r.bound:
		return nil, fmt.Errorf("%s answers more than %d bytes", target.Redacted(), r.bound)
	}
	return body, nil
}

// first asks the nodes in turn, until one answers. An answer that refuses the request counts,
// unless the node says that it can't answer now.
func (a *asker) first(ctx context.Context, roots []*url.URL, r request) (*url.URL, []byte, error) {
	var errs []error
	for _, root := range roots {
		body, err := a.ask(ctx, root, r)
		answer, refused := errors.AsType[*answerError](err)
		if err == nil || ctx.Err() != nil || refused && answer.code < http.StatusInternalServerError {
			return root, body, err
		}
		errs = append(errs, err)
	}
	return nil, nil, errors.Join(errs...)
}

// decode reads a node's answer into v. check reports whether it is one.
func decode[T any](root *url.URL, body []byte, what string, check func(*T) bool) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(body, v); err != nil || !check(v) {
		return nil, fmt.Errorf("%s: not %s of a registryd node", root.Redacted(), what)
	}
	return v, nil
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
