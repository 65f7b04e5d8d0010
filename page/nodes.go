package page

import (
	"net/http"
	"slices"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/registry"
)

// Difference is an instance that stays different on a peer. A side that has nothing of it
// has the versions 0.
type Difference struct {
	Peer         string
	Key          registry.Key
	Ours, Theirs registry.Versions
}

// Setting is an option of the node as it is in force, without secrets.
type Setting struct{ Name, Value string }

// differencesView is what differs between this node and its peers.
type differencesView struct {
	frame
	Self    string
	Peers   []peerDifference
	Equal   bool
	Actions []actionView
	Done    string
}

type peerDifference struct {
	Name  string
	Level level
	Says  string
	More  int64 // beyond those listed
	Rows  []differenceRow
}

type differenceRow struct {
	App, ID, Link string
	Ours, Theirs  string
}

func (p *Page) differences(r *http.Request) differencesView {
	v := differencesView{frame: p.frame("../", "Differences"), Equal: true, Actions: p.nodeActions(r)}
	v.Here = "differences"
	v.Done = done(r.URL.Query().Get("done"))
	o := p.opts.Node.Overview()
	v.Self = o.Node
	all := p.opts.Node.Differences()
	for i := range o.Peers {
		peer := &o.Peers[i]
		d := peerDifference{Name: peer.Name, Level: fineLevel, Says: "has the same"}
		switch {
		case !peer.Available():
			d.Level, d.Says = badLevel, "can't be compared now: it is not reached"
			v.Equal = false
		case peer.Divergent > 0:
			d.Level, d.Says = warnLevel, count(peer.Divergent, "instance differs", "instances differ")
			v.Equal = false
		case peer.Pending()+peer.InFlight > 0:
			d.Says = "has the same, but for " + count(peer.Pending()+peer.InFlight, "change", "changes") + " on the way"
		}
		for _, diff := range all {
			if diff.Peer == peer.Name {
				d.Rows = append(d.Rows, differenceRow{
					App: diff.Key.App, ID: diff.Key.ID, Link: instanceLink(diff.Key),
					Ours: versionWords(&diff.Ours), Theirs: versionWords(&diff.Theirs),
				})
			}
		}
		d.More = max(0, peer.Divergent-int64(len(d.Rows)))
		v.Peers = append(v.Peers, d)
	}
	return v
}

// versionWords says what a node has of an instance.
func versionWords(v *registry.Versions) string {
	if v.Record == 0 && v.Override == 0 {
		return "nothing"
	}
	text := "registered"
	if !v.Live {
		text = "cancelled"
	}
	clock := func(version int64) string { return time.UnixMilli(version).UTC().Format("15:04:05.000Z") }
	text += " at " + clock(v.Record)
	switch {
	case v.Set:
		text += ", " + statusWords(v.OverrideStatus) + " by an override of " + clock(v.Override)
	case v.Override > 0:
		text += ", override removed at " + clock(v.Override)
	}
	return text
}

// configurationView is how the node is set up.
type configurationView struct {
	frame
	Settings []Setting
	Facts    []fact
}

func (p *Page) configuration() configurationView {
	v := configurationView{frame: p.frame("../", "Configuration"), Settings: slices.Clone(p.opts.Settings)}
	v.Here = "configuration"
	slices.SortFunc(v.Settings, func(a, b Setting) int { return compareNatural(a.Name, b.Name) })
	o := p.opts.Node.Overview()
	v.Facts = []fact{
		{"Node", o.Node},
		{"Cluster", o.Cluster},
		{"Version", o.Version},
		{"Clients use", serviceURL(&o)},
		{"Broker", brokerWords(&o)},
		{"Started", o.Started.UTC().Format("2006-01-02 15:04:05Z")},
		{"Entries", number(o.Entries) + ", with those that are remembered as cancelled or removed"},
	}
	return v
}

func brokerWords(o *api.Overview) string {
	if o.Broker.Connected {
		return "connected for " + roughly(span(o.Broker.For))
	}
	return "not connected for " + roughly(span(o.Broker.For)) + ": " + o.Broker.Trouble
}
