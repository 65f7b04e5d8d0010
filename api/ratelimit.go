package api

import (
	"cmp"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Defaults of a [RateLimit], which are Eureka's.
const (
	DefaultRateBurst       = 10
	DefaultRateFetches     = 500
	DefaultRateFullFetches = 100
)

// RateLimit bounds how often lists are read: apps, apps/delta and apps/{app} together,
// and apps again by itself. Beyond it they are 503 without a body, which sends a client
// to the next server. Reads of single instances and of vips, and all writes, are not
// bounded. Eureka's RateLimitingFilter.
type RateLimit struct {
	// Enabled refuses what is beyond the bounds. Without it that is only counted.
	Enabled bool
	// Burst is how many reads may come at once. Default DefaultRateBurst; below 0: no
	// bound at all.
	Burst int
	// Fetches and FullFetches are reads a second, on average. Defaults
	// DefaultRateFetches and DefaultRateFullFetches; below 0: no bound.
	Fetches, FullFetches int
	// Privileged are clients that are not bounded, by their header
	// DiscoveryIdentity-Name, beside those of standardClients.
	Privileged []string
	// ThrottleStandard bounds all clients, also the privileged ones. The name is Eureka's.
	ThrottleStandard bool
}

// standardClients are the names of Netflix's client and of Java servers.
var standardClients = [...]string{"DefaultClient", "DefaultServer"}

// rateLimiter decides which lists are refused. Any goroutine may use it.
type rateLimiter struct {
	rules   atomic.Pointer[rateRules]
	limited *prometheus.CounterVec
}

// rateRules are the bounds of a rateLimiter at present.
type rateRules struct {
	enabled    bool
	privileged map[string]struct{}
	all, full  *rate.Limiter // token buckets; x/time/rate's are Eureka's, but for a fraction of a token
}

func newRateLimiter(o RateLimit) *rateLimiter {
	l := &rateLimiter{
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_api_rate_limited_requests_total",
			Help: "Lists beyond the rate limit, by outcome: refused, or a candidate, which was answered " +
				"because the limit is off.",
		}, []string{"operation", "outcome"}),
	}
	l.set(o)
	return l
}

// set changes the bounds. Full buckets take the place of the old ones.
func (l *rateLimiter) set(o RateLimit) {
	rules := &rateRules{
		enabled: o.Enabled, privileged: make(map[string]struct{}),
		all:  newBucket(cmp.Or(o.Burst, DefaultRateBurst), cmp.Or(o.Fetches, DefaultRateFetches)),
		full: newBucket(cmp.Or(o.Burst, DefaultRateBurst), cmp.Or(o.FullFetches, DefaultRateFullFetches)),
	}
	if !o.ThrottleStandard {
		for _, name := range append(standardClients[:], o.Privileged...) {
			rules.privileged[name] = struct{}{}
		}
	}
	for _, op := range []operation{getApps, getDelta, getApp} {
		l.limited.WithLabelValues(op.String(), rules.outcome())
	}
	l.rules.Store(rules)
}

// SetRateLimit changes how often lists may be read. Any goroutine may call it.
func (h *Handler) SetRateLimit(o RateLimit) { h.rates.set(o) }

// newBucket returns a full bucket. As in Eureka there is no bound where either is below 0.
func newBucket(burst, perSecond int) *rate.Limiter {
	if burst < 0 || perSecond < 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), burst)
}

func (l *rateRules) outcome() string {
	if l.enabled {
		return "refused"
	}
	return "candidate"
}

// refuses reports whether a request is to be answered with 503. This rule is Eureka's: a
// whole list takes from both buckets, also where one of them is empty already.
func (l *rateLimiter) refuses(r *http.Request, op operation) bool {
	if op != getApps && op != getDelta && op != getApp || r.Method != http.MethodGet {
		return false
	}
	rules := l.rules.Load()
	if name := r.Header["Discoveryidentity-Name"]; len(name) > 0 {
		if _, ok := rules.privileged[name[0]]; ok {
			return false
		}
	}
	over := !rules.all.Allow()
	if op == getApps && !rules.full.Allow() {
		over = true
	}
	if over {
		l.limited.WithLabelValues(op.String(), rules.outcome()).Inc()
	}
	return over && rules.enabled
}
