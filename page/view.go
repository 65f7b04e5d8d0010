package page

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
)

// pageSize is how many instances a page of the list has.
const pageSize = 100

// frame is what every page has around its content.
type frame struct {
	Root  string // the path from this page to /
	Title string
	Here  string // the entry of the navigation that this page is
	Node  string
	Level level
	Word  string // of its state
}

func (p *Page) frame(root, title string) frame {
	o := p.opts.Node.Overview()
	f := frame{Root: root, Title: title, Node: o.Node}
	f.Level, f.Word, _ = stateOf(&o)
	return f
}

// overviewView is the page at /.
type overviewView struct {
	frame
	State    stateView
	Pipeline pipelineView
	Regions  []api.RegionOverview
	Recent   recentView
	List     listView
}

func (p *Page) overview(r *http.Request) overviewView {
	p.feed.countOverdue()
	o := p.opts.Node.Overview()
	v := overviewView{frame: p.frame("", ""), List: p.listView(queryOf(r.URL.Query()))}
	v.Here = "overview"
	v.Recent = p.recent()
	v.State, v.Regions = p.stateView(&o), o.Regions
	v.Pipeline = p.feed.pipelineView(&o)
	return v
}

// stateView is the node at a glance.
type stateView struct {
	Level                 level
	Word, Reason, Meaning string
	Node, Cluster         string
	Version, Base         string
	Uptime                string
	Broker                *trouble
	Totals                totals
	Leases                leasesView
	Peers, Reached        int
	Lag                   float64
	LagPeer               string
	Missing               string // peers that are not reached
	PeersLevel            level
}

// leasesView is the renewals, and self-preservation in words.
type leasesView struct {
	api.LeasesOverview
	Renewed         int
	Share           int // of the expected ones that are renewed, in percent
	Mark            int // where self-preservation begins, in percent
	State, Why      string
	Late, LateApps  int
	CancelByCommand string
}

func (p *Page) stateView(o *api.Overview) stateView {
	v := stateView{Node: o.Node, Cluster: o.Cluster, Version: o.Version, Totals: p.list.sums()}
	v.Level, v.Word, v.Reason = stateOf(o)
	v.Meaning = meaning(v.Word, p.opts.Node.Readiness().Reads)
	v.Base = serviceURL(o)
	if !o.Started.IsZero() {
		v.Uptime = roughly(time.Since(o.Started))
	}
	if !o.Broker.Connected {
		v.Broker = &trouble{
			badLevel, "No connection to the broker for " + ago(span(o.Broker.For)) + ": nothing is replicated.",
			cmp.Or(o.Broker.Trouble, "It is tried again and again."),
		}
	}
	v.Leases = leasesView{
		LeasesOverview: o.Leases, Renewed: o.Leases.Expected - o.Leases.Missing, Share: 100,
		Mark: int(o.Leases.Threshold * 100), Late: v.Totals.Late, LateApps: v.Totals.LateApps,
	}
	if o.Leases.Expected > 0 {
		v.Leases.Share = 100 * v.Leases.Renewed / o.Leases.Expected
	}
	v.Leases.State, v.Leases.Why = preservation(&o.Leases, v.Totals.Late, v.Totals.LateApps)
	v.Leases.CancelByCommand = "curl -X DELETE " + v.Base + "apps/APP/INSTANCE"
	v.Peers, v.PeersLevel = len(o.Peers), fineLevel
	var missing []string
	for i := range o.Peers {
		peer := &o.Peers[i]
		if peer.Available() {
			v.Reached++
		} else {
			missing = append(missing, peer.Name)
		}
		if peer.Lag > v.Lag {
			v.Lag, v.LagPeer = peer.Lag, peer.Name
		}
	}
	if v.Reached < v.Peers {
		v.PeersLevel = badLevel
		const named = 5
		v.Missing = "not reached: " + strings.Join(missing[:min(len(missing), named)], ", ")
		if len(missing) > named {
			v.Missing += ", …"
		}
	}
	return v
}

// roughly is ago without the seconds that would change all the time.
func roughly(d time.Duration) string {
	if d < time.Minute {
		return "less than a minute"
	}
	return ago(d.Truncate(time.Minute))
}

// serviceURL returns the clients' setting, with a slash at its end.
func serviceURL(o *api.Overview) string {
	return strings.TrimSuffix(cmp.Or(o.URL, "http://HOST:PORT/eureka"), "/") + "/"
}

// URLOf returns where the page of a node is, from its service URL; "" if it has none that a
// browser can open.
func URLOf(service string) string {
	u, err := url.Parse(service)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	root := strings.TrimSuffix(strings.TrimSuffix(service, "/"), "/v2")
	return strings.TrimSuffix(root, "/eureka") + "/"
}

// pipelineView is the pipelines to all peers.
type pipelineView struct {
	Peers   []peerView
	Cluster string
}

// peerView is the pipeline to one peer.
type peerView struct {
	api.PeerOverview
	Page    string // of the peer
	Level   level
	Touch   string
	Trouble *trouble

	Queue, Order fill
	Gather       *gatherView // the batch that is being gathered; nil: none
	Cut, Sent    []bool      // places for batches, taken or free
	Replies      []replyView
	Lost         []replyView // what was dropped, and why
	Rate         string      // of answers, while somebody looks
	Spark        string      // points of a line, 60 × 20; "": too early
}

// fill is how full a queue is.
type fill struct {
	Count int
	Width int // of 100, by the logarithm
	Of    int
}

func newFill(count, of int) fill {
	f := fill{Count: count, Of: of}
	if count > 0 && of > 0 {
		f.Width = min(100, max(2, int(100*math.Log1p(float64(count))/math.Log1p(float64(of)))))
	}
	return f
}

type gatherView struct {
	Tasks, Batch int
	Age, Delay   float64 // seconds
	Left         float64
	Due          bool // it would leave, but for the reason
	Reason       string
}

type replyView struct {
	Level   level
	Count   uint64
	Name    string
	Meaning string
}

// Usual reports whether the reply is shown also where there was none yet.
func (v replyView) Usual() bool { return v.Name == "ok" || v.Name == "404" || v.Name == "409" }

// Number is the count as people write it.
func (v replyView) Number() string { return number(v.Count) }

func (p *Page) peerView(o *api.Overview, peer *api.PeerOverview) peerView {
	v := peerView{PeerOverview: *peer, Page: URLOf(peer.URL)}
	v.Level, v.Touch = inTouch(peer)
	if t, is := troubleOf(peer); is {
		v.Trouble = &t
		v.Level = t.Level
	}
	line := o.Pipeline
	v.Queue = newFill(peer.AcceptorQueue, line.Queue)
	v.Order = newFill(peer.ProcessingOrder+peer.Retrying, max(line.Queue, line.Batch))
	if waits := peer.ProcessingOrder + peer.Retrying; waits > 0 {
		v.Gather = gathering(peer, line, waits)
	}
	all := line.InFlight
	if peer.Kind == api.KindEureka {
		all = 1
	}
	v.Cut = places(peer.BatchWorkQueue, all)
	v.Sent = places(max(0, peer.Batches-peer.BatchWorkQueue), all)
	a := peer.Answers
	v.Replies = []replyView{
		{fineLevel, a["200"], "ok", "taken"},
		{fineLevel, a["404"], "404", "not there, sent whole"},
		{fineLevel, a["409"], "409", "newer there, joined here"},
		{badLevel, a["400"], "400", "not readable, given up"},
		{warnLevel, a["other"], "other", "sent again"},
	}
	for _, reason := range []string{"overflowed", "malformed", "peer_gone", "shutdown", "other"} {
		if n := peer.Dropped[reason]; n > 0 {
			v.Lost = append(v.Lost, replyView{warnLevel, n, reason, droppedBecause(reason)})
		}
	}
	return v
}

func gathering(peer *api.PeerOverview, line api.PipelineOverview, waits int) *gatherView {
	g := &gatherView{Tasks: min(waits, line.Batch), Batch: line.Batch, Age: peer.Oldest, Delay: line.Delay}
	g.Left = max(0, g.Delay-g.Age)
	if g.Left == 0 {
		g.Due = true
		switch {
		case peer.Waiting != "":
			g.Reason = "held back for " + fine(peer.WaitLeft)
		case peer.Batches >= line.InFlight:
			g.Reason = "waits for a free place"
		default:
			g.Reason = "leaves now"
		}
	}
	return g
}

// places returns n taken of all places.
func places(n, all int) []bool {
	out := make([]bool, max(n, all))
	for i := range min(n, len(out)) {
		out[i] = true
	}
	return out
}

// droppedBecause says why actions left the pipeline unsent.
func droppedBecause(reason string) string {
	switch reason {
	case "overflowed":
		return "too many waited; a comparison brings them"
	case "malformed":
		return "the peer can't read them"
	case "peer_gone":
		return "the peer was away for too long"
	case "shutdown":
		return "this node stopped first"
	default:
		return "given up"
	}
}

// listView is a page of the list of instances, and the form that chooses them.
type listView struct {
	Query    query
	Totals   totals
	Choices  []choice // of statuses
	Groups   []groupView
	Found    int
	From, To int // from 1
	Prev     string
	Next     string
	Pages    int
	Page     int
	Empty    bool // nothing is registered at all
	Base     string
	Held     bool // by self-preservation
	Reads    bool
	Stamp    uint64 // see list.stamp

	HostName, HostPort string
}

// Filtered reports whether only a part of the list is wanted.
func (v listView) Filtered() bool { return !v.Query.isAll() }

// StatusValue is the value of the parameter status.
func (v listView) StatusValue() string {
	if v.Query.Trouble {
		return "trouble"
	}
	return string(v.Query.Status)
}

// WithoutApp shows all applications.
func (v listView) WithoutApp() string {
	q := v.Query
	q.App = ""
	return q.link(1)
}

type choice struct {
	Name  string
	Count int
	Link  string
	Is    bool
	Level level
}

// groupView is the instances of one application that follow each other, or those that
// need a look, of all applications.
type groupView struct {
	App       string
	Total     int
	Link      string // shows this application alone
	Troubled  bool
	Instances []instanceView
}

type instanceView struct {
	App, ID, Link, Address, Zone string
	Status                       eureka.Status
	Level                        level
	Overridden                   bool
	By                           string // who registered it
	Lease                        leaseView
}

// Words is the status as people say it.
func (v instanceView) Words() string { return statusWords(v.Status) }

// StatusLevel is that of the status alone, whatever the lease.
func (v instanceView) StatusLevel() level { return statusLevel(v.Status) }

// leaseView is how far a lease has run, in seconds.
type leaseView struct {
	Known  bool
	Silent float64
	Left   float64
	Term   float64
	Over   bool
	Low    bool    // it ends soon
	Late   float64 // since it is over
}

// queryOf reads what a request wants to see.
func queryOf(values url.Values) (q query, page int) {
	const longest = 200
	q.Text = strings.Join(strings.Fields(clip(values.Get("q"), longest)), " ")
	q.App = eureka.Upper(clip(values.Get("app"), 1024))
	q.Zone = clip(values.Get("zone"), longest)
	switch status := values.Get("status"); status {
	case "":
	case "trouble":
		q.Trouble = true
	default:
		if s, ok := eureka.ParseStatus(status); ok {
			q.Status = s
		}
	}
	page, _ = strconv.Atoi(values.Get("page")) //nolint:errcheck // what is no number is the first page
	return q, max(1, page)
}

func clip(s string, longest int) string { return s[:min(len(s), longest)] }

// link returns where a query is shown, from /.
func (q query) link(page int) string {
	values := url.Values{}
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	set("q", q.Text)
	set("app", q.App)
	set("zone", q.Zone)
	set("status", string(q.Status))
	if q.Trouble {
		set("status", "trouble")
	}
	if page > 1 {
		set("page", strconv.Itoa(page))
	}
	if len(values) == 0 {
		return "./"
	}
	return "./?" + values.Encode()
}

func (p *Page) listView(q query, page int) listView {
	o := p.opts.Node.Overview()
	v := listView{
		Query: q, Stamp: p.list.stamp(), Totals: p.list.sums(), Held: o.Leases.SelfPreservation, Base: serviceURL(&o),
	}
	v.Reads = p.opts.Node.Readiness().Reads
	v.Empty = v.Totals.Instances == 0
	if u, err := url.Parse(v.Base); err == nil {
		v.HostName, v.HostPort = u.Hostname(), cmp.Or(u.Port(), "80")
	}
	found := p.list.find(q, page-1, pageSize)
	v.Found, v.From, v.To = found.Found, found.From+1, found.From+len(found.Shown)
	v.Page, v.Pages = found.From/pageSize+1, max(1, (found.Found+pageSize-1)/pageSize)
	if v.Page > 1 {
		v.Prev = q.link(v.Page - 1)
	}
	if v.Page < v.Pages {
		v.Next = q.link(v.Page + 1)
	}
	v.Choices = choices(q, v.Totals)
	for n, i := range found.Shown {
		troubled := found.From+n < found.Troubled
		last := len(v.Groups) - 1
		switch {
		case troubled && last < 0:
			v.Groups = append(v.Groups, groupView{Total: found.Troubled, Troubled: true})
			last++
		case troubled:
		case last < 0 || v.Groups[last].App != i.App:
			of := q
			of.App = i.App
			v.Groups = append(v.Groups, groupView{App: i.App, Total: p.list.size(i.App), Link: of.link(1)})
			last++
		}
		v.Groups[last].Instances = append(v.Groups[last].Instances, p.instanceView(i))
	}
	return v
}

func choices(q query, t totals) []choice {
	of := func(name, label string, count int, l level) choice {
		as := q
		as.Trouble, as.Status = name == "trouble", ""
		if name != "trouble" {
			as.Status = eureka.Status(name)
		}
		return choice{
			Name: label, Count: count, Link: as.link(1), Level: l, Is: as.Trouble == q.Trouble && as.Status == q.Status,
		}
	}
	out := []choice{of("", "all", t.Instances, "")}
	if n := t.Troubled + t.Late; n > 0 {
		out = append(out, of("trouble", "need a look", n, warnLevel))
	}
	for _, s := range t.Statuses {
		out = append(out, of(string(s.Status), statusWords(s.Status), s.Count, statusLevel(s.Status)))
	}
	return out
}

// statusWords writes a status as people say it.
func statusWords(s eureka.Status) string {
	return strings.ToLower(strings.ReplaceAll(string(s), "_", " "))
}

func statusLevel(s eureka.Status) level {
	switch s {
	case eureka.StatusUp:
		return fineLevel
	case eureka.StatusDown, eureka.StatusOutOfService:
		return badLevel
	default:
		return warnLevel
	}
}

func (p *Page) instanceView(i *eureka.InstanceInfo) instanceView {
	key := keyOf(i)
	v := instanceView{
		App: key.App, ID: key.ID, Address: addressOf(i), Zone: zoneOf(i),
		Status: i.Status, Level: statusLevel(i.Status),
		Overridden: i.OverriddenStatus != eureka.StatusUnknown,
		Link:       instanceLink(key), By: p.cameBy(key),
	}
	if lease, ok := p.reg.Lease(key); ok { // it may be gone since
		term := lease.Silent + lease.Left
		v.Lease = leaseView{
			Known: true, Silent: lease.Silent.Seconds(), Left: max(0, lease.Left).Seconds(), Term: term.Seconds(),
			Over: lease.Left < 0, Low: lease.Left < term/3, Late: max(0, -lease.Left).Seconds(),
		}
		if v.Lease.Over && v.Level == fineLevel {
			v.Level = warnLevel
		}
	}
	return v
}

// addressOf returns where an instance is reached.
func addressOf(i *eureka.InstanceInfo) string {
	host := cmp.Or(i.IPAddr, i.HostName)
	switch {
	case i.Port.Enabled && i.Port.Number > 0:
		return host + ":" + strconv.Itoa(i.Port.Number)
	case i.SecurePort.Enabled && i.SecurePort.Number > 0:
		return host + ":" + strconv.Itoa(i.SecurePort.Number)
	default:
		return host
	}
}
