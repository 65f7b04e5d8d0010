package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// maxScrapes is how many requests for /metrics are answered at a time. Others get 503.
const maxScrapes = 16

// sampleInterval is the least time between two log lines about one kind of refusal.
// All refusals are counted.
const sampleInterval = time.Minute

// Handler serves the HTTP of one node. Any goroutine may use it; it starts none.
type Handler struct {
	reg     *registry.Registry
	opts    Options
	log     *slog.Logger
	metrics *metrics

	lists     lists      // for readers that name no regions
	local     *listCache // of the local instances, for watchers
	changes   changes    // as watchers get them
	streams   *streams
	fetchers  *fetchers
	drains    drains
	regions   *regions.Set  // nil: there are none
	selected  regionLists   // for readers that name regions
	batches   chan struct{} // a place for each ReplicationList held
	sending   *budget       // of lists
	bodies    *budget       // of what is registered or replicated
	registers *turns
	gunzips   sync.Pool    // of *gzip.Reader
	buffers   sync.Pool    // of *[]byte
	outs      sync.Pool    // of *bufio.Writer, for lists
	start     string       // of this process, in entity tags
	scrape    http.Handler // nil: not served
	hosts     hostNames    // under which browsers may ask
	rates     *rateLimiter
	origins   http.CrossOriginProtection

	strayed, refusedLists, refusedBrowsers sample.Sample
	template                               *template.Template
}

var _ http.Handler = (*Handler)(nil)

// New returns a handler that serves reg. It fails if an option is out of bounds or
// its metrics are registered already.
func New(reg *registry.Registry, opts Options) (*Handler, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	t, err := parsePage()
	if err != nil {
		return nil, fmt.Errorf("api: page: %w", err)
	}
	sending := &budget{max: int64(opts.MaxListBytes)}
	rates := newRateLimiter(opts.RateLimit)
	streams, clients := newStreams(opts.MaxWatchers), newFetchers()
	bodies, registers := &budget{max: int64(opts.MaxBodyBytes)}, newTurns(opts.MaxWaiting)
	m := newMetrics(sending, bodies, registers)
	if opts.Metrics != nil {
		if err := errors.Join(m.register(opts.Metrics, rates.limited), streams.register(opts.Metrics),
			opts.Metrics.Register(clients.forgotten), opts.Metrics.Register(clients.gauge())); err != nil {
			return nil, fmt.Errorf("api: %w", err)
		}
	}
	h := &Handler{
		start: rand.Text()[:8], reg: reg, opts: opts, log: opts.Logger.With("component", "api"), metrics: m,
		regions: opts.Regions, rates: rates, streams: streams, fetchers: clients,
		batches: make(chan struct{}, opts.MaxBatches), template: t, hosts: newHostNames(opts.Hosts), sending: sending,
		bodies: bodies, registers: registers,
	}
	h.lists = h.newLists(0, false)
	h.local = h.lists.apps
	h.changes = changes{reg: reg, history: opts.History, node: opts.Node.Name, prefix: h.start}
	if h.regions != nil {
		h.lists = h.newLists(h.regions.Default(), false)
		h.selected.make = func(sel regions.Selection) lists { return h.newLists(sel, true) }
	}
	if opts.Metrics != nil {
		if err := opts.Metrics.Register(newStateCollector(h)); err != nil {
			return nil, fmt.Errorf("api: metrics: %w", err)
		}
	}
	if opts.Gatherer != nil {
		h.scrape = promhttp.HandlerFor(opts.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	}
	return h, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	h.metrics.inFlight.Inc()
	defer h.metrics.inFlight.Dec()
	t := parsePath(r.URL.Path, r.URL.RawPath)
	op := t.resource.operation(r.Method)
	code := h.serve(w, r, t, op)
	elapsed := time.Since(start)
	h.metrics.done(op, code, elapsed)
	if ctx := r.Context(); h.log.Enabled(ctx, slog.LevelDebug) {
		h.log.LogAttrs(ctx, slog.LevelDebug, "request served", slog.String("action", op.String()),
			slog.String("app", t.name), slog.String("instance", t.id), slog.Int("code", code),
			slog.Duration("elapsed", elapsed))
	}
}

// isStale reports whether writes are refused because this process was suspended.
// That may happen at any time, so handlers ask again after they have read a body.
func (h *Handler) isStale() bool { return h.opts.Node.Readiness().Stale }

// serve answers an operation and returns the status code that it sent.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, t target, op operation) int {
	if fromBrowser(r.Header) {
		if code := h.refuseBrowser(w, r, op); code != 0 {
			return code
		}
	}
	who, code := h.admit(w, r, t, op)
	if code != 0 {
		return code
	}
	if who != nil {
		t.login = who.Name
	}
	if op.writes() && h.isStale() || h.rates.refuses(r, op) {
		return empty(w, http.StatusServiceUnavailable)
	}
	switch op {
	case heartbeat:
		return h.heartbeat(w, r, t)
	case register:
		return h.register(w, r, t, who)
	case cancel:
		return h.cancel(w, r, t)
	case setStatus:
		return h.setStatus(w, r, t)
	case deleteStatus:
		return h.deleteStatus(w, r, t)
	case setMetadata:
		return h.setMetadata(w, r, t)
	case replicate:
		return h.replicate(w, r)
	case setASG:
		return h.setASG(w)
	case getApps:
		return h.cached(w, r, false)
	case getDelta:
		return h.cached(w, r, true)
	case getApp:
		return h.app(w, r, t)
	case getVIP:
		return h.vip(w, r, t, false)
	case getSVIP:
		return h.vip(w, r, t, true)
	case getInstance:
		key, served := registry.NewKey(t.name, t.id), h.reg.Generation()
		i, ok := h.instanceOf(key)
		if ok {
			defer h.fetchers.served(r, readsInstance, key.String(), served)
		}
		return h.instance(w, r, i, ok)
	case getByID:
		served := h.reg.Generation()
		i, ok := h.instanceByID(t.id)
		if ok {
			defer h.fetchers.served(r, readsID, t.id, served)
		}
		return h.instance(w, r, i, ok)
	case getStatus:
		return h.status(w, r)
	case getOverrides:
		return h.overrides(w)
	case health:
		return text(w, http.StatusOK, "ok")
	case readiness:
		return h.readiness(w, r)
	case metricsPage:
		return h.scraped(w, r)
	case page, pageLive, pageAct:
		return h.page(w, r, who)
	case recent:
		return h.recent(w)
	case versions:
		return h.versions(w)
	case repair:
		return h.repair(w)
	case getOverview:
		return h.overview(w)
	case draining:
		return h.drain(w, r, t)
	case getDrain:
		return h.drained(w, r, t)
	case watching:
		return h.watch(w, r)
	case getHistory:
		return h.history(w, r)
	case profiles:
		return h.profiles(w, r, t)
	case getLogLevel:
		return h.logLevel(w)
	case setLogLevel:
		return h.setLogLevel(w, r)
	case getWhy:
		return h.why(w, r)
	case discovery:
		return h.discover(w, r)
	case base:
		return h.base(w, r)
	case stray:
		return h.stray(w, r)
	case options:
		w.Header().Set("Allow", t.resource.allow())
		return empty(w, http.StatusOK)
	case wrongMethod:
		w.Header().Set("Allow", t.resource.allow())
		return text(w, http.StatusMethodNotAllowed, "method not allowed")
	case notFound, operations:
	}
	return empty(w, http.StatusNotFound)
}

// stateReady is the state of a node to which nothing is missing.
const stateReady = "ready"

// readiness answers the probe of a load balancer. With strict=1 a degraded node is not ready.
func (h *Handler) readiness(w http.ResponseWriter, r *http.Request) int {
	strict := false
	switch given := r.URL.Query()["strict"]; {
	case len(given) == 0:
	case len(given) == 1 && (given[0] == "0" || given[0] == "1"):
		strict = given[0] == "1"
	default:
		return text(w, http.StatusBadRequest, "strict: not 0 or 1")
	}
	ready := h.opts.Node.Readiness()
	if !ready.Ready || strict && ready.State != stateReady {
		return text(w, http.StatusServiceUnavailable, ready.State)
	}
	return text(w, http.StatusOK, ready.State)
}

// scraped answers Prometheus.
func (h *Handler) scraped(w http.ResponseWriter, r *http.Request) int {
	if h.scrape == nil {
		return empty(w, http.StatusNotFound)
	}
	c := codeWriter{ResponseWriter: w, code: http.StatusOK}
	h.scrape.ServeHTTP(&c, r)
	return c.code
}

// codeWriter remembers the status code that another handler sent.
type codeWriter struct {
	http.ResponseWriter
	code int
}

// Unwrap is for http.ResponseController.
func (c *codeWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *codeWriter) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// empty answers without a body.
func empty(w http.ResponseWriter, code int) int {
	w.WriteHeader(code)
	return code
}

// text answers with a line for people. It never repeats parts of the request.
func text(w http.ResponseWriter, code int, s string) int {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return document(w, code, "text/plain; charset=utf-8", []byte(s))
}

// document answers with a body.
func document(w http.ResponseWriter, code int, contentType string, body []byte) int {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body) //nolint:errcheck // The client is gone: there is nobody to tell.
	return code
}

// notEncoded answers if the node's own data cannot be encoded, which is a fault of
// the program.
func (h *Handler) notEncoded(w http.ResponseWriter, what string, err error) int {
	h.log.Error("answer not encoded", "what", what, "err", err)
	return text(w, http.StatusInternalServerError, what+" not encoded")
}

// maxPooled is how large a buffer may be to be kept for the next answer, in
// bytes.
const maxPooled = 256 << 10

// render answers with what appendTo writes into a reused buffer.
func (h *Handler) render(w http.ResponseWriter, code int, contentType string, appendTo func([]byte) []byte) int {
	return h.buffered(appendTo, func(body []byte) int { return document(w, code, contentType, body) })
}

// buffered sends what appendTo writes into a reused buffer.
func (h *Handler) buffered(appendTo func([]byte) []byte, send func([]byte) int) int {
	b, ok := h.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = appendTo((*b)[:0])
	code := send(*b)
	if cap(*b) <= maxPooled {
		h.buffers.Put(b)
	}
	return code
}

// instance answers with one instance, always in full. This rule is Eureka's:
// X-Eureka-Accept is for lists.
func (h *Handler) instance(w http.ResponseWriter, r *http.Request, i *eureka.InstanceInfo, ok bool) int {
	f, acceptable := answerFormat(w, r)
	switch {
	case !acceptable:
		return notAcceptable(w)
	case !ok:
		return empty(w, http.StatusNotFound)
	}
	return h.sendInstance(w, http.StatusOK, f, i)
}

func (h *Handler) sendInstance(w http.ResponseWriter, code int, f eureka.Format, i *eureka.InstanceInfo) int {
	return h.render(w, code, f.ContentType(), func(b []byte) []byte { return f.AppendInstanceDocument(b, i) })
}
