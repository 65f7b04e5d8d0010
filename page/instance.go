package page

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// maxLooks is how many pages may ask the other nodes at a time.
const maxLooks = 16

// lookTime is how long the other nodes may take to say what they hold of an instance.
const lookTime = time.Second

// Held is what a node holds of an instance.
type Held struct {
	Node    string
	Known   bool
	Entry   registry.Entry
	Evicted bool   // it is not listed there, because its lease was over
	Trouble string // why there is no answer
}

// detailView is the page of one instance.
type detailView struct {
	frame
	App, ID    string
	Listed     bool
	Base       string
	Instance   instanceView
	Override   string // who set it
	Took       string // who registered it
	Registered time.Time
	Since      time.Time // it is UP
	Why        string    // why it is not listed
	Facts      []fact
	Links      []fact
	Metadata   []fact
	Nodes      []heldView
	Differ     bool
	Events     []eventView
	More       string // the rest of its history
	Kept       bool   // there is a history
	Actions    []actionView
	Held       bool // by self-preservation
	Done       string
	Drain      drainView
}

// drainView says which clients know that an instance is out of service.
type drainView struct {
	Nodes   []drainNodeView
	Drained bool   // all do
	Says    string // how far it is
}

// drainNodeView says it of one node.
type drainNodeView struct {
	Node, Says string
	Level      level
	Clients    []string // that don't know it
	More       int      // beyond those that are named
}

// maxClients bounds the clients that are named of a node.
const maxClients = 20

func (p *Page) drainOf(ctx context.Context, key registry.Key) drainView {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	state := p.opts.Node.DrainState(ctx, key)
	v := drainView{Drained: state.Drained}
	served, waiting, unknown := 0, 0, 0
	for i := range state.Nodes {
		n := &state.Nodes[i]
		v.Nodes = append(v.Nodes, drainNodeViewOf(n))
		served, waiting = served+n.Served, waiting+n.Waiting
		if !n.Drained() && n.Waiting == 0 {
			unknown++
		}
	}
	switch {
	case v.Drained && served == 0:
		v.Says = "Drained: no client fetches it. It may be stopped."
	case v.Drained:
		v.Says = "Drained: " + count(served, "client has", "clients have") +
			" been served without it. It may be stopped."
	default:
		v.Says = "Not drained yet: "
		if waiting > 0 || unknown == 0 {
			v.Says += count(waiting, "client has", "clients have") + " not been served without it"
		}
		if waiting > 0 && unknown > 0 {
			v.Says += ", and "
		}
		if unknown > 0 {
			v.Says += count(unknown, "node does", "nodes do") + " not know"
		}
		v.Says += "."
	}
	return v
}

func drainNodeViewOf(n *api.DrainNode) drainNodeView {
	v := drainNodeView{Node: n.Node, Level: warnLevel}
	switch {
	case n.Foreign:
		v.Level, v.Says = fineLevel, "a Java server: it can't be asked"
	case n.Error != "":
		v.Level, v.Says = badLevel, "no answer: "+n.Error
	case !n.Out:
		v.Says = "does not know it yet"
	case n.Waiting > 0:
		v.Says = count(n.Waiting, "client has", "clients have") + " not fetched it yet, " +
			count(n.Served, "has", "have")
	case n.Served == 0:
		v.Level, v.Says = fineLevel, "no client fetches from it"
	case n.Served == 1:
		v.Level, v.Says = fineLevel, "the client that fetches knows it"
	default:
		v.Level, v.Says = fineLevel, "all "+count(n.Served, "client", "clients")+" that fetch know it"
	}
	shown := min(len(n.Clients), maxClients)
	v.More = max(0, n.Waiting-shown)
	for i := range n.Clients[:shown] {
		c := &n.Clients[i]
		text := strings.TrimSpace(c.Address + " " + cmp.Or(c.ID, c.Name, c.Agent))
		text += ", " + ago(time.Duration(c.Silent)*time.Millisecond) + " ago"
		v.Clients = append(v.Clients, text)
	}
	return v
}

// PathApp and PathID are the names as they are written in an address.
func (v detailView) PathApp() string { return url.PathEscape(v.App) }

// PathID is the id, see PathApp.
func (v detailView) PathID() string { return url.PathEscape(v.ID) }

// fact is a name and a value.
type fact struct{ Name, Value string }

// heldView is what one node says of an instance.
type heldView struct {
	Node, Says  string
	Level       level
	Override    string
	Heartbeat   string
	Changed     time.Time // of the later of record and override
	Differs     bool
	HasRegister bool
}

func (p *Page) instance(r *http.Request) (detailView, int) {
	values := r.URL.Query()
	key := registry.NewKey(clip(values.Get("app"), 1024), clip(values.Get("id"), 1024))
	v := detailView{frame: p.frame("../", key.ID), App: key.App, ID: key.ID, Kept: p.opts.History != nil}
	o := p.opts.Node.Overview()
	v.Base, v.Held = serviceURL(&o), o.Leases.SelfPreservation
	if e := p.lastOf(key, registry.Registered, registry.EventRegistered); e != nil {
		v.Took, v.Registered = byWhom(e.By), e.Time
	}
	if e := p.lastOf(key, registry.Overridden, registry.EventOverrideSet); e != nil {
		v.Override = byWhom(e.By)
	}
	v.Nodes, v.Differ = p.heldBy(r.Context(), key, o.Node)
	p.ownHistory(&v, key)
	info := p.listed(key)
	if info == nil {
		v.Why = p.whyNot(key, &v)
		if len(v.Events) == 0 && !slices.ContainsFunc(v.Nodes, func(n heldView) bool { return n.HasRegister }) {
			return v, http.StatusNotFound
		}
		return v, http.StatusOK
	}
	v.Listed, v.Instance = true, p.instanceView(info)
	if t := info.LeaseInfo.ServiceUpTimestamp; t > 0 {
		v.Since = time.UnixMilli(t)
	}
	v.describe(info)
	if info.Status == eureka.StatusOutOfService {
		v.Drain = p.drainOf(r.Context(), key)
	}
	v.Actions = p.actionsFor(r, key, info)
	v.Done = done(values.Get("done"))
	return v, http.StatusOK
}

// listed returns an instance as lists have it; nil if they don't.
func (p *Page) listed(key registry.Key) *eureka.InstanceInfo {
	if _, ok := p.reg.Lease(key); !ok {
		return nil
	}
	entry, evicted, ok := p.reg.Entry(key)
	if !ok || evicted || !entry.Record.Live {
		return nil
	}
	i := *entry.Record.Info
	i.Status, i.OverriddenStatus = registry.Visible(&entry.Record, &entry.Override), eureka.StatusUnknown
	if entry.Override.Set {
		i.OverriddenStatus = entry.Override.Status
	}
	return &i
}

// describe fills in what the client said.
func (v *detailView) describe(i *eureka.InstanceInfo) {
	add := func(name, value string) {
		if value != "" {
			v.Facts = append(v.Facts, fact{name, value})
		}
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	add("Address", v.Instance.Address)
	add("Host name", i.HostName)
	add("Zone", v.Instance.Zone)
	add("VIP address", text(i.VIPAddress))
	add("Secure VIP address", text(i.SecureVIPAddress))
	add("Group", text(i.AppGroupName))
	add("Auto-scaling group", text(i.ASGName))
	add("Data centre", string(i.DataCenterInfo.Name))
	lease := i.LeaseInfo
	interval := cmp.Or(lease.RenewalIntervalInSecs, eureka.DefaultRenewalInterval)
	add("Lease", ago(span(v.Instance.Lease.Term))+", renewed each "+ago(time.Duration(interval)*time.Second))
	if i.LastDirtyTimestamp > 0 {
		add("Last changed by the client", time.UnixMilli(i.LastDirtyTimestamp).UTC().Format("2006-01-02 15:04:05Z"))
	}
	for _, l := range []fact{
		{"Home page", text(i.HomePageURL)},
		{"Status page", text(i.StatusPageURL)},
		{"Health check", text(i.HealthCheckURL)},
		{"Secure health check", text(i.SecureHealthCheckURL)},
	} {
		if u, err := url.Parse(l.Value); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
			v.Links = append(v.Links, l)
		}
	}
	for name, value := range i.Metadata {
		v.Metadata = append(v.Metadata, fact{name, value})
	}
	for name, value := range i.DataCenterInfo.Metadata {
		v.Metadata = append(v.Metadata, fact{name, value})
	}
	slices.SortFunc(v.Metadata, func(a, b fact) int { return strings.Compare(a.Name, b.Name) })
}

// ownHistory fills in the last events of the instance.
func (p *Page) ownHistory(v *detailView, key registry.Key) {
	if !v.Kept {
		return
	}
	events, more := p.opts.History.Query(history.Filter{App: key.App, ID: key.ID}, 0, ownShown)
	for i := range events {
		v.Events = append(v.Events, eventViewOf(&events[i], "../"))
	}
	if more {
		v.More = "changes?" + url.Values{"app": {key.App}, "id": {key.ID}}.Encode()
	}
}

// whyNot says why lists don't have an instance.
func (p *Page) whyNot(key registry.Key, v *detailView) string {
	entry, evicted, ok := p.reg.Entry(key)
	switch {
	case ok && !entry.Record.Live:
		why := "It was cancelled"
		if e := p.lastOf(key, registry.Cancelled, registry.EventCancelled); e != nil {
			why += " " + ago(time.Since(e.Time)) + " ago, " + byWhom(e.By)
		}
		return why + ". It is back when its client registers again."
	case ok && evicted:
		return "This node has removed it: its lease was over, the last heartbeat was " + ago(entry.Age) +
			" ago. It is back when its client sends a heartbeat, is answered 404 and registers."
	case len(v.Events) > 0:
		return "It was here, and this node has forgotten it since."
	default:
		return "This node has never heard of it. Is the application spelt as its client does?"
	}
}

// heldBy asks all nodes what they hold of an instance, and whether that differs.
func (p *Page) heldBy(ctx context.Context, key registry.Key, self string) (nodes []heldView, differ bool) {
	own := Held{Node: self}
	own.Entry, own.Evicted, own.Known = p.reg.Entry(key)
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	others := []Held{{Node: "others", Trouble: "too many pages ask at a time"}}
	select {
	case p.looking <- struct{}{}:
		others = p.opts.Node.Look(ctx, key)
		<-p.looking
	default:
	}
	for _, h := range append([]Held{own}, others...) {
		v := heldViewOf(&h)
		if h.Trouble == "" {
			v.Differs = !sameEntry(&own, &h)
			differ = differ || v.Differs
		}
		nodes = append(nodes, v)
	}
	return nodes, differ
}

// sameEntry reports whether two nodes hold the same, leases left out.
func sameEntry(a, b *Held) bool {
	x, y := &a.Entry, &b.Entry
	return a.Known == b.Known && x.Record.Version == y.Record.Version && x.Record.Hash == y.Record.Hash &&
		x.Record.Live == y.Record.Live && x.Override == y.Override
}

func heldViewOf(h *Held) heldView {
	v := heldView{Node: h.Node}
	e := &h.Entry
	switch {
	case h.Trouble != "":
		v.Level, v.Says = badLevel, "no answer: "+h.Trouble
		return v
	case !h.Known:
		v.Level, v.Says = warnLevel, "does not know it"
		return v
	case !e.Record.Live:
		v.Level, v.Says = badLevel, "cancelled"
	case h.Evicted:
		v.Level, v.Says = badLevel, "removed, its lease was over"
	default:
		status := registry.Visible(&e.Record, &e.Override)
		v.Level, v.Says = statusLevel(status), statusWords(status)
		v.Heartbeat = ago(e.Age) + " ago"
	}
	v.HasRegister = true
	if e.Override.Set {
		v.Override = statusWords(e.Override.Status)
	}
	if version := max(e.Record.Version, e.Override.Version); version > 0 {
		v.Changed = time.UnixMilli(version)
	}
	return v
}
