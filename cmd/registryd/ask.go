package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of what is asked of a node.
const (
	maxStatus      = 4 << 20  // bytes
	maxVersions    = 64 << 20 // bytes
	connectTimeout = 3 * time.Second
	statusTimeout  = 5 * time.Second
	nodeTimeout    = 30 * time.Second // for all versions of a large registry
)

// defaultURL is the node that is asked by default.
const defaultURL = "http://127.0.0.1:" + eurekaPort

// nodeURL takes a node's URL, or its service URL, down to its root: the path
// ahead of /eureka is a proxy's, and stays.
func nodeURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--url %.200q: not an http or https URL", text)
	}
	path := strings.TrimSuffix(u.Path, "/")
	path = strings.TrimSuffix(path, "/v2")
	path = strings.TrimSuffix(path, "/eureka")
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host, Path: strings.TrimSuffix(path, "/")}, nil
}

// newAsker returns a client for one command. A machine that is gone answers
// nothing, so the time to connect is short.
func newAsker() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{Timeout: connectTimeout}).DialContext,
		DisableKeepAlives: true,
	}}
}

// ask makes one request of a node, below its root, and returns the body of the
// answer, which must have the code wanted and at most bound bytes.
func ask(
	ctx context.Context, client *http.Client, method string, root *url.URL, path string, want, bound int,
) ([]byte, error) {
	target := root.JoinPath(path)
	req, err := http.NewRequestWithContext(ctx, method, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // It was read.
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(bound)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", target.Redacted(), err)
	case res.StatusCode != want:
		return nil, fmt.Errorf("%s answers %s, want %d: %.200s", target.Redacted(), res.Status, want, body)
	case len(body) > bound:
		return nil, fmt.Errorf("%s answers more than %d bytes", target.Redacted(), bound)
	}
	return body, nil
}
