package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/registry"
)

// maxWhyEvents is how many events why --verbose shows.
const maxWhyEvents = 30

// Reasons of an answer beside those of a single node.
const (
	whyDiffers = "differs" // some nodes list it, and others do not
	whyJava    = "java"    // a Java server lists it, and no node does
)

func (p *program) whyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "why APP/INSTANCE", Short: "why an instance is listed, or not, and who did what to it",
		Long: `It asks the node, its peers and Java servers beside them, and joins what they know: who registered the
instance, through which node, its last renewal, its override, what each node answered to the others, and why it was
evicted, is held, or is not listed. Exit code 3: not all nodes could be asked.

` + instanceNaming,
		Args: exactly("APP/INSTANCE"),
		Example: `  registryd why ORDERS/orders-1:8080
  registryd why ORDERS/orders-1:8080 --verbose --url node-1`,
	}
	nodes := addNodes(c, "all are asked, and the peers of each")
	verbose := c.Flags().BoolP("verbose", "v", false, "show what happened to it, from the histories of all nodes")
	asJSON := addJSON(c)
	c.ValidArgsFunction = nodes.complete(true)
	c.RunE = func(c *cobra.Command, args []string) error {
		app, id, err := instanceName(args[0])
		if err != nil {
			return err
		}
		a, roots, err := nodes.open(nil)
		if err != nil {
			return err
		}
		defer a.close()
		done := p.working("asking all nodes")
		answer := a.why(c.Context(), roots, app, id)
		done()
		if err := c.Context().Err(); err != nil {
			return err
		}
		if *asJSON {
			err = p.json(answer)
		} else if len(answer.Nodes) > 0 {
			err = answer.print(p, *verbose)
		}
		for _, s := range answer.Silent {
			fmt.Fprintf(p.err, "node %s: unreachable (%s)\n", plain.Text(cmp.Or(s.Node, s.URL)), oneLine(s.Error))
		}
		if err == nil && len(answer.Silent) > 0 {
			err = fmt.Errorf("%w: %d gave no answer", errNotAll, len(answer.Silent))
		}
		return err
	}
	return c
}

// whyAnswer is what all nodes know of an instance.
type whyAnswer struct {
	App      string      `json:"app"`
	Instance string      `json:"instance"`
	Reason   string      `json:"reason"` // of api.Why, or differs, or java
	Text     string      `json:"text"`   // in words
	Facts    []whyFact   `json:"facts"`
	Near     []string    `json:"near"`
	Nodes    []*api.Why  `json:"nodes"`  // by name
	Java     []whyServer `json:"java"`   // Java servers beside the nodes
	Silent   []whySilent `json:"silent"` // nodes that gave no answer
}

// whyFact is something that is known of the instance.
type whyFact struct {
	What string `json:"what"` // a word
	Text string `json:"text"`
}

// whyServer is what a Java server says.
type whyServer struct {
	Name   string        `json:"name"`
	URL    string        `json:"url"`
	Listed bool          `json:"listed"`
	Status eureka.Status `json:"status,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// whySilent is a node that gave no answer.
type whySilent struct {
	Node  string `json:"node,omitempty"`
	URL   string `json:"url"`
	Error string `json:"error"`
}

// why asks nodes, and the peers that they name, and theirs.
func (a *asker) why(ctx context.Context, roots []*url.URL, app, id string) *whyAnswer {
	out := &whyAnswer{
		App: eureka.Upper(app), Instance: id,
		Facts: []whyFact{}, Near: []string{}, Nodes: []*api.Why{}, Java: []whyServer{}, Silent: []whySilent{},
	}
	asked := map[string]bool{} // URLs, and names once they are known
	var next []whyTarget
	for _, root := range roots {
		next = append(next, whyTarget{root: root})
	}
	java := map[string]string{} // URL by name
	for len(next) > 0 && ctx.Err() == nil {
		for _, t := range next {
			asked[t.root.Redacted()] = true
		}
		answers := a.whyOf(ctx, next, app, id)
		var more []whyTarget
		for i, w := range answers {
			t := next[i]
			if w.err != nil {
				out.Silent = append(out.Silent, whySilent{t.name, t.root.Redacted(), w.err.Error()})
				continue
			}
			known := func(other *api.Why) bool { return other.Node == w.why.Node }
			if slices.ContainsFunc(out.Nodes, known) {
				continue // by another address
			}
			out.Nodes = append(out.Nodes, w.why)
			for _, p := range w.why.Peers {
				if p.Kind == api.KindEureka {
					java[p.Name] = p.URL
					continue
				}
				if root, err := nodeURL(p.URL); err == nil {
					more = append(more, whyTarget{name: p.Name, root: root})
				}
			}
		}
		next = nil
		for _, t := range more {
			known := slices.ContainsFunc(out.Nodes, func(w *api.Why) bool { return w.Node == t.name }) ||
				slices.ContainsFunc(out.Silent, func(s whySilent) bool { return s.Node == t.name })
			if !known && !asked[t.root.Redacted()] {
				asked[t.root.Redacted()] = true
				next = append(next, t)
			}
		}
	}
	slices.SortFunc(out.Nodes, func(a, b *api.Why) int { return strings.Compare(a.Node, b.Node) })
	out.Java = javaOf(ctx, java, app, id)
	out.join()
	return out
}

// whyTarget is a node that is asked.
type whyTarget struct {
	name string // as a peer calls it; empty: not known yet
	root *url.URL
}

type whyResult struct {
	why *api.Why
	err error
}

// whyOf asks nodes at the same time.
func (a *asker) whyOf(ctx context.Context, targets []whyTarget, app, id string) []whyResult {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	out := make([]whyResult, len(targets))
	var asking sync.WaitGroup
	for i, t := range targets {
		asking.Go(func() {
			body, err := a.ask(ctx, t.root, request{
				path: []string{"v1", "why"}, query: url.Values{"app": {app}, "instance": {id}}, bound: maxStatus,
			})
			if err == nil {
				out[i].why, err = decode(t.root, body, "the answer", func(w *api.Why) bool { return w.Node != "" })
			}
			if err == nil && t.name != "" && out[i].why.Node != t.name {
				err = fmt.Errorf("%s is node %.80q", t.root.Redacted(), out[i].why.Node)
			}
			out[i].err = err
		})
	}
	asking.Wait()
	return out
}

// javaOf asks Java servers for an instance. They are shown no login: theirs is not known here, and
// that of the nodes is none of theirs.
func javaOf(ctx context.Context, servers map[string]string, app, id string) []whyServer {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	a := newAsker()
	defer a.close()
	var mu sync.Mutex
	out := []whyServer{}
	var asking sync.WaitGroup
	for name, address := range servers {
		asking.Go(func() {
			s := whyServer{Name: name, URL: address}
			root, err := nodeURL(address)
			if err == nil {
				var body []byte
				path := []string{"eureka", "apps", eureka.Upper(app), id}
				body, err = a.ask(ctx, root, request{path: path, bound: maxInstance})
				if err == nil {
					var i *eureka.InstanceInfo
					if i, err = eureka.DecodeInstance(eureka.JSON, body); err == nil {
						s.Listed, s.Status = true, i.Status
					}
				}
			}
			if err != nil && !isCode(err, http.StatusNotFound) {
				s.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, s)
		})
	}
	asking.Wait()
	slices.SortFunc(out, func(a, b whyServer) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// join makes one answer of those of the nodes.
func (w *whyAnswer) join() {
	if len(w.Nodes) == 0 {
		return
	}
	var listing, lacking []*api.Why
	for _, n := range w.Nodes {
		if n.Listed {
			listing = append(listing, n)
		} else {
			lacking = append(lacking, n)
		}
	}
	switch {
	case len(lacking) == 0:
		w.joinListed(listing)
	case len(listing) == 0:
		w.joinUnlisted()
	default:
		w.joinDiffering(listing, lacking)
	}
	w.addFacts()
}

// joinListed is for an instance that all nodes list.
func (w *whyAnswer) joinListed(listing []*api.Why) {
	w.Reason = listing[0].Reason
	texts := map[string][]string{}
	var order []string
	for _, n := range listing {
		if n.Reason == api.WhyHeld || n.Reason == api.WhyLeaseOver && w.Reason == api.WhyListed {
			w.Reason = n.Reason
		}
		text := n.Text
		if n.Lease != nil && n.Lease.Left < 0 { // ages differ a little
			text = n.Reason
		}
		if texts[text] == nil {
			order = append(order, text)
		}
		texts[text] = append(texts[text], n.Node)
	}
	if len(order) == 1 {
		w.Text = listing[0].Text + " " + onAll(len(listing), listing[0].Node)
		return
	}
	var parts []string
	for _, text := range order {
		first := slices.IndexFunc(listing, func(n *api.Why) bool { return n.Node == texts[text][0] })
		parts = append(parts, listing[first].Text+" on "+strings.Join(texts[text], ", "))
	}
	w.Text = strings.Join(parts, "; ")
}

func onAll(n int, name string) string {
	if n == 1 {
		return "on " + name
	}
	return fmt.Sprintf("on all %d nodes", n)
}

// joinUnlisted is for an instance that no node lists. The latest that took it away counts.
func (w *whyAnswer) joinUnlisted() {
	for _, s := range w.Java {
		if s.Listed {
			w.Reason = whyJava
			w.Text = fmt.Sprintf("listed as %s by the Java server %s alone, and by no node", s.Status, s.Name)
			return
		}
	}
	syncing := 0
	for _, n := range w.Nodes {
		if n.Reason == api.WhySyncing {
			syncing++
		}
	}
	gone := w.latest(func(e *api.HistoryEvent) bool {
		return e.Kind == registry.EventCancelled.String() || e.Kind == registry.EventEvicted.String()
	})
	switch {
	case syncing == len(w.Nodes):
		w.Reason = api.WhySyncing
		w.Text = "not listed, because no node lists anything yet: " + w.Nodes[0].Node + " is " + w.Nodes[0].State
	case gone != nil && gone.Kind == registry.EventCancelled.String():
		w.Reason = api.WhyCancelled
		w.Text = fmt.Sprintf("not listed: it was cancelled at %s by %s through %s",
			clock(gone.Time), gone.Who(), gone.Node)
	case gone != nil:
		w.Reason = api.WhyEvicted
		w.Text = fmt.Sprintf("not listed: %s evicted it at %s, when it had not renewed for %v of its lease of %v",
			gone.Node, clock(gone.Time), whole(gone.Silent), whole(gone.Lease))
	default:
		w.unlistedWithoutEvent()
	}
}

// unlistedWithoutEvent is for an instance that no history has gone.
func (w *whyAnswer) unlistedWithoutEvent() {
	for _, n := range w.Nodes {
		if n.Reason == api.WhyCancelled || n.Reason == api.WhyEvicted {
			w.Reason, w.Text = n.Reason, "not listed: "+n.Text+" ("+n.Node+")"
			return
		}
	}
	w.Reason = api.WhyUnknown
	w.Text = "not listed: it was never registered; no node has heard of it since its start"
	for _, n := range w.Nodes {
		for _, name := range n.Near {
			if !slices.Contains(w.Near, name) {
				w.Near = append(w.Near, name)
			}
		}
	}
}

// joinDiffering is for an instance that some nodes list, and others do not.
func (w *whyAnswer) joinDiffering(listing, lacking []*api.Why) {
	w.Reason = whyDiffers
	var have []string
	for _, n := range listing {
		have = append(have, n.Node)
	}
	reasons := make([]string, len(lacking))
	for i, n := range lacking {
		reasons[i] = w.lack(n, listing)
	}
	w.Text = fmt.Sprintf("listed as %s on %s, but not on all nodes: %s",
		listing[0].Status, strings.Join(have, ", "), strings.Join(reasons, "; "))
}

// lack says why a node does not list what others do.
func (w *whyAnswer) lack(n *api.Why, listing []*api.Why) string {
	if n.Reason == api.WhySyncing {
		return n.Node + " lists nothing yet: it is " + n.State
	}
	for _, from := range listing {
		if t := from.TooLarge; t != nil {
			return fmt.Sprintf("it is too large to be sent to %s: %d bytes, where a message may have %d",
				n.Node, t.Bytes, t.Bound)
		}
	}
	for _, from := range listing {
		for _, e := range from.Answers {
			if e.From == n.Node && !strings.HasPrefix(e.Detail, "200") && !strings.HasPrefix(e.Detail, "404") {
				return fmt.Sprintf("%s refused it when %s sent it: %s (%s)", n.Node, from.Node, e.Detail, clock(e.Time))
			}
		}
	}
	if n.Reason == api.WhyCancelled || n.Reason == api.WhyEvicted {
		for _, p := range n.Peers {
			listsIt := func(from *api.Why) bool { return from.Node == p.Name }
			if p.Pending > 0 && slices.ContainsFunc(listing, listsIt) {
				return n.Node + " has it as " + n.Text + ", which is on its way to the others"
			}
		}
		return n.Node + " has it as " + n.Text
	}
	if word, _, _ := strings.Cut(n.State, ":"); word != "ready" {
		return n.Node + " lacks it, and is " + n.State
	}
	for _, from := range listing {
		for _, p := range from.Peers {
			switch {
			case p.Name != n.Node:
			case p.Status != "reachable":
				return n.Node + " lacks it: it is " + p.Status + " for " + from.Node
			case p.Waiting != "":
				return fmt.Sprintf("%s lacks it: %s sends it nothing at present: %s", n.Node, from.Node, p.Waiting)
			case p.Pending > 0:
				return fmt.Sprintf("%s lacks it: %s has changes for it that wait", n.Node, from.Node)
			}
		}
	}
	for _, from := range listing {
		if from.Reason == api.WhyRegion {
			return n.Node + " shows no such region"
		}
	}
	return n.Node + " lacks it: it was " + n.Text
}

// latest returns the newest event of all nodes for which is holds: of those that took effect where
// they happened, nil if there is none.
func (w *whyAnswer) latest(is func(*api.HistoryEvent) bool) *api.HistoryEvent {
	var out *api.HistoryEvent
	for _, n := range w.Nodes {
		for i := range n.Events {
			e := &n.Events[i]
			if is(e) && (out == nil || e.Time.After(out.Time)) {
				out = e
			}
		}
	}
	return out
}

// addFacts adds what is known beside the reason.
func (w *whyAnswer) addFacts() {
	add := func(what, format string, args ...any) {
		w.Facts = append(w.Facts, whyFact{what, fmt.Sprintf(format, args...)})
	}
	first := func(kinds ...registry.Kind) *api.HistoryEvent {
		return w.latest(func(e *api.HistoryEvent) bool {
			return slices.ContainsFunc(kinds, func(k registry.Kind) bool { return k.String() == e.Kind })
		})
	}
	if e := first(registry.EventRegistered); e != nil {
		add("registered", "%s by %s through %s", clock(e.Time), e.Who(), e.Node)
	} else if e := first(registry.EventJoined); e != nil {
		add("registered", "before the nodes' histories; a node has it from %s", e.Who())
	}
	if e := first(registry.EventKept); e != nil {
		add("kept", "%s: a register by %s was not stored at %s, because the one stored is newer",
			clock(e.Time), e.Who(), e.Node)
	}
	if e := first(registry.EventMetadata); e != nil {
		add("metadata", "changed %s by %s through %s", clock(e.Time), e.Who(), e.Node)
	}
	w.addLease(add)
	w.addOverride(add, first(registry.EventOverrideSet, registry.EventOverrideRemoved))
	for _, n := range w.Nodes {
		for _, e := range n.Answers {
			add("answered", "%s to %s at %s: %s", e.From, n.Node, clock(e.Time), e.Detail)
		}
	}
	for _, n := range w.Nodes {
		if t := n.TooLarge; t != nil {
			add("size", "%d bytes as a task of a batch; %s can send %d", t.Bytes, n.Node, t.Bound)
		}
	}
	for _, s := range w.Java {
		switch {
		case s.Error != "":
			add("java", "%s could not be asked: %s", s.Name, s.Error)
		case s.Listed:
			add("java", "%s lists it as %s", s.Name, s.Status)
		default:
			add("java", "%s does not list it", s.Name)
		}
	}
}

func (w *whyAnswer) addLease(add func(what, format string, args ...any)) {
	var lease *api.WhyLease
	for _, n := range w.Nodes {
		if l := n.Lease; l != nil && (lease == nil || l.Silent < lease.Silent) {
			lease = l
		}
	}
	if lease != nil {
		add("renewed", "%v ago, lease %v", whole(int64(lease.Silent*1000)), whole(int64(lease.Length*1000)))
	}
}

func (w *whyAnswer) addOverride(add func(what, format string, args ...any), e *api.HistoryEvent) {
	var override *api.WhyOverride
	for _, n := range w.Nodes {
		if o := n.Override; o != nil && (override == nil || o.Version > override.Version) {
			override = o
		}
	}
	if override == nil || !override.Set && e == nil { // it was removed with a cancel, say
		return
	}
	by := "before the nodes' histories"
	if e != nil {
		by = fmt.Sprintf("%s by %s through %s", clock(e.Time), e.Who(), e.Node)
	}
	if override.Set {
		add("override", "%s, set %s; registryd apps up %s removes it",
			override.Status, by, shellWord(instanceText(w.App, w.Instance)))
	} else {
		add("override", "none; the last one was removed %s", by)
	}
}

// print writes the answer for people.
func (w *whyAnswer) print(p *program, verbose bool) error {
	fmt.Fprintf(p.out, "%s is %s\n", plain.Text(instanceText(w.App, w.Instance)), plain.Text(w.Text))
	if len(w.Near) > 0 {
		fmt.Fprintf(p.out, "did you mean %s?\n", plain.Text(strings.Join(w.Near, " or ")))
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, f := range w.Facts {
		fmt.Fprintf(table, "  %s\t%s\n", f.What, plain.Text(f.Text))
	}
	for _, n := range w.Nodes {
		fmt.Fprintf(table, "  at %s\t%s\n", cell(n.Node), plain.Text(n.Text))
	}
	if err := table.Flush(); err != nil || !verbose {
		return err
	}
	return w.printEvents(p)
}

// printEvents writes what happened, the newest first.
func (w *whyAnswer) printEvents(p *program) error {
	type at struct {
		node string
		*api.HistoryEvent
	}
	var all []at
	for _, n := range w.Nodes {
		for _, events := range [][]api.HistoryEvent{n.Events, n.Answers} {
			for i := range events {
				all = append(all, at{n.Node, &events[i]})
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b at) int { return b.Time.Compare(a.Time) })
	fmt.Fprintln(p.out)
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tNODE\tWHAT\tBY\tSTATUS\tDETAIL")
	for _, e := range all[:min(len(all), maxWhyEvents)] {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
			clock(e.Time), cell(e.node), cell(e.Kind), cell(e.Who()),
			cell(cmp.Or(string(e.Status), "-")),
			plain.Text(cmp.Or(e.Detail, strings.Join(e.Changed, ", "), "-")))
	}
	return table.Flush()
}

// clock writes a time of today without the date, in this machine's zone.
func clock(t time.Time) string {
	t = t.Local()
	if now := time.Now(); t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// whole rounds milliseconds to tenths of a second.
func whole(ms int64) time.Duration {
	return (time.Duration(ms) * time.Millisecond).Round(100 * time.Millisecond)
}
