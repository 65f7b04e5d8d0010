package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/plain"
)

// Bounds of what is read from a node.
const (
	maxVersionsBody = 1 << 30
	connectTimeout  = 3 * time.Second // a machine that is gone answers nothing
	nodeTimeout     = 30 * time.Second
)

// defaultURL is the node that is asked where none is named.
const defaultURL = "http://127.0.0.1:" + eurekaPort

// errDiffer ends diff with exit code 1, like diff(1).
var errDiffer = errors.New("the nodes differ")

// errNotAll ends diff with exit code 3: there was no answer of some node, and
// those that answered do not differ.
var errNotAll = errors.New("not all nodes could be asked")

func runRepair(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := newFlagSet("repair", "have a node compare itself with all its peers, and exchange what differs", stdout)
	node := fs.String("url", defaultURL, "`URL` of the node")
	if err := parse(fs, args); err != nil {
		return err
	}
	base, err := nodeURL(*node)
	if err != nil {
		return err
	}
	body, err := call(ctx, http.MethodPost, base+"/repair", http.StatusAccepted)
	if err == nil {
		fmt.Fprintln(stdout, plain.Text(strings.TrimSpace(string(body))))
	}
	return err
}

func runDiff(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlagSet("diff", "which instances differ between nodes, and how"+
		" (exit code 0: none, 1: some, 3: none, but not all nodes could be asked)", stdout)
	node := fs.String("url", defaultURL, "`URLS` of nodes, separated by commas; of a single one the peers are asked too")
	wait := fs.Duration("wait", 3*time.Second, "look twice, so far apart, and tell what differs both times: not what is on its way")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *wait < 0 {
		return usagef("--wait %v: negative", *wait)
	}
	var nodes []asked
	for u := range strings.SplitSeq(*node, ",") {
		base, err := nodeURL(strings.TrimSpace(u))
		if err != nil {
			return err
		}
		nodes = append(nodes, asked{url: base})
	}
	seen, err := lookTwice(ctx, nodes, *wait, stderr)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(seen.differences)) {
		fmt.Fprintf(stdout, "%s\n%s", plain.Text(key), seen.differences[key])
	}
	if len(seen.nodes) > 0 {
		fmt.Fprintf(stderr, "%d nodes, %d entries on the first, %d differ\n",
			len(seen.nodes), len(seen.nodes[0].versions.Entries), len(seen.differences))
	}
	switch {
	case len(seen.differences) > 0:
		return errDiffer
	case seen.silent > 0:
		return fmt.Errorf("%w: %d gave no answer", errNotAll, seen.silent)
	default:
		return nil
	}
}

// comparison is what was found out about some nodes.
type comparison struct {
	nodes       []asked           // that could be asked, as they were at first
	silent      int               // others, that could not
	differences map[string]string // see compareNodes
}

// lookTwice compares nodes, twice if they differ, and says on stderr which could
// not be asked. Of a single node the peers are asked too. The error is that of
// ctx.
func lookTwice(ctx context.Context, nodes []asked, wait time.Duration, stderr io.Writer) (comparison, error) {
	var c comparison
	reached := func(nodes []asked) []asked {
		var there []asked
		for _, n := range nodes {
			if n.err == nil {
				there = append(there, n)
			} else if ctx.Err() == nil { // else no node is to blame
				c.silent++
				fmt.Fprintf(stderr, "node %s: unreachable (%s)\n", cmp.Or(plain.Text(n.name), n.url), oneLine(n.err.Error()))
			}
		}
		return there
	}
	single := len(nodes) == 1
	nodes = look(ctx, nodes)
	if single && nodes[0].err == nil {
		nodes = append(nodes, look(ctx, nodes[0].peers())...)
	}
	c.nodes = reached(nodes)
	c.differences = compareNodes(c.nodes)
	if len(c.differences) == 0 || wait == 0 {
		return c, ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return c, ctx.Err()
	case <-timer.C:
	}
	again := reached(look(ctx, c.nodes))
	// What differed from a node that is gone by now can't be told any more.
	c.nodes = slices.DeleteFunc(c.nodes, func(n asked) bool {
		return !slices.ContainsFunc(again, func(other asked) bool { return other.url == n.url })
	})
	c.differences = compareNodes(c.nodes)
	still := compareNodes(again)
	maps.DeleteFunc(c.differences, func(key, how string) bool { return still[key] != how })
	return c, ctx.Err()
}

// nodeURL takes a node's URL, or its service URL, down to its root.
func nodeURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usagef("--url %.200q: not an http or https URL", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// asked is a node that is asked for its versions, and its answer.
type asked struct {
	url      string // its root; empty: it told its peer none
	name     string // as its peer or itself calls it; empty: not known yet
	versions api.Versions
	err      error // why there is no answer
}

// peers returns the nodes that a node has told of.
func (n *asked) peers() []asked {
	var out []asked
	for _, p := range n.versions.Peers {
		base, _ := nodeURL(p.URL) //nolint:errcheck // ask tells that there is none
		if base != n.url {
			out = append(out, asked{url: base, name: p.Name})
		}
	}
	return out
}

// look asks nodes for their versions, each once and all at the same time.
func look(ctx context.Context, nodes []asked) []asked {
	var out []asked
	for _, n := range nodes {
		if !slices.ContainsFunc(out, func(o asked) bool { return o.url == n.url && o.name == n.name }) {
			out = append(out, asked{url: n.url, name: n.name})
		}
	}
	var asking sync.WaitGroup
	for i := range out {
		asking.Go(func() { out[i].ask(ctx) })
	}
	asking.Wait()
	return out
}

// ask fetches the versions of a node, or the reason why not.
func (n *asked) ask(ctx context.Context) {
	if n.url == "" {
		n.err = errors.New("it has no http or https URL")
		return
	}
	body, err := call(ctx, http.MethodGet, n.url+"/versions", http.StatusOK)
	if err != nil {
		n.err = err
		return
	}
	switch err := json.Unmarshal(body, &n.versions); {
	case err != nil:
		n.err = fmt.Errorf("%s/versions: %w", n.url, err)
	case n.name != "" && n.versions.Node != n.name:
		n.err = fmt.Errorf("%s is node %.80q", n.url, n.versions.Node) // an address that means another machine here
	default:
		n.name = n.versions.Node
	}
}

// compareNodes returns, by instance, a line for each node on how it has it,
// where these are not alike.
func compareNodes(nodes []asked) map[string]string {
	type held map[string]api.EntryVersion
	all := make([]held, len(nodes))
	keys := map[string]bool{}
	for i, n := range nodes {
		all[i] = make(held, len(n.versions.Entries))
		for _, e := range n.versions.Entries {
			key := e.App + "/" + e.ID
			all[i][key] = e
			keys[key] = true
		}
	}
	out := map[string]string{}
	for key := range keys {
		alike := true
		for i := range all {
			alike = alike && all[i][key] == all[0][key]
		}
		if alike {
			continue
		}
		var lines strings.Builder
		for i, n := range nodes {
			fmt.Fprintf(&lines, "  %-16s %s\n", plain.Text(n.name), plain.Text(describe(all[i][key])))
		}
		out[key] = lines.String()
	}
	return out
}

func describe(e api.EntryVersion) string {
	if e.App == "" {
		return "not there"
	}
	record := "live"
	if !e.Live {
		record = "cancelled"
	}
	text := fmt.Sprintf("record %d %s %s", e.Record, record, e.Hash)
	if e.Override != 0 {
		override := "removed, " + string(e.OverrideStatus)
		if e.Set {
			override = string(e.OverrideStatus)
		}
		text += fmt.Sprintf("  override %d %s", e.Override, override)
	}
	return text
}

// call makes one request of a node and returns its body.
func call(ctx context.Context, method, target string, want int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{Timeout: connectTimeout}).DialContext,
		DisableKeepAlives: true,
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxVersionsBody))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	if res.StatusCode != want {
		return nil, fmt.Errorf("%s answered %s: %.200s", target, res.Status, body)
	}
	return body, nil
}
