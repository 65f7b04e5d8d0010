package node

import (
	"fmt"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/registry"
)

// Reloadable is what may change while a node runs. Zero fields mean what they mean in
// Options.
type Reloadable struct {
	RateLimit api.RateLimit
	// NoSelfPreservation, RenewalThreshold and SelfPreservationMin count from the next
	// eviction pass on.
	NoSelfPreservation  bool
	RenewalThreshold    float64
	SelfPreservationMin int
	// BatchDelay counts for what waits already, too. Repairs keep the first one: they wait
	// that much longer or shorter for what may be on its way.
	BatchDelay time.Duration
}

// Reloadable returns what of the options may change while a node runs.
func (o *Options) Reloadable() Reloadable {
	return Reloadable{
		RateLimit: o.RateLimit, NoSelfPreservation: o.NoSelfPreservation, RenewalThreshold: o.RenewalThreshold,
		SelfPreservationMin: o.SelfPreservationMin, BatchDelay: o.BatchDelay,
	}
}

func (o *Options) selfPreservation() registry.SelfPreservation {
	return registry.SelfPreservation{
		NoSelfPreservation: o.NoSelfPreservation, Threshold: o.RenewalThreshold, Min: o.SelfPreservationMin,
	}
}

// Reload changes a running node. An error names what is out of bounds, and nothing has
// changed. Any goroutine may call it.
func (n *Node) Reload(r Reloadable) error {
	if r.BatchDelay < 0 {
		return fmt.Errorf("%w: batch delay %v: negative", ErrOptions, r.BatchDelay)
	}
	if r.BatchDelay == 0 {
		r.BatchDelay = DefaultBatchDelay
	}
	opts := Options{
		NoSelfPreservation: r.NoSelfPreservation, RenewalThreshold: r.RenewalThreshold,
		SelfPreservationMin: r.SelfPreservationMin,
	}
	if err := n.evictor.SetRules(opts.selfPreservation()); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if handler := n.handler.Load(); handler != nil { // else the node is starting
		handler.SetRateLimit(r.RateLimit)
	}
	n.cluster.SetBatchDelay(r.BatchDelay)
	return nil
}
