package acceptor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Options].
const (
	DefaultDelay    = 500 * time.Millisecond // Eureka's, fixed there
	DefaultQueueLen = 10_000
	DefaultLimit    = 10_000 // Eureka's maxElementsInPeerReplicationPool
)

// drainChunk is how many actions are moved from the ring at a time: the lock of
// Offer is held for copying that many, a few microseconds. As many wake Run while
// nothing else is due.
const drainChunk = 256

var (
	// ErrClosed is returned by Take when no batch will come any more, and by
	// Run when there is nothing left to run.
	ErrClosed = errors.New("acceptor: closed")
	// ErrStarted is returned by the second call of Run.
	ErrStarted = errors.New("acceptor: Run was called before")
	// ErrSettled is returned by Settle for a batch that is not in flight: it
	// was settled before, or Take did not return it.
	ErrSettled = errors.New("acceptor: batch is not in flight")
	// ErrOutcomes is returned by Settle when the number of outcomes is not
	// that of the items. The batch stays in flight.
	ErrOutcomes = errors.New("acceptor: wrong number of outcomes")
)

// Options of an acceptor. Merge and Render are required; any other zero field
// stands for its default.
type Options[K comparable, S any] struct {
	// Delay is how old the head's first action must be before a batch is cut, at
	// first; see [Acceptor.SetDelay]. 0: 500 ms.
	Delay time.Duration

	// Mode is the rule by which batches are cut. 0: Fixed, Eureka's.
	Mode Mode

	// Urgent says which slots go before the others in Adaptive mode. It is
	// called by Run's goroutine, may be called often for one slot, and must be
	// quick and pure. nil: all are alike.
	Urgent func(slot S) bool

	// QueueLen is the capacity of the acceptor queue's ring, in actions. It is
	// allocated at once. Beyond it actions are merged by key. 0: 10,000.
	QueueLen int

	// Limit bounds the pending slots. When a further key arrives the oldest
	// slot is dropped as Overflowed. It is called by Run's goroutine each time
	// that new actions were drained; an answer below 1 counts as 1.
	// nil: 10,000.
	Limit func() int

	// Merge returns what two slots of one key are together; older happened
	// first. It may be called under the lock of Offer, from any goroutine that
	// offers, and must be quick and pure.
	Merge func(older, newer S) S

	// Render makes the task of a slot; wait is the age of its first action. A
	// reason other than "" drops the slot instead. Run's goroutine calls it when
	// it cuts a batch. A task that does not fit into the batch is thrown away
	// and rendered again for the next one, so Render must have no side effect.
	Render func(key K, slot S, wait time.Duration) (task Task, drop Reason)

	// OnDrop is called with each dropped slot, in the goroutine that dropped it:
	// Run's, Settle's, Close's, or Offer's once the acceptor refuses. No lock is
	// held. It must not block and must not call Stats. nil: not called.
	OnDrop func(key K, slot S, reason Reason)
}

// withDefaults returns the options that are in force, or every fault of those
// given.
func (o Options[K, S]) withDefaults() (Options[K, S], error) {
	var errs []error
	if o.Delay < 0 {
		errs = append(errs, fmt.Errorf("delay is %v, must not be negative", o.Delay))
	}
	if o.QueueLen < 0 {
		errs = append(errs, fmt.Errorf("queue length is %d, must not be negative", o.QueueLen))
	}
	if o.Mode > Adaptive {
		errs = append(errs, fmt.Errorf("%v: neither fixed nor adaptive", o.Mode))
	}
	if o.Merge == nil {
		errs = append(errs, errors.New("merge is missing"))
	}
	if o.Render == nil {
		errs = append(errs, errors.New("render is missing"))
	}
	o.Delay = cmp.Or(o.Delay, DefaultDelay)
	o.QueueLen = cmp.Or(o.QueueLen, DefaultQueueLen)
	if o.Limit == nil {
		o.Limit = func() int { return DefaultLimit }
	}
	if o.OnDrop == nil {
		o.OnDrop = func(K, S, Reason) {}
	}
	return o, errors.Join(errs...)
}

// Acceptor is stages 1 and 2 of the pipeline to one peer. Create it with [New]
// and keep [Acceptor.Run] running; every other method may be called from any
// goroutine at any time.
type Acceptor[K comparable, S any] struct {
	opts  Options[K, S]
	epoch time.Time // times are kept as durations since then: monotonic, and small

	wait     atomic.Int64  // the delay at present, ns
	wake     chan struct{} // one slot: something came for Run to look at
	requests chan *request[K, S]
	status   chan chan Stats // answered by Run between two moves, when all adds up
	stop     chan struct{}   // closed by Close
	done     chan struct{}   // closed when nothing is pending any more, for good

	// mu is a leaf: nothing is called under it but Merge.
	mu       sync.Mutex
	queue    acceptorQueue[K, S]
	retries  []entry[K, S] // from Settle, for Run to put back
	inFlight int
	open     map[*ticket[K, S]]struct{} // the batches in flight
	counts   counts                     // what happens in others' goroutines
	phase    phase
	calm     bool   // Run waits, and need not look at offers before drainChunk of them wait
	refusing bool   // Drain was called
	reason   Reason // of what is dropped from now on because the end has come

	// Owned by Run's goroutine.
	order   processingOrder[K, S]
	chunk   []entry[K, S]
	back    []entry[K, S] // retries being put back
	batches uint64
	limit   int    // Options.Limit, when it was asked last
	own     counts // what happens in this goroutine
}

// counts are in actions.
type counts struct {
	offered, acknowledged, merged, retried uint64
	dropped                                map[Reason]uint64
}

// phase is the life of an acceptor: created, running, ended.
type phase uint8

const (
	created phase = iota
	running
	ended
)

// New returns an acceptor that takes actions and hands nothing out until it is
// run. It reports every fault of the options at once.
func New[K comparable, S any](opts Options[K, S]) (*Acceptor[K, S], error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("acceptor: %w", err)
	}
	a := &Acceptor[K, S]{
		opts:     opts,
		epoch:    time.Now(),
		wake:     make(chan struct{}, 1),
		requests: make(chan *request[K, S]),
		status:   make(chan chan Stats),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		queue:    acceptorQueue[K, S]{join: opts.Merge, ring: make([]entry[K, S], opts.QueueLen)},
		open:     make(map[*ticket[K, S]]struct{}),
		counts:   counts{dropped: make(map[Reason]uint64)},
		own:      counts{dropped: make(map[Reason]uint64)},
		reason:   Shutdown,
		order:    processingOrder[K, S]{slots: make(map[K]*node[K, S])},
		chunk:    make([]entry[K, S], min(drainChunk, opts.QueueLen)),
	}
	a.wait.Store(int64(opts.Delay))
	return a, nil
}

// SetDelay changes Options.Delay, also for what is pending. Not above 0: nothing changes.
func (a *Acceptor[K, S]) SetDelay(d time.Duration) {
	if d > 0 {
		a.wait.Store(int64(d))
		a.signal()
	}
}

func (a *Acceptor[K, S]) delay() time.Duration { return time.Duration(a.wait.Load()) }

// Offer takes an action on key. It never waits for anything but a short lock,
// and allocates nothing while the ring has room. After Drain or Close the
// action is counted as dropped.
func (a *Acceptor[K, S]) Offer(key K, slot S) {
	a.mu.Lock()
	a.counts.offered++
	if a.refusing || a.phase == ended {
		reason := a.reason
		a.counts.dropped[reason]++
		a.mu.Unlock()
		a.opts.OnDrop(key, slot, reason)
		return
	}
	number := a.counts.offered
	if a.queue.add(entry[K, S]{key: key, slot: slot, first: a.now(), seq: number, last: number}) {
		a.counts.merged++
	}
	wakes := !a.calm || a.queue.len() >= len(a.chunk)
	a.mu.Unlock()
	if wakes {
		a.signal()
	}
}

// Take waits until the head's first action is Options.Delay old (or as
// Options.Mode says) and returns the batch that is cut then: up to n slots from
// the front, whatever their age, and at most bytes bytes of tasks (0: any
// number); a single task above that goes alone. The rest stays for the next
// Take, which is answered at once if the head of the rest is due as well. A
// batch is never empty.
//
// The batch is in flight until Settle is called with it. Take returns ctx's
// error as soon as ctx ends; a batch that was cut by then is put back.
// ErrClosed: the acceptor has ended.
func (a *Acceptor[K, S]) Take(ctx context.Context, n, bytes int) (Batch[K, S], error) {
	if n < 1 {
		return Batch[K, S]{}, fmt.Errorf("acceptor: take: n is %d, must be at least 1", n)
	}
	if err := ctx.Err(); err != nil {
		return Batch[K, S]{}, err
	}
	req := &request[K, S]{ctx: ctx, n: n, bytes: bytes, reply: make(chan Batch[K, S])}
	select {
	case a.requests <- req:
	case <-ctx.Done():
		return Batch[K, S]{}, ctx.Err()
	case <-a.done:
		return Batch[K, S]{}, ErrClosed
	}
	select {
	case b := <-req.reply:
		return b, nil
	case <-ctx.Done():
		return Batch[K, S]{}, ctx.Err()
	case <-a.done:
		return Batch[K, S]{}, ErrClosed
	}
}

// Settle takes what became of a batch: outcomes[i] belongs to b.Items[i]. Call it
// once per batch that Take returned, also after the acceptor has ended; retried
// items are dropped then. Errors: ErrOutcomes, ErrSettled. Nothing has changed
// then.
func (a *Acceptor[K, S]) Settle(b Batch[K, S], outcomes []Outcome) error {
	t := b.ticket
	if t == nil || t.owner != a {
		return ErrSettled
	}
	drops, err := a.settle(t, outcomes)
	for _, d := range drops {
		a.opts.OnDrop(d.key, d.slot, d.reason)
	}
	if err == nil {
		a.signal()
	}
	return err
}

func (a *Acceptor[K, S]) settle(t *ticket[K, S], outcomes []Outcome) ([]drop[K, S], error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.settled {
		return nil, ErrSettled
	}
	if len(outcomes) != len(t.items) {
		return nil, fmt.Errorf("%w: %d for %d items", ErrOutcomes, len(outcomes), len(t.items))
	}
	t.settled = true
	delete(a.open, t)
	a.inFlight -= len(t.items)

	var drops []drop[K, S]
	for i, o := range outcomes {
		e := t.items[i].entry
		switch {
		case o.IsDone():
			a.counts.acknowledged++
		case o.IsRetry() && a.phase != ended:
			a.counts.retried++
			a.retries = append(a.retries, e)
		default:
			reason, ok := o.Dropped()
			if !ok {
				reason = a.reason
			}
			a.counts.dropped[reason]++
			drops = append(drops, drop[K, S]{e.key, e.slot, reason})
		}
	}
	t.items = nil // A caller that keeps the batch does not keep its slots.
	return drops, nil
}

// Drain begins the end: nothing new is accepted, slots are due at once, and
// Run returns when nothing is pending and nothing in flight. End Run's context,
// or call Close, to set a limit to that.
func (a *Acceptor[K, S]) Drain() {
	a.mu.Lock()
	a.refusing = true
	a.mu.Unlock()
	a.signal()
}

// Close ends the acceptor: what is pending is dropped for the reason given
// ([Shutdown] or [PeerGone]), and so is what is retried or offered later. It
// does not wait for Run. Only the first call has an effect, and none has after
// Run has returned.
func (a *Acceptor[K, S]) Close(reason Reason) {
	a.mu.Lock()
	select {
	case <-a.stop:
		a.mu.Unlock()
		return
	default:
	}
	idle := a.phase == created
	if a.phase != ended {
		a.reason = reason.known()
		a.refusing = true
	}
	if idle {
		a.phase = running // Ours to end: a later Run finds it so.
	}
	close(a.stop)
	a.mu.Unlock()
	if idle {
		a.end()
	}
}

func (a *Acceptor[K, S]) signal() {
	select {
	case a.wake <- struct{}{}:
	default: // Run will look anyway.
	}
}

func (a *Acceptor[K, S]) now() time.Duration { return time.Since(a.epoch) }
