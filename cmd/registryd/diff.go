package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/plain"
)

// errDiffer ends diff with exit code 1, like diff(1).
var errDiffer = errors.New("the nodes differ")

func (p *program) repairCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "repair [NODE]", Short: "have a node compare itself with its peers now, and exchange what differs",
		Long: "Nodes do so by themselves every few seconds, and at once when they meet. This is for the impatient.",
		Args: atMost(1), Example: "  registryd repair node-1:8761",
	}
	nodes, asJSON := addNodes(c, firstAnswers), addJSON(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		roots, err := nodes.roots(args)
		if err != nil {
			return err
		}
		return p.repair(c.Context(), nodes, roots, *asJSON)
	}
	return c
}

func (p *program) repair(ctx context.Context, nodes nodeFlags, roots []*url.URL, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	a, err := nodes.asker()
	if err != nil {
		return err
	}
	defer a.close()
	root, body, err := a.first(ctx, roots,
		request{method: http.MethodPost, path: []string{"repair"}, want: http.StatusAccepted, bound: maxStatus})
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(body))
	if _, o, err := a.status(ctx, []*url.URL{root}); err == nil {
		switch n := len(o.Peers); n {
		case 0:
			text = o.Node + " has no peers to compare itself with"
		case 1:
			text = o.Node + " compares itself with its peer"
		default:
			text = fmt.Sprintf("%s compares itself with its %d peers", o.Node, n)
		}
	}
	if asJSON {
		return p.json(map[string]string{"url": root.Redacted(), "result": text})
	}
	fmt.Fprintln(p.out, plain.Text(text))
	return nil
}

func (p *program) diffCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "diff [NODE…]", Short: "which instances differ between nodes, and how",
		Long: `Of a single node the peers are asked too. Only what differs in two looks is shown, not what is on its
way. Exit code 0: none differ, 1: some do, 3: none do, but not all nodes could be asked.`,
		Args: cobra.ArbitraryArgs,
		Example: `  registryd diff
  registryd diff node-1 node-2:8761 --verbose`,
	}
	fs := c.Flags()
	nodes := addNodes(c, "all are compared, of a single one the peers too")
	wait := fs.Duration("wait", 3*time.Second,
		"time between two looks; only what differs in both is reported, not what is on its way")
	verbose := fs.BoolP("verbose", "v", false, "show versions and hashes, a line for each node")
	asJSON := addJSON(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if *wait < 0 {
			return usagef("--wait %v: negative", *wait)
		}
		roots, err := nodes.roots(args)
		if err != nil {
			return err
		}
		return p.diff(c.Context(), nodes, roots, *wait, *verbose, *asJSON)
	}
	return c
}

func (p *program) diff(
	ctx context.Context, nodes nodeFlags, roots []*url.URL, wait time.Duration, verbose, asJSON bool,
) error {
	first := make([]asked, len(roots))
	for i, root := range roots {
		first[i] = asked{root: root}
	}
	a, err := nodes.asker()
	if err != nil {
		return err
	}
	defer a.close()
	done := p.working("asking nodes what they have")
	seen, err := a.lookTwice(ctx, first, wait)
	done()
	for _, n := range seen.silent {
		fmt.Fprintf(p.err, "node %s: unreachable (%s)\n", plain.Text(cmp.Or(n.name, n.url())), oneLine(n.err.Error()))
	}
	if err != nil {
		return err
	}
	for _, n := range seen.nodes {
		if state := n.versions.State; state != "" && state != "ready" {
			fmt.Fprintf(p.err, "node %s: %s\n", plain.Text(n.name), plain.Text(state))
		}
	}
	if asJSON {
		err = p.json(seen.report())
	} else {
		for _, key := range slices.Sorted(maps.Keys(seen.differences)) {
			fmt.Fprint(p.out, differenceText(key, seen.nodes, seen.differences[key], verbose))
		}
	}
	if len(seen.nodes) > 0 {
		fmt.Fprintf(p.err, "%s, %s on the first, %d differ\n", count(len(seen.nodes), "node", "nodes"),
			count(len(seen.nodes[0].versions.Entries), "entry", "entries"), len(seen.differences))
	}
	switch {
	case err != nil:
		return err
	case len(seen.differences) > 0:
		return errDiffer
	case len(seen.silent) > 0:
		return fmt.Errorf("%w: %d gave no answer", errNotAll, len(seen.silent))
	default:
		return nil
	}
}

// comparison is what was found out about some nodes.
type comparison struct {
	nodes       []asked                       // that could be asked, as they were at first
	silent      []asked                       // others, that could not
	differences map[string][]api.EntryVersion // by instance, one for each of nodes
}

// lookTwice compares nodes, twice if they differ. Of a single node the peers are asked too. The
// error is that of ctx.
func (a *asker) lookTwice(ctx context.Context, nodes []asked, wait time.Duration) (comparison, error) {
	var c comparison
	reached := func(nodes []asked) []asked {
		var there []asked
		for _, n := range nodes {
			if n.err == nil {
				there = append(there, n)
			} else if ctx.Err() == nil { // else no node is to blame
				c.silent = append(c.silent, n)
			}
		}
		return there
	}
	single := len(nodes) == 1
	nodes = a.look(ctx, nodes)
	if single && nodes[0].err == nil {
		nodes = append(nodes, a.look(ctx, nodes[0].peers())...)
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
	again := reached(a.look(ctx, c.nodes))
	// Nodes that are gone by now can't be compared again.
	c.nodes = slices.DeleteFunc(c.nodes, func(n asked) bool {
		return !slices.ContainsFunc(again, func(other asked) bool { return other.url() == n.url() })
	})
	c.differences = compareNodes(c.nodes)
	still := compareNodes(again)
	maps.DeleteFunc(c.differences, func(key string, how []api.EntryVersion) bool {
		return !slices.EqualFunc(still[key], how, sameEntry)
	})
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
		if p.URL != "" {
			peer.root, _ = nodeURL(p.URL) //nolint:errcheck // Without one it is not asked, and reported.
		}
		if peer.url() != n.url() {
			out = append(out, peer)
		}
	}
	return out
}

// look asks nodes for their versions, each once and all at the same time.
func (a *asker) look(ctx context.Context, nodes []asked) []asked {
	var out []asked
	for _, n := range nodes {
		if !slices.ContainsFunc(out, func(o asked) bool { return o.url() == n.url() && o.name == n.name }) {
			out = append(out, asked{root: n.root, name: n.name})
		}
	}
	var asking sync.WaitGroup
	for i := range out {
		asking.Go(func() { out[i].ask(ctx, a) })
	}
	asking.Wait()
	return out
}

// ask fetches the versions of a node, or the reason why not.
func (n *asked) ask(ctx context.Context, a *asker) {
	if n.root == nil {
		n.err = errors.New("it has no http or https URL")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	body, err := a.ask(ctx, n.root, request{path: []string{"versions"}, bound: maxVersions})
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

// compareNodes returns, by instance, how each node has it, where these are not alike.
func compareNodes(nodes []asked) map[string][]api.EntryVersion {
	all := map[string][]api.EntryVersion{}
	for i, n := range nodes {
		for _, e := range n.versions.Entries {
			key := instanceText(e.App, e.ID)
			if all[key] == nil {
				all[key] = make([]api.EntryVersion, len(nodes))
			}
			all[key][i] = e
		}
	}
	maps.DeleteFunc(all, func(_ string, entries []api.EntryVersion) bool {
		return !slices.ContainsFunc(entries, func(e api.EntryVersion) bool { return !sameEntry(e, entries[0]) })
	})
	return all
}

// sameEntry reports whether two nodes have an instance alike. What is there for people counts
// for nothing.
func sameEntry(a, b api.EntryVersion) bool {
	a.Status, b.Status = "", ""
	return a == b
}

// differenceText returns how nodes have an instance, in one line, or with versions and hashes
// below it.
func differenceText(key string, nodes []asked, entries []api.EntryVersion, verbose bool) string {
	if verbose {
		var lines strings.Builder
		fmt.Fprintln(&lines, plain.Text(key))
		for i, n := range nodes {
			fmt.Fprintf(&lines, "  %-16s %s\n", plain.Text(n.name), plain.Text(versionsText(entries[i])))
		}
		return lines.String()
	}
	// Seconds do, unless they look alike where the nodes differ.
	for _, detail := range []detail{inSeconds, inMilliseconds, withHash} {
		parts := make([]string, len(nodes))
		told := map[string]int{}
		unclear := false
		for i, n := range nodes {
			text := entryText(entries[i], detail)
			parts[i] = plain.Text(n.name) + " " + plain.Text(text)
			if first, ok := told[text]; !ok {
				told[text] = i
			} else {
				unclear = unclear || !sameEntry(entries[first], entries[i])
			}
		}
		if !unclear || detail == withHash {
			return plain.Text(key) + ": " + strings.Join(parts, ", ") + "\n"
		}
	}
	return ""
}

// detail is how much a line about a difference says.
type detail uint8

const (
	inSeconds detail = iota
	inMilliseconds
	withHash
)

// entryText says how a node has an instance.
func entryText(e api.EntryVersion, d detail) string {
	if e.App == "" {
		return "lacks it"
	}
	facts := []string{versionTime(e.Record, d)}
	if e.Live && e.Status != "" {
		facts = append(facts, string(e.Status))
	}
	if e.Override != 0 {
		at := ""
		if d != inSeconds {
			at = " of " + versionTime(e.Override, d)
		}
		if e.Set {
			facts = append(facts, "override "+string(e.OverrideStatus)+at)
		} else {
			facts = append(facts, "override removed"+at)
		}
	}
	if d == withHash {
		facts = append(facts, "content "+e.Hash)
	}
	has := "has it"
	if !e.Live {
		has = "has it as cancelled"
	}
	return has + " (" + strings.Join(facts, ", ") + ")"
}

// versionTime is the time that a version was given at, by the clock of the node that gave it.
func versionTime(version int64, d detail) string {
	t, layout := time.UnixMilli(version), time.TimeOnly
	if d != inSeconds {
		layout = "15:04:05.000"
	}
	if now := time.Now(); t.Year() != now.Year() || t.YearDay() != now.YearDay() {
		layout = time.DateOnly + " " + layout
	}
	return t.Format(layout)
}

// versionsText says what decides between two copies.
func versionsText(e api.EntryVersion) string {
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

// diffReport is what diff prints as JSON.
type diffReport struct {
	Nodes       []diffNode       `json:"nodes"`
	Differences []diffDifference `json:"differences"`
}

type diffNode struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	State   string `json:"state,omitempty"`
	Entries int    `json:"entries"`
	Error   string `json:"error,omitempty"` // why it gave no answer
}

type diffDifference struct {
	App   string                       `json:"app"`
	ID    string                       `json:"id"`
	Nodes map[string]*api.EntryVersion `json:"nodes"` // by name; null: the node lacks it
}

func (c *comparison) report() diffReport {
	out := diffReport{Nodes: []diffNode{}, Differences: []diffDifference{}}
	for _, n := range c.nodes {
		out.Nodes = append(out.Nodes,
			diffNode{Name: n.name, URL: n.url(), State: n.versions.State, Entries: len(n.versions.Entries)})
	}
	for _, n := range c.silent {
		out.Nodes = append(out.Nodes, diffNode{Name: n.name, URL: n.url(), Error: n.err.Error()})
	}
	for _, key := range slices.Sorted(maps.Keys(c.differences)) {
		d := diffDifference{Nodes: map[string]*api.EntryVersion{}}
		for i, e := range c.differences[key] {
			d.Nodes[c.nodes[i].name] = nil
			if e.App != "" {
				d.App, d.ID, d.Nodes[c.nodes[i].name] = e.App, e.ID, &e
			}
		}
		out.Differences = append(out.Differences, d)
	}
	return out
}

// count writes a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
