package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
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
	differs := "ORDERS/a: a has it (" + versionTime(1, inMilliseconds) + "), b has it (" + versionTime(2, inMilliseconds) + ")\n"
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
			[]string{"2 nodes, 1 entry on the first, 1 differ"},
			errDiffer,
		},
		{
			"the first time only",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1), holds("a", 2)), fakeNode(t, holds("b", 2))}
			},
			"",
			[]string{"2 nodes, 1 entry on the first, 0 differ"},
			nil,
		},
		{
			"from one that has gone the second time",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1)), fakeNode(t, holds("b", 2), nil), fakeNode(t, holds("c", 1))}
			},
			"",
			[]string{"node b: unreachable (", "503", "2 nodes, 1 entry on the first, 0 differ"},
			errNotAll,
		},
		{
			"from one that stays, while another goes",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("c", 1), nil), fakeNode(t, holds("a", 1)), fakeNode(t, holds("b", 2))}
			},
			differs,
			[]string{"node c: unreachable (", "2 nodes, 1 entry on the first, 1 differ"},
			errDiffer,
		},
		{
			"a node and its peers",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1, peer("b", fakeNode(t, holds("b", 2)))))}
			},
			differs,
			[]string{"2 nodes, 1 entry on the first, 1 differ"},
			errDiffer,
		},
		{
			"behind a proxy",
			func(t *testing.T) []string {
				return []string{behind(t, fakeNode(t, holds("a", 1, peer("b", behind(t, fakeNode(t, holds("b", 2)))))))}
			},
			differs,
			[]string{"2 nodes, 1 entry on the first, 1 differ"},
			errDiffer,
		},
		{
			"a peer at another's address",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1, peer("b", fakeNode(t, holds("other", 1)))))}
			},
			"",
			[]string{"node b: unreachable (", `is node "other"`, "1 node, 1 entry on the first, 0 differ"},
			errNotAll,
		},
		{
			"a peer without an address",
			func(t *testing.T) []string {
				return []string{fakeNode(t, holds("a", 1, api.PeerAddress{Name: "b"}, peer("c", fakeNode(t, holds("c", 1)))))}
			},
			"",
			[]string{"node b: unreachable (it has no http or https URL)", "2 nodes, 1 entry on the first, 0 differ"},
			errNotAll,
		},
		{
			"another program",
			func(t *testing.T) []string { return []string{fakeNode(t, holds("a", 1)), fakeNode(t, &api.Versions{})} },
			"",
			[]string{"node http://", ": unreachable (", "not the answer of a registryd node", "1 node, 1 entry on the first, 0 differ"},
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
			[]string{"node http://", ": unreachable (", "/versions: invalid character", "1 node, 1 entry on the first, 0 differ"},
			errNotAll,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr strings.Builder
			urls := test.urls(t)
			code := run(t.Context(), []string{"diff", "--wait", "1ms", "--url", strings.Join(urls, ",")}, &stdout, &stderr)
			want := map[error]int{nil: 0, errDiffer: 1, errNotAll: 3}[test.err]
			if code != want || test.err != nil && !strings.Contains(stderr.String(), test.err.Error()) {
				t.Errorf("got code %d and %q, want %d and %v", code, stderr.String(), want, test.err)
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
	code := run(ctx, []string{"diff", "--url", fakeNode(t, holds("a", 1))}, &stdout, &stderr)
	if code != 1 || stdout.Len() > 0 || stderr.String() != "registryd: stopped before it was done\n" {
		t.Errorf("got code %d, %q and %q, want 1 and that it was stopped", code, stdout.String(), stderr.String())
	}
}

// TestDifferenceText says how nodes have an instance, as exactly as it takes.
func TestDifferenceText(t *testing.T) {
	t.Parallel()
	const day, hash = 24 * 60 * 60 * 1000, "00000000000000ff"
	at := func(ms int64) string { return time.UnixMilli(ms).Format(time.DateTime) }
	exactly := func(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05.000") }
	up := api.EntryVersion{App: "FOO", ID: "h1", Record: day, Live: true, Hash: hash, Status: eureka.StatusUp}
	with := func(change func(*api.EntryVersion)) api.EntryVersion {
		e := up
		change(&e)
		return e
	}
	for _, test := range []struct {
		name    string
		entries []api.EntryVersion
		want    string
	}{
		{"one lacks it", []api.EntryVersion{up, {}}, "FOO/h1: n0 has it (" + at(day) + ", UP), n1 lacks it\n"},
		{
			"an older one",
			[]api.EntryVersion{up, with(func(e *api.EntryVersion) { e.Record += 2000 })},
			"FOO/h1: n0 has it (" + at(day) + ", UP), n1 has it (" + at(day+2000) + ", UP)\n",
		},
		{
			"within a second",
			[]api.EntryVersion{up, with(func(e *api.EntryVersion) { e.Record += 2 }), {}},
			"FOO/h1: n0 has it (" + exactly(day) + ", UP), n1 has it (" + exactly(day+2) + ", UP), n2 lacks it\n",
		},
		{
			"cancelled",
			[]api.EntryVersion{up, with(func(e *api.EntryVersion) { e.Live, e.Status = false, "" })},
			"FOO/h1: n0 has it (" + at(day) + ", UP), n1 has it as cancelled (" + at(day) + ")\n",
		},
		{
			"another override",
			[]api.EntryVersion{
				with(func(e *api.EntryVersion) { e.Override, e.Set, e.OverrideStatus = day, true, eureka.StatusOutOfService }),
				with(func(e *api.EntryVersion) { e.Override, e.OverrideStatus = day+1, eureka.StatusUnknown }),
				up,
			},
			"FOO/h1: n0 has it (" + at(day) + ", UP, override OUT_OF_SERVICE), n1 has it (" + at(day) + ", UP, override removed), n2 has it (" + at(day) + ", UP)\n",
		},
		{
			"the same version with another content",
			[]api.EntryVersion{up, with(func(e *api.EntryVersion) { e.Hash = "00000000000000fe" })},
			"FOO/h1: n0 has it (" + exactly(day) + ", UP, content " + hash + "), n1 has it (" + exactly(day) + ", UP, content 00000000000000fe)\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var nodes []asked
			for n := range test.entries {
				nodes = append(nodes, asked{name: fmt.Sprint("n", n)})
			}
			if got := differenceText("FOO/h1", nodes, test.entries, false); got != test.want {
				t.Errorf("got  %swant %s", got, test.want)
			}
		})
	}
}

// TestDiffVerbose shows versions and hashes.
func TestDiffVerbose(t *testing.T) {
	t.Parallel()
	urls := fakeNode(t, holds("a", 1)) + "," + fakeNode(t, holds("b", 2))
	const want = "ORDERS/a\n  a                record 1 live 00000000000000ff\n  b                record 2 live 00000000000000ff\n"
	var stdout, stderr strings.Builder
	run(t.Context(), []string{"diff", "-v", "--wait", "1ms", "--url", urls}, &stdout, &stderr)
	if got := stdout.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDiffJSON(t *testing.T) {
	t.Parallel()
	empty := &api.Versions{Node: "b", State: "ready"}
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"diff", "--json", fakeNode(t, holds("a", 1)), fakeNode(t, empty), "127.0.0.1:1", "--wait", "0s"}, &stdout, &stderr)
	var got struct {
		Nodes []struct {
			Name    string
			Entries int
			Error   string
		}
		Differences []struct {
			App, ID string
			Nodes   map[string]*struct{ RV int64 }
		}
	}
	if err := json.Unmarshal([]byte(stdout.String()), &got); err != nil || code != 1 {
		t.Fatalf("code %d, %v: %s", code, err, stdout.String())
	}
	if len(got.Nodes) != 3 || got.Nodes[0].Entries != 1 || got.Nodes[1].Entries != 0 || !strings.Contains(got.Nodes[2].Error, "refused") {
		t.Errorf("nodes: %+v", got.Nodes)
	}
	if d := got.Differences; len(d) != 1 || d[0].App != "ORDERS" || d[0].ID != "a" || d[0].Nodes["a"].RV != 1 || d[0].Nodes["b"] != nil {
		t.Errorf("differences: %+v", got.Differences)
	}
}
