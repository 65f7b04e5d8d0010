package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
)

// Times of the feed.
const (
	// Tick is the least time between two looks at the node, and so between two updates of a
	// page. While something is on its way to a peer, it is the time between them: what queues
	// hold is in no history.
	Tick = 250 * time.Millisecond
	// StillTick is the time between two looks while nothing happens and nothing is on its way.
	// It is for what changes without an event, such as how long a peer is silent.
	StillTick = time.Second
	// manyTick is the same for the pipelines to more than manyPeers.
	manyTick  = time.Second
	manyPeers = 8
	// overdueTick is the time between two passes over all leases. A pass takes at most
	// one part in overdueShare of the time.
	overdueTick  = 2 * time.Second
	overdueShare = 50
	// keepAlive is the longest time without a word to a page.
	keepAlive = 15 * time.Second
	// writeWait is how long a page may take to read an update.
	writeWait = 10 * time.Second
	// forgetAfter is how long the list is kept after the last page was closed.
	forgetAfter = time.Minute
	// sparkSamples are the seconds of the line of answers.
	sparkSamples = 60
)

// section is a piece of the page, as an event of the stream.
type section struct {
	name    string
	version uint64 // of the update that changed it last
	event   []byte
}

// update is the state of all sections. It is never changed.
type update struct {
	version  uint64
	sections []section
	next     chan struct{} // closed when there is a newer one
}

// feed renders what changes, once for all open pages, while there are any.
type feed struct {
	page *Page
	now  atomic.Pointer[update]
	open atomic.Int64
	came chan struct{} // one slot: a page was opened
	done chan struct{} // closed when Run ends

	refused prometheus.Counter
	renders prometheus.Counter
	counts  sync.Mutex // over countOverdue
	counted time.Time
	took    time.Duration

	// Owned by Run.
	last    uint64    // event that was shown
	drawn   time.Time // when the pipelines were rendered last
	through uint64    // actions that the pipelines have taken and given back

	rates   sync.Mutex
	samples map[string]*sampled // by peer; empty while nobody looks
}

// sampled is the answers of a peer, a second each.
type sampled struct {
	at    time.Time
	total uint64
	rate  []float64
}

func newFeed(p *Page) *feed {
	f := &feed{
		page: p, came: make(chan struct{}, 1), done: make(chan struct{}), samples: map[string]*sampled{},
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_page_refused_total",
			Help: "Open pages that are not kept up to date, because too many are.",
		}),
		renders: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_page_updates_total", Help: "Updates made for open pages, each once for all of them.",
		}),
	}
	f.now.Store(&update{next: make(chan struct{})})
	return f
}

func (f *feed) register(to prometheus.Registerer) error {
	return errors.Join(to.Register(f.refused), to.Register(f.renders), to.Register(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_page_open", Help: "Pages that are open and kept up to date.",
		}, func() float64 { return float64(f.open.Load()) })))
}

// Run keeps open pages up to date until ctx ends, and ends their streams then. Its owner
// calls it once. While no page is open it does nothing.
func (p *Page) Run(ctx context.Context) {
	f := p.feed
	defer close(f.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.came:
		}
		f.watch(ctx)
		if ctx.Err() != nil {
			return
		}
	}
}

// watch looks at the node until no page is open, and none was for a while.
func (f *feed) watch(ctx context.Context) {
	var looked time.Time
	for ctx.Err() == nil {
		if f.open.Load() == 0 {
			if f.sleep(ctx, forgetAfter, f.came, nil) && f.open.Load() == 0 {
				f.forget()
				return
			}
			continue
		}
		if rest := Tick - time.Since(looked); rest > 0 {
			f.sleep(ctx, rest, nil, nil)
			continue
		}
		var happened <-chan struct{} // taken before the look, so that nothing is missed
		if h := f.page.opts.History; h != nil {
			happened = h.Wait("")
		}
		looked = time.Now()
		if moves := f.look(); !moves && happened != nil {
			f.sleep(ctx, StillTick, f.came, happened)
		}
	}
}

// sleep waits for a time, and reports whether it is over: an event, an opened page or the end
// of ctx wakes it.
func (f *feed) sleep(ctx context.Context, d time.Duration, opened, happened <-chan struct{}) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
		return true
	case <-opened:
	case <-happened:
	case <-ctx.Done():
	}
	return false
}

// forget frees what was kept for open pages.
func (f *feed) forget() {
	f.page.list.forget()
	f.page.shared.forget()
	f.rates.Lock()
	clear(f.samples)
	f.rates.Unlock()
	f.now.Store(&update{version: f.now.Load().version, next: f.now.Load().next})
}

// look renders what has changed, and wakes the pages. It reports whether the pipelines move.
func (f *feed) look() (moves bool) {
	f.countOverdue()
	o := f.page.opts.Node.Overview()
	f.sample(&o)
	moves = f.moves(&o)
	was := f.now.Load()
	is := &update{version: was.version + 1, next: make(chan struct{})}
	changed := false
	put := func(name string, event func() ([]byte, error)) {
		before := find(was, name)
		data, err := event()
		switch {
		case err != nil:
			f.page.log.Error("page not rendered", "page", name, "err", err)
		case before != nil && bytes.Equal(before.event, data):
			is.sections = append(is.sections, *before)
			return
		default:
			is.sections = append(is.sections, section{name, is.version, data})
			changed = true
		}
	}
	put("state", func() ([]byte, error) { return f.event("state", f.page.stateView(&o)) })
	before := find(was, "pipeline")
	if len(o.Peers) > manyPeers && before != nil && time.Since(f.drawn) < manyTick {
		is.sections = append(is.sections, *before)
	} else {
		f.drawn = time.Now()
		put("pipeline", func() ([]byte, error) { return f.event("pipeline", f.pipelineView(&o)) })
	}
	if len(o.Regions) > 0 {
		put("regions", func() ([]byte, error) { return f.event("regions", o.Regions) })
	}
	if h := f.page.opts.History; h != nil {
		if before, last := find(was, "recent"), h.Last(); before != nil && last == f.last {
			is.sections = append(is.sections, *before)
		} else {
			f.last = last
			put("recent", func() ([]byte, error) { return f.event("recent", f.page.recent()) })
		}
	}
	put("list", func() ([]byte, error) {
		return fmt.Appendf(nil, "event: list\ndata: %d\n\n", f.page.list.stamp()), nil
	})
	if !changed {
		return moves
	}
	f.renders.Inc()
	f.now.Store(is)
	close(was.next)
	return moves
}

// moves reports whether something is on its way to a peer, or was since the last look.
func (f *feed) moves(o *api.Overview) bool {
	through, waits := uint64(0), 0
	for i := range o.Peers {
		peer := &o.Peers[i]
		through += peer.Accepted + peer.Acknowledged
		waits += peer.Pending() + peer.InFlight
	}
	same := through == f.through
	f.through = through
	return waits > 0 || !same
}

func find(u *update, name string) *section {
	for i := range u.sections {
		if u.sections[i].name == name {
			return &u.sections[i]
		}
	}
	return nil
}

// event renders a section as an event: each line of its HTML is a line of data.
func (f *feed) event(name string, data any) ([]byte, error) {
	html, err := f.page.execute(name, data)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(html)+256)
	out = append(append(append(out, "event: "...), name...), '\n')
	for line := range bytes.Lines(html) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			out = append(append(append(out, "data: "...), line...), '\n')
		}
	}
	return append(out, '\n'), nil
}

// countOverdue counts the leases that are over, unless that was done just now.
func (f *feed) countOverdue() {
	f.counts.Lock()
	defer f.counts.Unlock()
	began := time.Now()
	if !f.counted.IsZero() && began.Sub(f.counted) < max(overdueTick, overdueShare*f.took) {
		return
	}
	f.page.list.countOverdue()
	f.counted, f.took = time.Now(), time.Since(began)
}

// sample notes how many answers each peer has given, once a second.
func (f *feed) sample(o *api.Overview) {
	f.rates.Lock()
	defer f.rates.Unlock()
	now := time.Now()
	there := make(map[string]bool, len(o.Peers))
	for i := range o.Peers {
		peer := &o.Peers[i]
		there[peer.Name] = true
		var total uint64
		for _, n := range peer.Answers {
			total += n
		}
		s := f.samples[peer.Name]
		if s == nil || total < s.total {
			f.samples[peer.Name] = &sampled{at: now, total: total}
			continue
		}
		elapsed := now.Sub(s.at)
		if elapsed < time.Second {
			continue
		}
		s.rate = append(s.rate, float64(total-s.total)/elapsed.Seconds())
		if len(s.rate) > sparkSamples {
			s.rate = s.rate[len(s.rate)-sparkSamples:]
		}
		s.at, s.total = now, total
	}
	for name := range f.samples {
		if !there[name] {
			delete(f.samples, name)
		}
	}
}

// pipelineView is the pipelines to all peers, with what was sampled of them.
func (f *feed) pipelineView(o *api.Overview) pipelineView {
	v := pipelineView{Cluster: o.Cluster}
	f.rates.Lock()
	defer f.rates.Unlock()
	for i := range o.Peers {
		peer := f.page.peerView(o, &o.Peers[i])
		if s := f.samples[peer.Name]; s != nil && len(s.rate) > 0 {
			peer.Rate = strconv.FormatFloat(math.Round(s.rate[len(s.rate)-1]), 'f', 0, 64)
			peer.Spark = spark(s.rate)
		}
		v.Peers = append(v.Peers, peer)
	}
	return v
}

// spark returns the points of a line in a field of 60 × 20, the newest at the right.
func spark(rate []float64) string {
	top := 1.0
	for _, r := range rate {
		top = max(top, r)
	}
	var points strings.Builder
	for i, r := range rate {
		fmt.Fprintf(&points, "%d,%.1f ", sparkSamples-len(rate)+i, 19-18*r/top)
	}
	return strings.TrimSpace(points.String())
}

// live answers with the stream of a page that is open.
func (p *Page) live(w http.ResponseWriter, r *http.Request) {
	f := p.feed
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	if f.open.Add(1) > int64(p.opts.MaxLive) {
		f.open.Add(-1)
		f.refused.Inc()
		w.Header().Set("Retry-After", "15")
		answer(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8",
			[]byte("too many pages are live; this one is not"))
		return
	}
	defer f.open.Add(-1)
	select {
	case f.came <- struct{}{}:
	default:
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		p.log.Debug("read deadline not set", "err", err) // the browser opens another stream later
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies of nginx pass it on at once
	header.Set("X-Content-Type-Options", "nosniff")
	f.stream(r.Context(), w, control)
}

// stream writes each newest state of the sections until the page is closed. A page that
// reads slowly misses updates, and nothing is kept for it.
func (f *feed) stream(ctx context.Context, w http.ResponseWriter, control *http.ResponseController) {
	send := func(b []byte) bool {
		err := control.SetWriteDeadline(time.Now().Add(writeWait))
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			return false
		}
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !send([]byte("retry: 2000\n\n")) {
		return
	}
	quiet := time.NewTimer(keepAlive)
	defer quiet.Stop()
	var sent uint64
	var out []byte
	for {
		u := f.now.Load()
		out = out[:0]
		for i := range u.sections {
			if u.sections[i].version > sent {
				out = append(out, u.sections[i].event...)
			}
		}
		sent = u.version
		if len(out) > 0 {
			if !send(out) {
				return
			}
			quiet.Reset(keepAlive)
		}
		select {
		case <-u.next:
		case <-quiet.C:
			if !send([]byte(": still here\n\n")) {
				return
			}
			quiet.Reset(keepAlive)
		case <-f.done:
			return
		case <-ctx.Done():
			return
		}
	}
}
