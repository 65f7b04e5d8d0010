package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/plain"
)

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
	root, err := nodeURL(*node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	body, err := ask(ctx, newAsker(), http.MethodPost, root, "repair", http.StatusAccepted, maxStatus)
	if err == nil {
		fmt.Fprintln(stdout, plain.Text(strings.TrimSpace(string(body))))
	}
	return err
}

func runDiff(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlagSet("diff", "which instances differ between nodes, and how"+
		" (exit code 0: none, 1: some, 3: none, but not all nodes could be asked)", stdout)
	node := fs.String("url", defaultURL,
		"`URLS` of nodes, separated by commas; of a single one the peers are asked too")
	wait := fs.Duration("wait", 3*time.Second,
		"time between two looks; only what differs in both is reported, not what is on its way")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *wait < 0 {
		return usagef("--wait %v: negative", *wait)
	}
	var nodes []asked
	for u := range strings.SplitSeq(*node, ",") {
		root, err := nodeURL(strings.TrimSpace(u))
		if err != nil {
			return err
		}
		nodes = append(nodes, asked{root: root})
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
				fmt.Fprintf(stderr, "node %s: unreachable (%s)\n",
					plain.Text(cmp.Or(n.name, n.url())), oneLine(n.err.Error()))
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
	// Nodes that are gone by now can't be compared again.
	c.nodes = slices.DeleteFunc(c.nodes, func(n asked) bool {
		return !slices.ContainsFunc(again, func(other asked) bool { return other.url() == n.url() })
	})
	c.differences = compareNodes(c.nodes)
	still := compareNodes(again)
	maps.DeleteFunc(c.differences, func(key, how string) bool { return still[key] != how })
	return c, ctx.Err()
}

// asked is a node that is asked for its versions, and its answer.
type asked struct {
	root     *url.URL // nil: its peer knows none
	name     string   // as its peer or itself calls it; empty: not known yet
	versions api.Versions
	err      error // why there is no answer
}

// url returns the root as text, without a password; "" for none.
func (n *asked) url() string {
	if n.root == nil {
		return ""
	}
	return n.root.Redacted()
}

// peers returns the nodes that a node knows.
func (n *asked) peers() []asked {
	var out []asked
	for _, p := range n.versions.Peers {
		peer := asked{name: p.Name}
		peer.root, _ = nodeURL(p.URL) //nolint:errcheck // Without one it is not asked, and reported.
		if peer.url() != n.url() {
			out = append(out, peer)
		}
	}
	return out
}

// look asks nodes for their versions, each once and all at the same time.
func look(ctx context.Context, nodes []asked) []asked {
	var out []asked
	for _, n := range nodes {
		if !slices.ContainsFunc(out, func(o asked) bool { return o.url() == n.url() && o.name == n.name }) {
			out = append(out, asked{root: n.root, name: n.name})
		}
	}
	client := newAsker()
	var asking sync.WaitGroup
	for i := range out {
		asking.Go(func() { out[i].ask(ctx, client) })
	}
	asking.Wait()
	return out
}

// ask fetches the versions of a node, or the reason why not.
func (n *asked) ask(ctx context.Context, client *http.Client) {
	if n.root == nil {
		n.err = errors.New("it has no http or https URL")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	body, err := ask(ctx, client, http.MethodGet, n.root, "versions", http.StatusOK, maxVersions)
	if err != nil {
		n.err = err
		return
	}
	switch err := json.Unmarshal(body, &n.versions); {
	case err != nil:
		n.err = fmt.Errorf("%s/versions: %w", n.url(), err)
	case n.versions.Node == "":
		n.err = fmt.Errorf("%s/versions: not the answer of a registryd node", n.url())
	case n.name != "" && n.versions.Node != n.name:
		n.err = fmt.Errorf("%s is node %.80q", n.url(), n.versions.Node) // an address that means another machine here
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
