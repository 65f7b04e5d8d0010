package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/regions"
)

// regionsWait bounds how long a starting node waits for the first try of its regions
// before it serves: a list without them would take their instances from its readers.
const regionsWait = 2 * time.Second

// regionOptions are the options of the other regions, without where they log and count.
func (o *Options) regionOptions() regions.Options {
	return regions.Options{
		Regions: o.RemoteRegions, NoFallback: o.NoRegionFallback,
		Interval: o.RegionInterval, Retention: o.DeltaRetention,
	}
}

// startRegions begins to fetch other regions, if there are any.
func (n *Node) startRegions() error {
	if len(n.opts.RemoteRegions) == 0 {
		return nil
	}
	opts := n.opts.regionOptions()
	opts.Logger, opts.Metrics = n.log, n.metrics
	var err error
	if n.regions, err = regions.New(opts); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.regions.Run(ctx) })
	n.onStop("regions", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
	return nil
}

// awaitRegions waits until all regions were tried, for regionsWait at most.
func (n *Node) awaitRegions(ctx context.Context) {
	if n.regions == nil {
		return
	}
	late := time.NewTimer(regionsWait)
	defer late.Stop()
	select {
	case <-n.regions.Tried():
	case <-late.C:
	case <-ctx.Done():
	}
}

// regionOverviews returns the state of the other regions.
func (n *Node) regionOverviews() []api.RegionOverview {
	if n.regions == nil {
		return nil
	}
	var out []api.RegionOverview
	for _, s := range n.regions.Status() {
		out = append(out, api.RegionOverview{
			Name: s.Name, URL: s.URL, Loaded: s.Loaded, Age: s.Age.Seconds(),
			Instances: s.Instances, Trouble: s.Trouble,
		})
	}
	return out
}
