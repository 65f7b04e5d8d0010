package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
)

// Times and bounds of GET /v1/watch.
const (
	// DefaultMaxWatchers is how many requests may wait for changes at a time: watchers, and
	// deltas with wait.
	DefaultMaxWatchers = 20_000
	// watchAlive is the longest time without a word to a watcher.
	watchAlive = 15 * time.Second
	// watchWait is how long a watcher may take to read what was sent. Nothing is kept for
	// it: one that takes longer is cut off.
	watchWait = 10 * time.Second
	// watchListWait is the same for a whole list.
	watchListWait = WriteTimeout
	// watchPause is the least time between two looks of a watcher at what is new. What
	// comes in between goes out together.
	watchPause = 20 * time.Millisecond
	// watchBatch is how many events are looked at for one write.
	watchBatch = 256
	// retryAfter is how long a client waits that finds no room, in seconds.
	retryAfter = "15"
)

// streams are the requests that wait for changes.
type streams struct {
	max   int64
	open  atomic.Int64
	ended chan struct{} // closed by Handler.EndStreams
	once  sync.Once

	resets, cut *prometheus.CounterVec
	refused     prometheus.Counter
	gauges      []prometheus.Collector
}

func newStreams(most int) *streams {
	counter := func(name, help, label string) *prometheus.CounterVec {
		opts := prometheus.CounterOpts{Name: "registryd_watch_" + name, Help: help}
		return prometheus.NewCounterVec(opts, []string{label})
	}
	s := &streams{
		max: int64(most), ended: make(chan struct{}),
		resets: counter("resets_total", "Whole lists sent to watchers, by reason: the first one, an id that is not "+
			"of this node's life, or events that have left the history.", "reason"),
		cut: counter("ended_total", "Watchers that have ended, by reason: gone, slow, or the node ends.", "reason"),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_watch_refused_total", Help: "Requests that found no room to wait for changes.",
		}),
	}
	gauge := func(name, help string, get func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "registryd_watch_" + name, Help: help}, get)
	}
	s.gauges = []prometheus.Collector{
		gauge("open", "Requests that wait for changes: watchers, and deltas with wait.",
			func() float64 { return float64(s.open.Load()) }),
		gauge("max_open", "Bound of these requests.", func() float64 { return float64(most) }),
	}
	for _, reason := range []string{resetFirst, resetForeign, resetLost} {
		s.resets.WithLabelValues(reason)
	}
	for _, reason := range []string{endGone, endSlow, endNode} {
		s.cut.WithLabelValues(reason)
	}
	return s
}

// Why a watcher gets the whole list, and why it ends.
const (
	resetFirst   = "first"
	resetForeign = "foreign_id"
	resetLost    = "lost"

	endGone = "gone"
	endSlow = "slow"
	endNode = "node"
)

func (s *streams) register(to prometheus.Registerer) error {
	errs := []error{to.Register(s.resets), to.Register(s.cut), to.Register(s.refused)}
	for _, g := range s.gauges {
		errs = append(errs, to.Register(g))
	}
	return errors.Join(errs...)
}

// enter takes a place. Whoever gets one gives it back with leave.
func (s *streams) enter() bool {
	if s.open.Add(1) > s.max {
		s.open.Add(-1)
		s.refused.Inc()
		return false
	}
	return true
}

func (s *streams) leave() { s.open.Add(-1) }

// EndStreams ends all requests that wait for changes. A server that stops waits for its
// requests, so its owner calls this first. Any goroutine may call it, also again.
func (h *Handler) EndStreams() { h.streams.once.Do(func() { close(h.streams.ended) }) }

// refuseStream answers if nothing more can wait for changes.
func (h *Handler) refuseStream(w http.ResponseWriter) int {
	w.Header().Set("Retry-After", retryAfter)
	return text(w, http.StatusServiceUnavailable, fmt.Sprintf("more than %d requests wait for changes", h.streams.max))
}

// watch answers GET /v1/watch?app= with server-sent events: the whole list, then each
// change. A Last-Event-ID of this node's life continues after that event, for as long as
// the history has those that follow.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) int {
	app, err := watchedApp(r.URL.RawQuery)
	now := h.opts.Node.Readiness()
	switch {
	case h.opts.History == nil:
		return empty(w, http.StatusNotFound)
	case err != nil:
		return text(w, http.StatusBadRequest, err.Error())
	case !now.Reads || now.Empty:
		w.Header().Set("Retry-After", retryAfter)
		return text(w, http.StatusServiceUnavailable, "the lists of this node are not complete yet: "+now.State)
	case !h.streams.enter():
		return h.refuseStream(w)
	}
	defer h.streams.leave()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies of nginx pass it on at once
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return http.StatusOK
	}
	s := &watcher{handler: h, app: app, w: w, r: r, control: http.NewResponseController(w)}
	s.control.SetReadDeadline(time.Time{}) //nolint:errcheck // Then it ends sooner, and comes back.
	defer h.fetchers.gone(r, s.what(), app)
	h.streams.cut.WithLabelValues(s.run(r.Context(), r.Header.Get("Last-Event-ID"))).Inc()
	return http.StatusOK
}

// watchedApp reads the query of a watch.
func watchedApp(query string) (app string, err error) {
	given, err := parameters(query, "", "app")
	return eureka.Upper(single(given["app"])), err
}

// watcher is one request that watches.
type watcher struct {
	handler *Handler
	app     string // empty: all
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	at      uint64 // the last event that it knows
	buffer  []byte
	sent    time.Time
	err     error // of the last write
}

// run sends until the watcher is gone, and returns why it ended.
func (s *watcher) run(ctx context.Context, lastID string) string {
	changed := s.handler.opts.History
	if reason := s.resume(lastID); reason != "" {
		if !s.reset(reason) {
			return s.why()
		}
	}
	alive := time.NewTimer(watchAlive)
	defer alive.Stop()
	for {
		woken := changed.Wait(s.app)
		moved, ok := s.news()
		if !ok {
			return s.why()
		}
		if moved {
			alive.Reset(watchAlive)
			continue
		}
		select {
		case <-woken:
			s.pause(ctx)
		case <-alive.C:
			if !s.stillHere() {
				return s.why()
			}
			alive.Reset(watchAlive)
		case <-s.handler.streams.ended:
			return endNode
		case <-ctx.Done():
			return endGone
		}
	}
}

// why tells why nothing can be sent any more.
func (s *watcher) why() string {
	if errors.Is(s.err, os.ErrDeadlineExceeded) {
		return endSlow
	}
	return endGone
}

// pause lets a burst gather. The first change after a while goes out at once.
func (s *watcher) pause(ctx context.Context) {
	left := watchPause - time.Since(s.sent)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// resume goes on after the event of an id. It returns the reason where that can't be.
func (s *watcher) resume(id string) string {
	if id == "" {
		return resetFirst
	}
	life, number, _ := strings.Cut(id, ".")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || life != s.handler.start || seq > s.handler.opts.History.Last() {
		return resetForeign
	}
	s.at = seq
	return ""
}

// news sends the next events. moved is false if there are none. After a loss it sends the
// whole list.
func (s *watcher) news() (moved, ok bool) {
	filter := history.Filter{App: s.app, Kinds: changeKinds}
	events, next, there := s.handler.opts.History.After(filter, s.at, watchBatch)
	if !there {
		return true, s.reset(resetLost)
	}
	if next == s.at {
		return false, true
	}
	s.at = next
	s.buffer = s.buffer[:0]
	for i := range events {
		if made, current := s.handler.changes.get(&events[i]); current {
			s.buffer = append(s.buffer, made.frame...)
		}
	}
	if len(s.buffer) == 0 {
		return true, true
	}
	ok = s.send(s.buffer, watchWait)
	if cap(s.buffer) > maxPooled {
		s.buffer = nil
	}
	return true, ok
}

// send writes and flushes, and waits for as long as that may take.
func (s *watcher) send(b []byte, wait time.Duration) bool {
	return s.until(wait) && s.write(b) && s.flush()
}

// until sets how long writes may take from now on.
func (s *watcher) until(wait time.Duration) bool {
	if err := s.control.SetWriteDeadline(time.Now().Add(wait)); !errors.Is(err, http.ErrNotSupported) {
		s.err = err
	}
	return s.err == nil
}

func (s *watcher) what() reads {
	if s.app != "" {
		return watchesApp
	}
	return watchesAll
}

func (s *watcher) write(b []byte) bool {
	_, s.err = s.w.Write(b)
	return s.err == nil
}

func (s *watcher) flush() bool {
	s.sent = time.Now()
	s.err = s.control.Flush()
	if s.err == nil {
		s.handler.fetchers.served(s.r, s.what(), s.app, s.at)
	}
	return s.err == nil
}

// stillHere sends a comment, and the id from which to go on, without an event.
func (s *watcher) stillHere() bool {
	return s.send(append(s.handler.changes.appendID([]byte(": still here\n"), s.at), '\n'), watchWait)
}

// reset sends the whole list, as of an event that is known then.
func (s *watcher) reset(reason string) bool {
	h := s.handler
	h.streams.resets.WithLabelValues(reason).Inc()
	s.at = h.opts.History.Last() // what comes after this and before the list is sent again
	head := append(h.changes.appendID(nil, s.at), "event: reset\ndata: "...)
	form := eureka.Form{Format: eureka.JSON}
	if s.app != "" {
		list := eureka.Applications{Version: "1", Applications: []eureka.Application{}}
		if app, ok := h.reg.Application(s.app); ok {
			list.Applications = append(list.Applications, app)
		}
		var counts eureka.StatusCounts
		for _, one := range list.Applications {
			for _, i := range one.Instances {
				counts.Add(i.Status)
			}
		}
		list.HashCode = counts.HashCode()
		body := append(form.AppendApplications(head, list), "\n\n"...)
		if !h.sending.take(len(body)) {
			h.metrics.refusedLists.Inc()
			return false
		}
		defer h.sending.give(len(body))
		return s.send(body, watchListWait)
	}
	list := h.local.get(variant{form: form})
	if !list.readers.enter(h.sending, list.size) {
		h.metrics.refusedLists.Inc()
		return false
	}
	defer list.readers.leave(h.sending)
	ok := s.until(watchListWait) && s.write(head)
	for _, chunk := range list.chunks {
		ok = ok && s.write(chunk)
	}
	return ok && s.write([]byte("\n\n")) && s.flush()
}
