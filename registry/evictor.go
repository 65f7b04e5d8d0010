package registry

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of [EvictorOptions], Eureka's.
const (
	DefaultEvictionInterval = 60 * time.Second // evictionIntervalTimerInMs
	DefaultRenewalThreshold = 0.85             // renewalPercentThreshold
)

// EvictorOptions of an [Evictor]. A zero field means its default.
type EvictorOptions struct {
	// Interval is the time between two passes that the owner keeps. What a
	// pass comes later is not held against the leases. Default
	// DefaultEvictionInterval.
	Interval time.Duration
	// NoSelfPreservation evicts also when too few leases are renewed.
	NoSelfPreservation bool
	// Threshold is the share of the expected renewals below which nothing is
	// evicted, and of the instances that a pass leaves untouched; above 0, at
	// most 1. Default DefaultRenewalThreshold.
	Threshold float64
	// Metrics is where the evictor's metrics are registered; nil: nowhere.
	Metrics prometheus.Registerer
	// Shuffle puts n things into random order; default math/rand/v2's.
	Shuffle func(n int, swap func(i, j int))
}

// Evictor evicts by Eureka's policy (AbstractInstanceRegistry.evict): nothing
// while fewer leases are renewed than the threshold asks for (self-preservation:
// then it is rather the network that is broken than the instances), and
// otherwise at most a share of the registry in one pass, picked at random so
// that no application is wiped out. Its owner calls Pass from one goroutine.
type Evictor struct {
	reg  *Registry
	opts EvictorOptions
	last time.Time // of the last pass

	preserving atomic.Bool
}

// NewEvictor returns an evictor for reg. It fails on an option out of bounds.
func NewEvictor(reg *Registry, opts EvictorOptions) (*Evictor, error) {
	if opts.Interval == 0 {
		opts.Interval = DefaultEvictionInterval
	}
	if opts.Threshold == 0 {
		opts.Threshold = DefaultRenewalThreshold
	}
	if opts.Shuffle == nil {
		opts.Shuffle = rand.Shuffle
	}
	if opts.Interval < 0 {
		return nil, fmt.Errorf("registry: eviction interval %v: negative", opts.Interval)
	}
	if opts.Threshold < 0 || opts.Threshold > 1 {
		return nil, fmt.Errorf("registry: renewal threshold %v: not above 0 and at most 1", opts.Threshold)
	}
	v := &Evictor{reg: reg, opts: opts}
	if opts.Metrics != nil {
		for _, c := range v.gauges() {
			if err := opts.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("registry: %w", err)
			}
		}
	}
	return v, nil
}

func (v *Evictor) gauges() []prometheus.Collector {
	gauge := func(name, help string, get func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "registryd_registry_" + name, Help: help}, get)
	}
	return []prometheus.Collector{
		gauge("expected_renewals_per_minute", "Renewals per minute, by the intervals of the leases themselves.",
			func() float64 { return v.reg.Leases().Expected }),
		gauge("renewals_per_minute", "Renewals in the last minute, from clients and peers.",
			func() float64 { return v.reg.Leases().Renewals }),
		gauge("self_preservation", "1 while nothing is evicted because too few leases are renewed.", func() float64 {
			if v.SelfPreservation() {
				return 1
			}
			return 0
		}),
	}
}

// SelfPreservation says whether the last pass evicted nothing because too few
// leases were renewed. Any goroutine may call it.
func (v *Evictor) SelfPreservation() bool { return v.preserving.Load() }

// Candidates returns the instances that are to be evicted now: none under
// self-preservation, else at most as many as Eureka evicts in one pass. Whoever
// knows better asks others for the leases of these before [Evictor.Evict].
func (v *Evictor) Candidates() []Key {
	now := v.reg.now()
	late := time.Duration(0)
	if !v.last.IsZero() {
		late = max(0, now.Sub(v.last)-v.opts.Interval)
	}
	v.last = now
	leases := v.reg.Leases()
	allowed := v.opts.NoSelfPreservation || leases.Measured && v.enough(leases)
	v.preserving.Store(!allowed && leases.Measured)
	v.reg.evicting.Store(allowed)
	if !allowed {
		return nil
	}
	keys := v.reg.Expired(late)
	limit := leases.Present - int(float64(leases.Present)*v.opts.Threshold)
	if len(keys) <= limit {
		return keys
	}
	v.opts.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys[:limit]
}

// enough says whether as many leases are renewed as the threshold asks for:
// more than the whole number below it, as in Eureka.
func (v *Evictor) enough(l Leases) bool {
	return l.Renewals > float64(int(l.Expected*v.opts.Threshold))
}

// Evict evicts those of the candidates that are expired still, and forgets what
// is retired. It returns how many it evicted.
func (v *Evictor) Evict(candidates []Key) int {
	evicted := v.reg.EvictExpired(candidates)
	v.reg.Forget()
	return evicted
}

// Pass is Evict of the Candidates, with nobody else asked.
func (v *Evictor) Pass() int { return v.Evict(v.Candidates()) }
