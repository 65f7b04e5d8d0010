package batcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// Defaults of [Options].
const (
	DefaultSize     = 250 // Eureka's, fixed there
	DefaultInFlight = 4
)

// Times of a pipeline.
const (
	// SendTimeout is how long a Send may take.
	SendTimeout = 2 * time.Second
	// DrainTimeout is how long Run goes on sending after its context ended.
	DrainTimeout = 5 * time.Second

	// retryBusy is the wait after busy, a time-out, or any failure but absent
	// and disconnected. It is Eureka's after congestion.
	retryBusy = time.Second
	// retryAbsent is the wait after absent or disconnected. It is Eureka's after
	// a network failure.
	retryAbsent = 100 * time.Millisecond
	// maxWait bounds both, which double with each failure in a row. It is
	// Eureka's.
	maxWait = 30 * time.Second
)

// Options of a batcher. Send is required; any other zero field stands for its
// default.
type Options[K comparable, S any] struct {
	// Send brings a batch to the peer and returns what became of each item, in
	// their order. An error means that nothing is known about any of them. ctx
	// ends after SendTimeout, and when the pipeline is closed: Send must return
	// then. Up to InFlight goroutines call it at once. An outcome of Retry
	// without an error means that the peer can't take that item now; the next
	// batch then waits 1 s. To have another action sent instead, return Done for
	// the item and offer the action.
	Send func(ctx context.Context, batch acceptor.Batch[K, S]) ([]acceptor.Outcome, error)

	// Classify returns the class of an error of Send. Workers call it, several
	// at once. nil: ClassOf.
	Classify func(err error) Class

	Peer    string   // for the log and the metrics
	Metrics *Metrics // nil: the series are not shown

	Size     int        // items per batch, at most; 0: 250
	Bytes    func() int // bytes of tasks per batch, asked before each batch; nil or below 1: no bound
	InFlight int        // workers, and so batches in flight; 0: 4. A Java peer needs its batches in order: 1

	Logger *slog.Logger // nil: no log
	// Rand returns numbers in [0, 1) for the jitter of waits. Any goroutine
	// may call it, one at a time. nil: math/rand/v2.
	Rand func() float64

	maxWait time.Duration // tests have a smaller bound
}

// withDefaults returns the options that are in force, or every fault of those
// given.
func (o Options[K, S]) withDefaults() (Options[K, S], error) {
	var errs []error
	if o.Send == nil {
		errs = append(errs, errors.New("send is missing"))
	}
	if o.Size < 0 {
		errs = append(errs, fmt.Errorf("size is %d, must not be negative", o.Size))
	}
	if o.InFlight < 0 {
		errs = append(errs, fmt.Errorf("in flight is %d, must not be negative", o.InFlight))
	}
	o.Size = cmp.Or(o.Size, DefaultSize)
	o.InFlight = cmp.Or(o.InFlight, DefaultInFlight)
	o.maxWait = cmp.Or(o.maxWait, maxWait)
	if o.Classify == nil {
		o.Classify = ClassOf
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Bytes == nil {
		o.Bytes = func() int { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o, errors.Join(errs...)
}
