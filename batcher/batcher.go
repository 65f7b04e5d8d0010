package batcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// ErrStarted is returned by the second call of Run.
var ErrStarted = errors.New("batcher: Run was called before")

// Batcher is stage 3 of the pipeline to one peer. Create it with [New] and keep
// [Batcher.Run] running; every other method may be called from any goroutine.
type Batcher[K comparable, S any] struct {
	opts     Options[K, S]
	acceptor *acceptor.Acceptor[K, S]
	shaper   shaper
	reporter *reporter
	started  atomic.Bool

	permits        chan struct{}  // one for each idle worker
	batchWorkQueue chan job[K, S] // closed by the dispatcher; a permit per place, so it never blocks

	series series

	mu         sync.Mutex
	stats      Stats         // the gauges of other parts are filled in by Stats
	roundTrips time.Duration // the sum
}

// job is a batch with what the shaper has to know when it fails.
type job[K comparable, S any] struct {
	batch      acceptor.Batch[K, S]
	generation uint64
}

// New returns a batcher that sends what acc hands out. It reports every fault
// of the options at once. The acceptor is run by Run and by nobody else.
func New[K comparable, S any](acc *acceptor.Acceptor[K, S], opts Options[K, S]) (*Batcher[K, S], error) {
	opts, err := opts.withDefaults()
	if acc == nil {
		err = errors.Join(errors.New("acceptor is missing"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("batcher: %w", err)
	}
	b := &Batcher[K, S]{
		opts:           opts,
		acceptor:       acc,
		shaper:         shaper{maxWait: opts.maxWait, rand: opts.Rand, changed: make(chan struct{}, 1)},
		reporter:       &reporter{logger: opts.Logger.With("component", "batcher", "peer", opts.Peer)},
		permits:        make(chan struct{}, opts.InFlight),
		batchWorkQueue: make(chan job[K, S], opts.InFlight),
		stats:          Stats{Failures: make(map[Class]uint64)},
		series:         opts.Metrics.of(opts.Peer),
	}
	for range opts.InFlight {
		b.permits <- struct{}{}
	}
	return b, nil
}

// Run runs the pipeline, the acceptor included, until ctx ends or Close is
// called. When ctx ends nothing more is accepted, and what is pending is sent
// without delay for up to DrainTimeout; what is left then is dropped, counted as
// shutdown and logged once. Run returns when all its goroutines have ended:
// nil, or ErrStarted, or the acceptor's error if it could not be run.
func (b *Batcher[K, S]) Run(ctx context.Context) error {
	if !b.started.CompareAndSwap(false, true) {
		return ErrStarted
	}
	// work outlives ctx by the drain. It ends with the acceptor, which ends
	// when it is drained, closed, or when work is cancelled.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var (
		wg  sync.WaitGroup
		err error
	)
	wg.Go(func() {
		defer stop()
		err = b.acceptor.Run(work)
	})
	wg.Go(func() { b.dispatch(work) })
	for range b.opts.InFlight {
		wg.Go(func() { b.work(work) })
	}

	select {
	case <-work.Done():
	case <-ctx.Done():
		b.drain(work)
	}
	stop()
	wg.Wait()
	if err != nil {
		return fmt.Errorf("batcher: run acceptor: %w", err)
	}
	dropped := b.acceptor.Stats().Dropped
	b.reporter.ended(dropped[acceptor.Shutdown], dropped[acceptor.PeerGone])
	return nil
}

// drain lets the pipeline run empty, for as long as it may take.
func (b *Batcher[K, S]) drain(work context.Context) {
	b.acceptor.Drain()
	b.shaper.drain()
	timer := time.NewTimer(DrainTimeout)
	defer timer.Stop()
	select {
	case <-work.Done():
	case <-timer.C:
	}
}

// Wake ends a wait at once and forgets how long the next would have been. Call
// it when the peer is heard again after a silence, not at each sign of life: a
// peer may be alive and busy.
func (b *Batcher[K, S]) Wake() { b.shaper.wake() }

// Close ends the pipeline without a drain: sends under way are cancelled, what
// is pending is dropped and counted under reason, [acceptor.PeerGone] or
// [acceptor.Shutdown]. It does not wait; Run returns soon after.
func (b *Batcher[K, S]) Close(reason acceptor.Reason) { b.acceptor.Close(reason) }

// dispatch hands out batches: a worker must be idle, and no wait in force.
func (b *Batcher[K, S]) dispatch(work context.Context) {
	defer close(b.batchWorkQueue)
	for {
		select {
		case <-b.permits:
		case <-work.Done():
			return
		}
		j, err := b.next(work)
		if err != nil {
			return // The acceptor has ended, or is about to.
		}
		b.batchWorkQueue <- j
	}
}

// next waits for the next batch that may be sent. A failure that comes in while
// it waits for the batch puts the wait for the peer first.
func (b *Batcher[K, S]) next(work context.Context) (job[K, S], error) {
	for {
		if err := b.shaper.pass(work); err != nil {
			return job[K, S]{}, err
		}
		j, err := b.take(work)
		if err == nil || errors.Is(err, acceptor.ErrClosed) || work.Err() != nil {
			return j, err
		}
	}
}

func (b *Batcher[K, S]) take(work context.Context) (job[K, S], error) {
	ctx, cancel := context.WithCancel(work)
	defer cancel()
	generation, ok := b.shaper.begin(cancel)
	if !ok {
		return job[K, S]{}, errHeld
	}
	defer b.shaper.finish()
	batch, err := b.acceptor.Take(ctx, b.opts.Size, max(0, b.opts.Bytes()))
	if err != nil {
		return job[K, S]{}, err
	}
	b.mu.Lock()
	b.stats.InFlight++
	b.mu.Unlock()
	return job[K, S]{batch: batch, generation: generation}, nil
}

// errHeld means that a wait has begun.
var errHeld = errors.New("batcher: held back")

func (b *Batcher[K, S]) work(work context.Context) {
	for j := range b.batchWorkQueue {
		b.deliver(work, j)
		b.permits <- struct{}{}
	}
}

// deliver sends a batch and settles it. It reports a failure to the shaper before
// that: retried slots are due at once, and must find the wait in force.
func (b *Batcher[K, S]) deliver(work context.Context, j job[K, S]) {
	outcomes, err := b.send(work, j.batch)
	switch {
	case err != nil && work.Err() != nil:
		// Cancelled by us: it says nothing of the peer.
	case err != nil:
		b.shaper.failed(b.classify(err), j.generation)
	case slices.ContainsFunc(outcomes, acceptor.Outcome.IsRetry):
		b.shaper.refused()
	default:
		b.shaper.succeeded()
	}
	if err := b.acceptor.Settle(j.batch, outcomes); err != nil {
		// Can't be: the batch came from Take and has an outcome per item.
		b.reporter.logger.Error("batch not settled", "batch", j.batch.Number, "err", err)
	}
	b.mu.Lock()
	b.stats.InFlight--
	b.mu.Unlock()
}

// send returns an outcome for each item, always. The error says why some are to
// be retried. A batch that the peer can't read is halved, down to the task that
// is to blame; after any other failure the rest of it isn't tried.
func (b *Batcher[K, S]) send(work context.Context, batch acceptor.Batch[K, S]) ([]acceptor.Outcome, error) {
	outcomes, err := b.attempt(work, batch)
	switch {
	case err == nil:
		return outcomes, nil
	case b.classify(err) != Malformed:
		return make([]acceptor.Outcome, len(batch.Items)), err // Retry is the zero Outcome.
	case len(batch.Items) == 1:
		b.reporter.dropped(fmt.Sprint(batch.Items[0].Key), acceptor.Malformed, err)
		return []acceptor.Outcome{acceptor.Drop(acceptor.Malformed)}, nil
	}
	first, second := batch.Split()
	outcomes, err = b.send(work, first)
	if err != nil {
		return append(outcomes, make([]acceptor.Outcome, len(second.Items))...), err
	}
	rest, err := b.send(work, second)
	return append(outcomes, rest...), err
}

// classify keeps the set of classes closed.
func (b *Batcher[K, S]) classify(err error) Class {
	if class := b.opts.Classify(err); slices.Contains(Classes(), class) {
		return class
	}
	return Other
}

// attempt is one Send, counted and logged.
func (b *Batcher[K, S]) attempt(work context.Context, batch acceptor.Batch[K, S]) ([]acceptor.Outcome, error) {
	if err := work.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(work, SendTimeout)
	defer cancel()
	began := time.Now()
	outcomes, err := b.opts.Send(ctx, batch)
	elapsed := time.Since(began)
	if err == nil && len(outcomes) != len(batch.Items) {
		err = fmt.Errorf("%d outcomes for %d tasks", len(outcomes), len(batch.Items))
	}

	var failure Class
	if err != nil {
		failure = b.classify(err)
	}
	b.series.sent(len(batch.Items), batch.Bytes, elapsed, failure)
	b.mu.Lock()
	b.stats.Batches++
	b.stats.Tasks += uint64(len(batch.Items))
	b.stats.Bytes += uint64(batch.Bytes)
	if err != nil {
		b.stats.Failures[failure]++
	} else {
		b.roundTrips += elapsed
		b.stats.RoundTripLast = elapsed
	}
	b.mu.Unlock()

	if err != nil && work.Err() == nil {
		b.reporter.failed(batch.Number, len(batch.Items), elapsed, failure, err)
	} else if err == nil {
		for i, o := range outcomes {
			if reason, gone := o.Dropped(); gone {
				b.reporter.dropped(fmt.Sprint(batch.Items[i].Key), reason, nil)
			}
		}
		b.reporter.succeeded(batch.Number, len(batch.Items), elapsed)
	}
	return outcomes, err
}

// Dropped logs a task that was dropped otherwise than by an outcome of Send, such
// as one that [acceptor.Options].OnDrop was called with. It writes at most one
// line in ten seconds, failures of the pipeline included, with the number of
// tasks and one of them. Any goroutine may call it.
func (b *Batcher[K, S]) Dropped(key K, reason acceptor.Reason) {
	b.reporter.dropped(fmt.Sprint(key), reason, nil)
}
