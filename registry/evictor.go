package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of [EvictorOptions].
const (
	// DefaultEvictionInterval is half of Eureka's evictionIntervalTimerInMs, so
	// that an instance that crashed is gone two minutes later.
	DefaultEvictionInterval = 30 * time.Second
	// DefaultRenewalThreshold is Eureka's renewalPercentThreshold.
	DefaultRenewalThreshold = 0.85
	// DefaultSelfPreservationMin keeps self-preservation out of a registry in
	// which one or two instances crash. Eureka has no such bound.
	DefaultSelfPreservationMin = 3
)

// minExpected is how many leases must be expected before a share of them says
// anything. Eureka has no such bound: of up to six instances it never evicts the
// first that crashes.
const minExpected = 10

// SelfPreservation are the rules by which nothing is evicted while too many leases are
// missing. A zero field means its default.
type SelfPreservation struct {
	// NoSelfPreservation evicts however many leases are missing.
	NoSelfPreservation bool
	// Threshold is the share of the expected leases that must be renewed, and
	// the share of the instances that one pass leaves untouched; above 0, at
	// most 1. Default DefaultRenewalThreshold.
	Threshold float64
	// Min is how many leases must be missing before self-preservation begins;
	// at least 1. It never begins while fewer than 10 are expected. Default
	// DefaultSelfPreservationMin.
	Min int
}

func (o SelfPreservation) withDefaults() (SelfPreservation, error) {
	if o.Threshold == 0 {
		o.Threshold = DefaultRenewalThreshold
	}
	if o.Min == 0 {
		o.Min = DefaultSelfPreservationMin
	}
	var errs []error
	if !(o.Threshold > 0 && o.Threshold <= 1) { // also false for NaN
		errs = append(errs, fmt.Errorf("renewal threshold %v: not above 0 and at most 1", o.Threshold))
	}
	if o.Min < 1 {
		errs = append(errs, fmt.Errorf("self-preservation min %d: less than 1", o.Min))
	}
	return o, errors.Join(errs...)
}

// EvictorOptions of an [Evictor]. A zero field means its default.
type EvictorOptions struct {
	// Interval is the time between two passes that the owner keeps; not
	// negative. A pass that is late gives all leases that much longer. Default
	// DefaultEvictionInterval.
	Interval time.Duration
	// SelfPreservation says when nothing is evicted; [Evictor.SetRules] changes it.
	SelfPreservation
	// Logger takes the evictor's lines. Default: none.
	Logger *slog.Logger
	// Metrics is where the evictor's metrics are registered; nil: nowhere.
	Metrics prometheus.Registerer
	// Shuffle puts n things into random order; default math/rand/v2's.
	Shuffle func(n int, swap func(i, j int))
}

func (o EvictorOptions) withDefaults() (EvictorOptions, error) {
	if o.Interval == 0 {
		o.Interval = DefaultEvictionInterval
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Shuffle == nil {
		o.Shuffle = rand.Shuffle
	}
	var errs []error
	if o.Interval < 0 {
		errs = append(errs, fmt.Errorf("eviction interval %v: negative", o.Interval))
	}
	var err error
	o.SelfPreservation, err = o.SelfPreservation.withDefaults()
	return o, errors.Join(append(errs, err)...)
}

// Evictor evicts by Eureka's policy (AbstractInstanceRegistry.evict): at most a
// share of the registry in one pass, picked at random so that no application is
// wiped out, and nothing while too many leases are missing (self-preservation: then
// the network is more likely to be broken than the instances).
type Evictor struct {
	reg   *Registry
	opts  EvictorOptions
	rules atomic.Pointer[SelfPreservation]
	last  time.Time // of the last pass

	preserving                   atomic.Bool
	since                        atomic.Int64 // when preserving began; ns since 1970
	preserves, expected, missing prometheus.Gauge
}

// NewEvictor returns an evictor for reg. Its errors name each option that is out
// of bounds.
func NewEvictor(reg *Registry, opts EvictorOptions) (*Evictor, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "registryd_registry_" + name, Help: help})
	}
	v := &Evictor{
		reg: reg, opts: opts,
		preserves: gauge("self_preservation", "1 while nothing is evicted because too many leases are missing."),
		expected:  gauge("expected_leases", "Leases that are there or were evicted lately, at the last eviction pass."),
		missing: gauge("missing_leases",
			"Expected leases that are evicted, expired or silent, at the last eviction pass."),
	}
	v.rules.Store(&opts.SelfPreservation)
	if opts.Metrics != nil {
		for _, c := range []prometheus.Collector{v.preserves, v.expected, v.missing} {
			if err := opts.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("registry: %w", err)
			}
		}
	}
	return v, nil
}

// SetRules changes the rules of self-preservation from the next pass on. An error changes
// nothing. Any goroutine may call it.
func (v *Evictor) SetRules(rules SelfPreservation) error {
	rules, err := rules.withDefaults()
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	v.rules.Store(&rules)
	return nil
}

// Rules returns the rules of self-preservation in full. Any goroutine may call it.
func (v *Evictor) Rules() SelfPreservation { return *v.rules.Load() }

// SelfPreservation reports whether the last pass evicted nothing because too many
// leases are missing. Any goroutine may call it.
func (v *Evictor) SelfPreservation() bool { return v.preserving.Load() }

// Since returns when self-preservation began; the zero time while it is not on. Any
// goroutine may call it.
func (v *Evictor) Since() time.Time {
	if !v.SelfPreservation() {
		return time.Time{}
	}
	return time.Unix(0, v.since.Load())
}

// Asker asks the peers of this node before it evicts.
type Asker interface {
	// EvictOutlived evicts what is retired and unknown to a peer that must
	// know it, see [Registry.EvictOutlived].
	EvictOutlived(ctx context.Context)
	// AskAges joins what the peers know of the leases of these instances: their
	// clients may have moved. It returns within a bound, with what has come.
	AskAges(ctx context.Context, keys []Key)
}

// Run makes one pass, and returns how many instances it evicted. Its owner calls it
// each Interval, from one goroutine. may reports whether this node knows of leases
// what its peers know; it is asked before the pass, and again after the peers were
// asked, because the process may have been suspended meanwhile.
func (v *Evictor) Run(ctx context.Context, ask Asker, may func() bool) int {
	if !may() {
		return 0 // clients have not had the time to renew
	}
	was := v.SelfPreservation()
	ask.EvictOutlived(ctx)
	leases, candidates := v.candidates()
	v.reg.noteOver(v.SelfPreservation())
	ask.AskAges(ctx, candidates)
	evicted := 0
	if may() {
		evicted = v.reg.EvictExpired(candidates)
		v.reg.Forget()
	}
	if evicted > 0 {
		v.opts.Logger.Info("leases expired", "component", "registry", "evicted", evicted)
	}
	if is := v.SelfPreservation(); is != was {
		v.opts.Logger.Warn("self-preservation changed", "component", "registry", "on", is,
			"missing", leases.Missing, "expected", leases.Expected)
	}
	return evicted
}

// candidates returns the instances to evict now: none under self-preservation, else
// at most as many as Eureka evicts in one pass.
func (v *Evictor) candidates() (Leases, []Key) {
	now := v.reg.now()
	late := time.Duration(0)
	if !v.last.IsZero() {
		late = max(0, now.Sub(v.last)-v.opts.Interval)
	}
	v.last = now
	leases := v.reg.Leases()
	rules := v.Rules()
	preserving := !rules.NoSelfPreservation && rules.tooFew(leases)
	if preserving && !v.SelfPreservation() {
		v.since.Store(now.UnixNano())
	}
	v.preserving.Store(preserving)
	v.preserves.Set(map[bool]float64{true: 1}[preserving])
	v.expected.Set(float64(leases.Expected))
	v.missing.Set(float64(leases.Missing))
	v.reg.evicting.Store(!preserving)
	if preserving {
		return leases, nil
	}
	keys := v.reg.Expired(late)
	limit := leases.Present - int(float64(leases.Present)*rules.Threshold)
	if len(keys) <= limit {
		return leases, keys
	}
	v.opts.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return leases, keys[:limit]
}

// tooFew reports whether so many leases are missing that the network is to blame:
// by number, and by the share of those that are left, which must be more than the
// whole number below the threshold, as in Eureka.
func (o SelfPreservation) tooFew(l Leases) bool {
	return l.Expected >= minExpected && l.Missing >= o.Min &&
		l.Expected-l.Missing <= int(float64(l.Expected)*o.Threshold)
}
