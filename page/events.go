package page

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// Bounds of what is shown of the history.
const (
	eventsShown = 100 // on a page
	recentShown = 5   // on the overview
	ownShown    = 50  // of one instance
)

// eventView is one thing that happened, in words.
type eventView struct {
	Seq     uint64
	Time    time.Time
	Level   level
	App, ID string
	Href    string // of the instance's page
	What    string
	Who     string
	Detail  string
}

// eventViewOf puts an event of this node into words, for a page from which root leads to /.
func eventViewOf(e *history.Event, root string) eventView {
	v := eventView{
		Seq: e.Seq, Time: e.Time, App: e.Key.App, ID: e.Key.ID, Href: root + instanceLink(e.Key),
		Who: whoDid(e.By), Detail: e.Detail,
	}
	v.Level, v.What = whatHappened(e)
	if e.Silent > 0 {
		v.Detail = "last heartbeat " + ago(e.Silent) + " before, lease of " + ago(e.Term)
	}
	return v
}

func instanceLink(key registry.Key) string {
	return "page/instance?" + url.Values{"app": {key.App}, "id": {key.ID}}.Encode()
}

// whatHappened says what an event is, and how much attention it asks for.
func whatHappened(e *history.Event) (level, string) {
	switch e.Kind {
	case registry.EventRegistered:
		return fineLevel, "registered, " + statusWords(e.Status)
	case registry.EventKept:
		return "", "registered with older content, which was not taken"
	case registry.EventMetadata:
		return "", "new metadata"
	case registry.EventOverrideSet:
		return warnLevel, "override: " + statusWords(e.Overridden)
	case registry.EventOverrideRemoved:
		return fineLevel, "override removed, now " + statusWords(e.Status)
	case registry.EventCancelled:
		return badLevel, "cancelled"
	case registry.EventLeaseOver:
		return warnLevel, "lease over"
	case registry.EventHeld:
		return warnLevel, "held by self-preservation"
	case registry.EventEvicted:
		return badLevel, "removed, because its lease was over"
	case registry.EventJoined:
		return joined(e)
	case registry.EventAnswered:
		return "", "answered"
	case registry.Kinds:
	}
	return "", e.Kind.String()
}

// joined says what came from another node.
func joined(e *history.Event) (level, string) {
	switch {
	case e.Changed&registry.Cancelled != 0:
		return badLevel, "cancelled elsewhere"
	case e.Changed&registry.Registered != 0 && e.Changed&registry.Overridden != 0:
		return fineLevel, "taken over with its override, " + statusWords(cmp.Or(e.Status, "not listed"))
	case e.Changed&registry.Registered != 0:
		return fineLevel, "registered or changed elsewhere, " + statusWords(cmp.Or(e.Status, "not listed"))
	case e.Changed&registry.Overridden != 0 && e.Overridden != "":
		return warnLevel, "override elsewhere: " + statusWords(e.Overridden)
	case e.Changed&registry.Overridden != 0:
		return fineLevel, "override removed elsewhere, now " + statusWords(cmp.Or(e.Status, "not listed"))
	default:
		return fineLevel, "renewed elsewhere"
	}
}

// whoDid says who asked for a change, and by which way it came.
func whoDid(by registry.Origin) string {
	from := cmp.Or(by.From, "?")
	switch by.Way {
	case registry.ByClient:
		if by.From == "" {
			return "a client"
		}
		return "client " + hostOf(by.From)
	case registry.ByReplication:
		return "Java peer " + hostOf(from)
	case registry.ByBatch:
		return "through " + from
	case registry.ByAnswer:
		return "answer of " + from
	case registry.BySync:
		return "compared with " + from
	case registry.BySnapshot:
		return "own snapshot"
	case registry.ByList:
		return "list of " + from
	case registry.ByNode:
		return "this node"
	default:
		return from
	}
}

// byWhom is whoDid behind a verb.
func byWhom(by registry.Origin) string {
	switch by.Way {
	case registry.ByClient, registry.ByReplication, registry.ByNode:
		return "by " + whoDid(by)
	case registry.ByAnswer, registry.ByList, registry.BySnapshot:
		return "from the " + whoDid(by)
	case registry.ByBatch, registry.BySync:
	}
	return whoDid(by)
}

// hostOf returns an address without its port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// news are the kinds of events that are shown where there is no room for all. At most as
// many others are between two of them as there are peers.
func news() history.Kinds {
	return history.KindsOf(
		registry.EventRegistered, registry.EventMetadata, registry.EventOverrideSet, registry.EventOverrideRemoved,
		registry.EventCancelled, registry.EventLeaseOver, registry.EventEvicted, registry.EventJoined,
	)
}

// recentView is the last events, on the overview.
type recentView struct {
	Events []eventView
	Kept   bool // there is a history
}

func (p *Page) recent() recentView {
	if p.opts.History == nil {
		return recentView{}
	}
	v := recentView{Kept: true}
	events, _ := p.opts.History.Query(history.Filter{Kinds: news()}, 0, recentShown)
	for i := range events {
		v.Events = append(v.Events, eventViewOf(&events[i], ""))
	}
	return v
}

// changesView is a page of what happened.
type changesView struct {
	frame
	App, ID, Kind string
	Kinds         []string
	Events        []eventView
	Newest, Older string
	Kept          bool
}

func (p *Page) changes(r *http.Request) changesView {
	v := changesView{frame: p.frame("../", "Changes"), Kept: p.opts.History != nil}
	v.Here = "changes"
	if !v.Kept {
		return v
	}
	values := r.URL.Query()
	v.App, v.ID, v.Kind = clip(values.Get("app"), 1024), clip(values.Get("id"), 1024), clip(values.Get("kind"), 40)
	key := registry.NewKey(v.App, v.ID)
	filter := history.Filter{App: key.App, ID: v.ID}
	if v.App == "" {
		filter.ID = ""
	}
	for k := registry.EventRegistered; k < registry.Kinds; k++ {
		v.Kinds = append(v.Kinds, k.String())
	}
	if kind, ok := registry.ParseKind(v.Kind); ok {
		filter.Kinds = history.KindsOf(kind)
	}
	before, _ := strconv.ParseUint(values.Get("before"), 10, 64) //nolint:errcheck // else from the newest one on
	events, more := p.opts.History.Query(filter, before, eventsShown)
	for i := range events {
		v.Events = append(v.Events, eventViewOf(&events[i], "../"))
	}
	if more {
		values.Set("before", strconv.FormatUint(events[len(events)-1].Seq, 10))
		v.Older = "changes?" + values.Encode()
	}
	if before > 0 {
		values.Del("before")
		v.Newest = "changes?" + values.Encode()
	}
	return v
}

// lastOf returns the newest event of an instance of these kinds that brought part, if one
// is known yet.
func (p *Page) lastOf(key registry.Key, part registry.Bits, kinds ...registry.Kind) *history.Event {
	if p.opts.History == nil {
		return nil
	}
	filter := history.Filter{App: key.App, ID: key.ID, Kinds: history.KindsOf(append(kinds, registry.EventJoined)...)}
	events, _ := p.opts.History.Query(filter, 0, 4)
	for i := range events {
		if events[i].Kind != registry.EventJoined || events[i].Changed&part != 0 {
			return &events[i]
		}
	}
	return nil
}

// cameBy says who registered an instance, and through which node; "" if that is not known
// any more.
func (p *Page) cameBy(key registry.Key) string {
	if e := p.lastOf(key, registry.Registered, registry.EventRegistered); e != nil {
		return whoDid(e.By)
	}
	return ""
}
