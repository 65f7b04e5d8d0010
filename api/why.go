package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/internal/near"
	"github.com/registryd/registryd/registry"
)

// The bounds of GET /v1/why.
const (
	maxWhyEvents  = 50     // of the instance, the newest
	maxWhyAnswers = 200    // looked at for the last one of each peer
	maxWhyNames   = 20_000 // instances of an application that are compared with an unknown id
)

// Reasons why a node lists an instance, or does not.
const (
	WhyListed    = "listed"
	WhyHeld      = "held"       // listed: its lease is over, and self-preservation keeps it
	WhyLeaseOver = "lease-over" // listed: its lease is over, and the next eviction pass removes it
	WhySyncing   = "syncing"    // the node lists nothing yet, or nothing again
	WhyCancelled = "cancelled"
	WhyEvicted   = "evicted"
	WhyRegion    = "region"  // listed, but of another region alone
	WhyUnknown   = "unknown" // the node has not heard of it
)

// Why is the body of GET /v1/why: what a node knows of one instance, and why it lists it or not.
// `registryd why` joins those of all nodes.
type Why struct {
	Node     string    `json:"node"`
	URL      string    `json:"url"`
	State    string    `json:"state"` // as in Overview
	Started  time.Time `json:"started"`
	App      string    `json:"app"`
	Instance string    `json:"instance"`

	Reason string `json:"reason"` // one of the reasons above
	Text   string `json:"text"`   // the same in words
	Listed bool   `json:"listed"` // readers see it

	Status   eureka.Status `json:"status,omitempty"` // that readers see
	Record   *WhyRecord    `json:"record,omitempty"`
	Override *WhyOverride  `json:"override,omitempty"` // left out if there never was one
	Lease    *WhyLease     `json:"lease,omitempty"`    // while readers see it
	// TooLarge is there if the instance does not fit into a message to a peer.
	TooLarge *WhySize `json:"too_large,omitempty"`

	Answers []HistoryEvent `json:"answers"` // the last one of each peer, by peer; never null
	Events  []HistoryEvent `json:"events"`  // the newest first, at most 50; never null
	Near    []string       `json:"near"`    // what may be meant by a name that is unknown; never null
	Peers   []WhyPeer      `json:"peers"`   // who may know more; never null
}

// WhyRecord is what the client registered.
type WhyRecord struct {
	Version   int64         `json:"rv"`
	Live      bool          `json:"live"` // false: it is cancelled
	Status    eureka.Status `json:"status,omitempty"`
	Hash      string        `json:"rh"`
	LastDirty int64         `json:"lastDirtyTimestamp,omitempty"`
}

// WhyOverride is the override of a status.
type WhyOverride struct {
	Version int64         `json:"ov"`
	Set     bool          `json:"set"` // false: it was removed
	Status  eureka.Status `json:"status"`
}

// WhyLease is a lease as the node knows it.
type WhyLease struct {
	Silent float64 `json:"silent_seconds"` // since the last renewal
	Left   float64 `json:"left_seconds"`   // negative: it is over
	Length float64 `json:"length_seconds"`
}

// WhySize is an instance's size as a task of a batch, in bytes, and its bound.
type WhySize struct {
	Bytes int `json:"bytes"`
	Bound int `json:"bound"`
}

// WhyPeer is a peer of the node.
type WhyPeer struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // KindNode or KindEureka
	URL    string `json:"url"`
	Status string `json:"status"` // reachable, unreachable or left
	// Waiting is why no batch is sent to it, and Pending how many actions wait.
	Waiting string `json:"waiting,omitempty"`
	Pending int    `json:"pending"`
}

// why answers GET /v1/why?app=&instance=.
func (h *Handler) why(w http.ResponseWriter, r *http.Request) int {
	given, err := parameters(r.URL.RawQuery, "", "app", "instance")
	if err != nil {
		return text(w, http.StatusBadRequest, err.Error())
	}
	key, err := whyKey(single(given["app"]), single(given["instance"]))
	if err != nil {
		return text(w, http.StatusBadRequest, err.Error())
	}
	body, err := json.MarshalIndent(h.explain(key), "", "  ")
	if err != nil {
		return h.notEncoded(w, "why", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	return document(w, http.StatusOK, eureka.JSON.ContentType(), append(body, '\n'))
}

func whyKey(app, id string) (registry.Key, error) {
	switch {
	case app == "":
		return registry.Key{}, errors.New("app: is missing")
	case id == "":
		return registry.Key{}, errors.New("instance: is missing")
	}
	return registry.NewKey(app, id), nil
}

// explain collects what this node knows of an instance. Changes may come in between.
func (h *Handler) explain(key registry.Key) *Why {
	node := h.opts.Node.Overview()
	out := &Why{
		Node: node.Node, URL: node.URL, State: node.State, Started: node.Started, App: key.App, Instance: key.ID,
		Answers: []HistoryEvent{}, Events: []HistoryEvent{}, Near: []string{}, Peers: []WhyPeer{},
	}
	for i := range node.Peers {
		p := &node.Peers[i]
		out.Peers = append(out.Peers, WhyPeer{
			Name: p.Name, Kind: p.Kind, URL: p.URL, Status: p.Status, Waiting: p.Waiting, Pending: p.Pending(),
		})
	}
	h.addEvents(out, key)
	known := h.addEntry(out, key)
	reads := h.opts.Node.Readiness().Reads
	switch {
	case !reads:
		out.Reason, out.Text = WhySyncing, "the node lists nothing yet: it is "+node.State
	case out.Listed:
		out.explainListed(&node.Leases)
	case known && !out.Record.Live:
		out.Reason, out.Text = WhyCancelled, out.cancelText()
	case known:
		out.Reason, out.Text = WhyEvicted, out.evictText()
	default:
		h.explainUnknown(out, key)
	}
	out.Listed = out.Listed && reads
	return out
}

// addEvents adds what happened to the instance here, and what peers answered last.
func (h *Handler) addEvents(out *Why, key registry.Key) {
	if h.opts.History == nil {
		return
	}
	all := registry.Kinds - 1
	var but history.Kinds
	for k := registry.EventRegistered; k <= all; k++ {
		if k != registry.EventAnswered {
			but |= history.KindsOf(k)
		}
	}
	events, _ := h.opts.History.Query(history.Filter{App: key.App, ID: key.ID, Kinds: but}, 0, maxWhyEvents)
	for i := range events {
		out.Events = append(out.Events, newHistoryEvent(out.Node, &events[i]))
	}
	answers, _ := h.opts.History.Query(
		history.Filter{App: key.App, ID: key.ID, Kinds: history.KindsOf(registry.EventAnswered)}, 0, maxWhyAnswers)
	for i := range answers {
		e := newHistoryEvent(out.Node, &answers[i])
		of := func(other HistoryEvent) bool { return other.From == e.From }
		if !slices.ContainsFunc(out.Answers, of) {
			out.Answers = append(out.Answers, e)
		}
	}
	slices.SortFunc(out.Answers, func(a, b HistoryEvent) int { return strings.Compare(a.From, b.From) })
}

// addEntry adds what the registry holds, and reports whether that is anything.
func (h *Handler) addEntry(out *Why, key registry.Key) bool {
	entry, evicted, ok := h.reg.Entry(key)
	if !ok {
		return false
	}
	rec, override := &entry.Record, &entry.Override
	out.Record = &WhyRecord{Version: rec.Version, Live: rec.Live, Hash: hex16(rec.Hash)}
	if rec.LastDirty != eureka.NoTimestamp {
		out.Record.LastDirty = rec.LastDirty
	}
	if override.Version != 0 {
		out.Override = &WhyOverride{Version: override.Version, Set: override.Set, Status: override.Status}
	}
	if !rec.Live {
		return true
	}
	out.Record.Status = rec.Base
	item := entry.Item(key, 0)
	if size, bound := len(eureka.AppendItem(nil, &item)), h.opts.Node.MaxTask(); size > bound {
		out.TooLarge = &WhySize{Bytes: size, Bound: bound}
	}
	if evicted {
		return true
	}
	out.Listed, out.Status = true, registry.Visible(rec, override)
	if lease, ok := h.reg.Lease(key); ok {
		out.Lease = &WhyLease{
			Silent: lease.Silent.Seconds(), Left: lease.Left.Seconds(), Length: (lease.Silent + lease.Left).Seconds(),
		}
	}
	return true
}

// explainListed says why readers see the instance, and as what.
func (w *Why) explainListed(leases *LeasesOverview) {
	w.Reason, w.Text = WhyListed, "listed as "+string(w.Status)
	if w.Override != nil && w.Override.Set {
		w.Text += " by an override; its client says " + string(w.Record.Status)
	}
	if w.Lease == nil || w.Lease.Left >= 0 {
		return
	}
	over := fmt.Sprintf(", though its lease of %s is over: it renewed %s ago",
		whySeconds(w.Lease.Length), whySeconds(w.Lease.Silent))
	switch {
	case leases.SelfPreservation:
		w.Reason = WhyHeld
		w.Text += over + fmt.Sprintf("; self-preservation holds it, because %d of %d leases are missing",
			leases.Missing, leases.Expected)
	default:
		w.Reason = WhyLeaseOver
		w.Text += over + "; the next eviction pass removes it"
	}
}

// last returns the newest event for which is holds, nil if there is none.
func (w *Why) last(is func(e *HistoryEvent) bool) *HistoryEvent {
	for i := range w.Events {
		if is(&w.Events[i]) {
			return &w.Events[i]
		}
	}
	return nil
}

// cancels reports whether an event took the instance away by a cancel.
func cancels(e *HistoryEvent) bool {
	return e.Kind == registry.EventCancelled.String() ||
		e.Kind == registry.EventJoined.String() && slices.Contains(e.Changed, "cancel")
}

// evicts reports whether an event took the instance away by an eviction.
func evicts(e *HistoryEvent) bool { return e.Kind == registry.EventEvicted.String() }

func (w *Why) cancelText() string {
	e := w.last(cancels)
	if e == nil {
		return "cancelled, before what this node's history reaches back to"
	}
	return "cancelled at " + whyTime(e.Time) + " by " + e.Who()
}

func (w *Why) evictText() string {
	e := w.last(evicts)
	if e == nil {
		return "evicted by another node, which told of it, or before what this node's history reaches back to"
	}
	return fmt.Sprintf("evicted at %s by %s: it had renewed %s before, and its lease is %s",
		whyTime(e.Time), e.Who(), whySeconds(float64(e.Silent)/1000), whySeconds(float64(e.Lease)/1000))
}

// explainUnknown says why the registry holds nothing of the instance.
func (h *Handler) explainUnknown(out *Why, key registry.Key) {
	if h.regions != nil {
		if i, ok := h.regions.Instance(key); ok {
			var regions []string
			for _, r := range h.regions.Status() {
				regions = append(regions, r.Name)
			}
			out.Reason, out.Listed, out.Status = WhyRegion, true, i.Status
			out.Text = fmt.Sprintf("listed as %s, but of another region alone: %s",
				i.Status, strings.Join(regions, " or "))
			return
		}
	}
	if e := out.last(func(e *HistoryEvent) bool { return cancels(e) || evicts(e) }); e != nil {
		out.Reason, out.Text = WhyCancelled, out.cancelText()+", and forgotten since"
		if evicts(e) {
			out.Reason, out.Text = WhyEvicted, out.evictText()+", and forgotten since"
		}
		return
	}
	out.Reason = WhyUnknown
	out.Text = "never registered here, nor told by a peer, since the node started at " + whyTime(out.Started)
	out.Near = h.nearNames(key)
}

// nearNames returns the instances that may be meant by a name that is unknown, as APP/INSTANCE: of
// this application those with an id like it, then those of this very id, then those of an
// application with a name like it.
func (h *Handler) nearNames(key registry.Key) []string {
	var here, same, apps []string
	last := ""
	h.eachShown(func(i *eureka.InstanceInfo) {
		switch {
		case i.App == key.App && len(here) < maxWhyNames:
			here = append(here, i.ID())
		case i.ID() == key.ID && len(same) < near.Max:
			same = append(same, i.App+"/"+i.ID())
		}
		if i.App != last && len(apps) < maxWhyNames {
			last = i.App
			apps = append(apps, i.App)
		}
	})
	out := []string{}
	for _, id := range near.Closest(key.ID, here) {
		out = append(out, key.App+"/"+id)
	}
	out = append(out, same...)
	if len(here) == 0 {
		for _, app := range near.Closest(key.App, apps) {
			if !slices.ContainsFunc(same, func(s string) bool { return strings.HasPrefix(s, app+"/") }) {
				out = append(out, app)
			}
		}
	}
	return out[:min(len(out), near.Max)]
}

// Who says who did it, in words.
func (e *HistoryEvent) Who() string {
	switch e.By {
	case registry.ByClient.String():
		if e.From == "" {
			return "a client"
		}
		return "client " + e.From
	case registry.ByReplication.String(), registry.ByList.String():
		return "Java server " + e.From
	case registry.BySnapshot.String():
		return "the snapshot of " + e.Node
	case registry.ByNode.String():
		return "node " + e.Node
	default:
		return "node " + e.From
	}
}

func whyTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func whySeconds(s float64) string {
	return (time.Duration(s*1000) * time.Millisecond).Round(100 * time.Millisecond).String()
}
