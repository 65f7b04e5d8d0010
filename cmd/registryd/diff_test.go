package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/registryd/registryd/api"
)

// fakeNode answers for a node, one of its answers after the other; the last one
// stays. nil stands for 503.
func fakeNode(t *testing.T, answers ...*api.Versions) (url string) {
	t.Helper()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/versions" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		answer := answers[min(int(requests.Add(1)), len(answers))-1]
		if answer == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// holds is what a node answers that holds one instance in a version.
func holds(node string, version int64, peers ...api.PeerAddress) *api.Versions {
	return &api.Versions{Node: node, Peers: peers, Entries: []api.EntryVersion{
		{App: "ORDERS", ID: "a", Record: version, Live: true, Hash: "00000000000000ff"},
	}}
}

func TestDiffOfSomeNodes(t *testing.T) {
	const differs = "ORDERS/a\n  a                record 1 live 00000000000000ff\n  b                record 2 live 00000000000000ff\n"
	// behind is a proxy that serves a node below a path.
	behind := func(t *testing.T, node string) string {
		target, err := url.Parse(node)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httptest.NewServer(http.StripPrefix("/reg", httputil.NewSingleHostReverseProxy(target)))
		t.Cleanup(proxy.Close)
		return proxy.URL + "/reg"
	}
	peer := func(name, url string) api.PeerAddress { return api.PeerAddress{Name: name, URL: url + "/eureka/"} }
	for _, test := range []struct {
		name   string
		urls   func(t *testing.T) []string
		stdout string
		stderr []string // parts, in order
		err    error
	}{
		{
			"both times",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1)), fakeNode(t, holds("b", 2))}
			},
			differs,
			[]string{"2 nodes, 1 entries on the first, 1 differ"},
			errDiffer,
		},
		{
			"the first time only",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1), holds("a", 2)), fakeNode(t, holds("b", 2))}
			},
			"",
			[]string{"2 nodes, 1 entries on the first, 0 differ"},
			nil,
		},
		{
			"from one that has gone the second time",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1)), fakeNode(t, holds("b", 2), nil), fakeNode(t, holds("c", 1))}
			},
			"",
			[]string{"node b: unreachable (", "503", "2 nodes, 1 entries on the first, 0 differ"},
			errNotAll,
		},
		{
			"from one that stays, while another goes",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("c", 1), nil), fakeNode(t, holds("a", 1)), fakeNode(t, holds("b", 2))}
			},
			differs,
			[]string{"node c: unreachable (", "2 nodes, 1 entries on the first, 1 differ"},
			errDiffer,
		},
		{
			"a node and its peers",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1, peer("b", fakeNode(t, holds("b", 2)))))}
			},
			differs,
			[]string{"2 nodes, 1 entries on the first, 1 differ"},
			errDiffer,
		},
		{
			"behind a proxy",
			func(t *testing.T) []string {
				return []string{behind(t, fakeNode(t, holds("a", 1, peer("b", behind(t, fakeNode(t, holds("b", 2)))))))}
			},
			differs,
			[]string{"2 nodes, 1 entries on the first, 1 differ"},
			errDiffer,
		},
		{
			"a peer at another's address",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1, peer("b", fakeNode(t, holds("other", 1)))))}
			},
			"",
			[]string{"node b: unreachable (", `is node "other"`, "1 nodes, 1 entries on the first, 0 differ"},
			errNotAll,
		},
		{
			"a peer without an address",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1, api.PeerAddress{Name: "b"}, peer("c", fakeNode(t, holds("c", 1)))))}
			},
			"",
			[]string{"node b: unreachable (it has no http or https URL)", "2 nodes, 1 entries on the first, 0 differ"},
			errNotAll,
		},
		{
			"another program",
			func(t *testing.T) []string { return []string{fakeNode(t, holds("a", 1)), fakeNode(t, &api.Versions{})} },
			"",
			[]string{"node http://", ": unreachable (", "not the answer of a registryd node", "1 nodes, 1 entries on the first, 0 differ"},
			errNotAll,
		},
		{
			"no answer that can be read",
			func(t *testing.T) []string {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Write([]byte("<html>")) //nolint:errcheck // The client may have gone.
				}))
				t.Cleanup(server.Close)
				return []string{fakeNode(t, holds("a", 1)), server.URL}
			},
			"",
			[]string{"node http://", ": unreachable (", "/versions: invalid character", "1 nodes, 1 entries on the first, 0 differ"},
			errNotAll,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr strings.Builder
			urls := test.urls(t)
			err := runDiff(t.Context(), []string{"--wait", "1ms", "--url", strings.Join(urls, ",")}, &stdout, &stderr)
			if !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if got := stdout.String(); got != test.stdout {
				t.Errorf("output: got %q, want %q", got, test.stdout)
			}
			rest := stderr.String()
			for _, want := range test.stderr {
				var ok bool
				if _, rest, ok = strings.Cut(rest, want); !ok {
					t.Errorf("errors: got %q, want %q in it, in this order", stderr.String(), test.stderr)
					break
				}
			}
			if got, want := strings.Count(stderr.String(), "unreachable"), len(slices.DeleteFunc(slices.Clone(test.stderr), func(s string) bool { return !strings.Contains(s, "unreachable") })); got != want {
				t.Errorf("errors: got %q, want %d nodes unreachable", stderr.String(), want)
			}
		})
	}
}

// TestDiffIsStopped blames no node for a signal.
func TestDiffIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr strings.Builder
	err := runDiff(ctx, []string{"--url", fakeNode(t, holds("a", 1))}, &stdout, &stderr)
	if !errors.Is(err, context.Canceled) || stdout.Len()+stderr.Len() > 0 {
		t.Errorf("got %v, %q and %q, want %v and no line", err, stdout.String(), stderr.String(), context.Canceled)
	}
}
