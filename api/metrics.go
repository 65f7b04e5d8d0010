package api

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// rejection is why a body was refused.
type rejection uint8

const (
	malformed rejection = iota
	invalid
	tooLarge
	badContentType
	badCoding
	busy
	loginFull
	rejections // how many there are
)

func (r rejection) String() string {
	return [rejections]string{
		"malformed", "invalid", "too_large", "content_type", "content_encoding", "busy", "login_full",
	}[r]
}

// foreign is why a browser's request was refused.
type foreign uint8

const (
	badHost foreign = iota
	crossSite
	foreigners // how many there are
)

func (f foreign) String() string { return [foreigners]string{"host", "cross_site"}[f] }

// metrics are the handler's own. Labels come from closed sets.
type metrics struct {
	inFlight prometheus.Gauge
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	sending  prometheus.GaugeFunc
	bodies   prometheus.GaugeFunc
	waiting  prometheus.GaugeFunc

	refusedLists prometheus.Counter
	caches       *prometheus.CounterVec

	// The series of each operation, so that a heartbeat looks up no labels.
	durations [operations]prometheus.Observer
	codes     [operations][len(codes)]atomic.Pointer[prometheus.Counter]
	reasons   [rejections]prometheus.Counter

	browsers       *prometheus.CounterVec
	refusedBrowser [foreigners]prometheus.Counter
}

// codes are the status codes with a series each. The last stands for all others.
var codes = [...]int{200, 204, 400, 401, 403, 404, 405, 406, 409, 413, 415, 421, 429, 500, 503, 507, 0}

func newMetrics(sending, bodies *budget, registers *turns) *metrics {
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registryd_api_requests_in_flight", Help: "Requests being answered.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_api_requests_total", Help: "Requests answered, by what they asked for and by status code.",
		}, []string{"operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "registryd_api_request_duration_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"operation"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_api_rejected_bodies_total", Help: "Request bodies refused, by reason.",
		}, []string{"reason"}),
		sending: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_api_list_sending_bytes", Help: "Bytes of lists being sent, each answer counted once.",
		}, func() float64 { return float64(sending.used.Load()) }),
		bodies: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_api_body_bytes", Help: "Room of the request bodies being read or applied.",
		}, func() float64 { return float64(bodies.used.Load()) }),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_api_waiting_registers", Help: "Registrations that were read and wait for their turn.",
		}, func() float64 { return float64(registers.waiting.Load()) }),
		refusedLists: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_api_refused_lists_total",
			Help: "Lists refused because too many bytes of lists were being sent.",
		}),
		caches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_api_list_cache_requests_total",
			Help: "Lists read, by whether the encoded answer was at hand.",
		}, []string{"list", "result"}),
	}
	m.browsers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registryd_api_refused_browser_requests_total",
		Help: "Requests of browsers refused, by reason: " +
			"a host name that is not this node's, or a page of another site.",
	}, []string{"reason"})
	for f := range foreigners {
		m.refusedBrowser[f] = m.browsers.WithLabelValues(f.String())
	}
	for op := range operations {
		m.durations[op] = m.duration.WithLabelValues(op.String())
	}
	for r := range rejections {
		m.reasons[r] = m.refused.WithLabelValues(r.String())
	}
	return m
}

// register registers the metrics, and others with them.
func (m *metrics) register(r prometheus.Registerer, others ...prometheus.Collector) error {
	var errs []error
	for _, c := range append(others,
		m.inFlight, m.requests, m.duration, m.refused, m.caches, m.browsers, m.sending, m.refusedLists,
		m.bodies, m.waiting,
	) {
		if err := r.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("metrics: %w", err))
		}
	}
	return errors.Join(errs...)
}

// cache returns the counters of one list's cache.
func (m *metrics) cache(op operation) cacheMetrics {
	of := func(result string) prometheus.Counter { return m.caches.WithLabelValues(op.String(), result) }
	return cacheMetrics{hits: of("hit"), misses: of("miss")}
}

func (m *metrics) rejected(why rejection) { m.reasons[why].Inc() }

// done counts a request that was answered.
func (m *metrics) done(op operation, code int, elapsed time.Duration) {
	i := codeIndex(code)
	c := m.codes[op][i].Load()
	if c == nil {
		label := "other"
		if codes[i] != 0 {
			label = strconv.Itoa(codes[i])
		}
		made := m.requests.WithLabelValues(op.String(), label)
		c = &made
		m.codes[op][i].Store(c)
	}
	(*c).Inc()
	m.durations[op].Observe(elapsed.Seconds())
}

// codeIndex returns the place of a status code in codes.
func codeIndex(code int) int {
	for i, c := range codes {
		if c == code {
			return i
		}
	}
	return len(codes) - 1
}
