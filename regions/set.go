package regions

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Set holds the regions. Its methods may be called from any goroutine, but for Run,
// which is called once.
type Set struct {
	opts    Options
	list    []*region // in the order of the options
	log     *slog.Logger
	metrics *metrics

	generation atomic.Uint64 // of what lists show of all regions
	version    atomic.Int64  // of the deltas for readers that name regions

	tried   chan struct{} // closed when each region has been tried once
	untried atomic.Int64
}

// Selection is a set of regions: the bit of a region is its place in the options. The
// zero value is the local region alone.
type Selection uint64

// New returns a set whose regions were never fetched. It starts no goroutine. Its errors
// name what is wrong with the options, without a URL, or that the metrics are registered
// already.
func New(opts Options) (*Set, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("regions: %w", err)
	}
	s := &Set{opts: opts, log: opts.Logger.With("component", "regions"), tried: make(chan struct{})}
	for _, o := range opts.Regions {
		r, err := newRegion(o)
		if err != nil {
			return nil, fmt.Errorf("regions: %w", err)
		}
		s.list = append(s.list, r)
	}
	s.untried.Store(int64(len(s.list)))
	if len(s.list) == 0 {
		close(s.tried)
	}
	if s.metrics, err = newMetrics(s, opts.Metrics); err != nil {
		return nil, fmt.Errorf("regions: %w", err)
	}
	return s, nil
}

// Run fetches all regions until ctx ends. Nothing that it started outlives it.
func (s *Set) Run(ctx context.Context) {
	var fetchers sync.WaitGroup
	for _, r := range s.list {
		f := newFetcher(s, r)
		fetchers.Go(func() { f.run(ctx) })
	}
	fetchers.Wait()
}

// Tried is closed when each region has been tried once, with or without success.
func (s *Set) Tried() <-chan struct{} { return s.tried }

// wasTried counts a region's first try.
func (s *Set) wasTried() {
	if s.untried.Add(-1) == 0 {
		close(s.tried)
	}
}

// Generation counts what lists can show of the regions, as [registry.Registry.Generation]
// does for the local instances.
func (s *Set) Generation() uint64 { return s.generation.Load() }

// Default returns the regions that a reader gets that names none: all of them, or
// none with NoFallback.
func (s *Set) Default() Selection {
	if s.opts.NoFallback {
		return 0
	}
	return 1<<len(s.list) - 1
}

// Select returns the regions that the value of ?regions= names, in any case and
// separated by commas. As in Eureka names that no region has are skipped, and an empty
// value is none: Default. ok is false while one of the regions was never fetched.
//
// Eureka refuses readers while any region was never fetched, also those of other regions.
func (s *Set) Select(names string) (sel Selection, ok bool) {
	if strings.Trim(names, ",") == "" {
		return s.Default(), true
	}
	ok = true
	for name := range strings.SplitSeq(strings.ToLower(names), ",") {
		for i, r := range s.list {
			if r.name == name {
				sel |= 1 << i
				ok = ok && r.isLoaded()
			}
		}
	}
	return sel, ok
}

// views returns what is held of the selected regions, in their order.
func (s *Set) views(sel Selection) []*snapshot {
	var out []*snapshot
	for i, r := range s.list {
		if sel&(1<<i) != 0 {
			if held := r.held.Load(); held != nil {
				out = append(out, held)
			}
		}
	}
	return out
}

// Status is the state of one region.
type Status struct {
	Name      string
	URL       string // without user and password
	Loaded    bool   // it was fetched at least once
	Age       time.Duration
	Instances int    // that readers may see
	Trouble   string // why the last fetch failed, "" if it did not
}

// Status returns the state of each region, in the order of the options. Age is the
// time since the last success, or since the start if there was none.
func (s *Set) Status() []Status {
	out := make([]Status, len(s.list))
	for i, r := range s.list {
		out[i] = r.status()
	}
	return out
}
