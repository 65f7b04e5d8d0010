package batcher

import (
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
	DefaultSize         = 250 // Eureka's, fixed there
	DefaultInFlight     = 4
	DefaultRetryBusy    = time.Second            // Eureka's retry delay after congestion
	DefaultRetryAbsent  = 100 * time.Millisecond // Eureka's after a network failure
	DefaultMaxWait      = 30 * time.Second       // Eureka's cap for both
	DefaultTimeout      = 2 * time.Second
	DefaultDrainTimeout = 5 * time.Second
)

// Options of a batcher. Send is required; any other zero field stands for its
// default.
type Options[K comparable, S any] struct {
	// Send brings a batch to the peer and returns what became of each item,
	// in their order; an error means that nothing is known about any of them.
	// ctx ends after Timeout, and when the pipeline is closed: Send must
	// return then. It is called by up to InFlight goroutines at once. An
	// outcome of Retry without an error means that the peer can't take that
	// item now; hand-outs then wait RetryBusy. Who wants another action sent
	// instead returns Done for the item and offers the action.
	Send func(ctx context.Context, batch acceptor.Batch[K, S]) ([]acceptor.Outcome, error)

	// Classify returns the class of an error of Send. Workers call it, several
	// at once. nil: ClassOf.
	Classify func(err error) Class

	Peer    string   // for the log and the metrics
	Metrics *Metrics // nil: the series are not shown

	Size     int        // items per batch, at most; 0: 250
	Bytes    func() int // bytes of tasks per batch, asked before each batch; nil or below 1: no bound
	InFlight int        // workers, and so batches in flight; 1 where batches must arrive in order, as at a Java peer; 0: 4

	RetryBusy    time.Duration // wait after busy, time-out or any failure not named below; 0: 1 s
	RetryAbsent  time.Duration // wait after absent or disconnected; 0: 100 ms
	MaxWait      time.Duration // waits double with each failure in a row up to this; 0: 30 s
	Timeout      time.Duration // for each Send; 0: 2 s
	DrainTimeout time.Duration // how long Run goes on sending after its context ended; 0: 5 s

	Logger *slog.Logger // nil: no log
	// Rand returns numbers in [0, 1) for the jitter of waits. Any goroutine
	// may call it, one at a time. nil: math/rand/v2.
	Rand func() float64
}

// withDefaults returns the options that are in force, or every fault of those
// given.
func (o Options[K, S]) withDefaults() (Options[K, S], error) {
	var errs []error
	count := func(name string, value *int, fallback int) {
		if *value < 0 {
			errs = append(errs, fmt.Errorf("batcher: %s is %d, must not be negative", name, *value))
		}
		if *value == 0 {
			*value = fallback
		}
	}
	duration := func(name string, value *time.Duration, fallback time.Duration) {
		if *value < 0 {
			errs = append(errs, fmt.Errorf("batcher: %s is %v, must not be negative", name, *value))
		}
		if *value == 0 {
			*value = fallback
		}
	}
	if o.Send == nil {
		errs = append(errs, errors.New("batcher: send is missing"))
	}
	count("size", &o.Size, DefaultSize)
	count("in flight", &o.InFlight, DefaultInFlight)
	duration("retry busy", &o.RetryBusy, DefaultRetryBusy)
	duration("retry absent", &o.RetryAbsent, DefaultRetryAbsent)
	duration("max wait", &o.MaxWait, max(DefaultMaxWait, o.RetryBusy, o.RetryAbsent))
	duration("timeout", &o.Timeout, DefaultTimeout)
	duration("drain timeout", &o.DrainTimeout, DefaultDrainTimeout)
	if longest := max(o.RetryBusy, o.RetryAbsent); o.MaxWait > 0 && o.MaxWait < longest {
		errs = append(errs, fmt.Errorf("batcher: max wait is %v, must be at least %v, the longest first wait",
			o.MaxWait, longest))
	}
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
