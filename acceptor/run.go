package acceptor

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// request is the work request of one Take. The reply channel has no buffer:
// either Take receives the batch, or ctx ended and the batch is still ours.
type request[K comparable, S any] struct {
	ctx   context.Context
	n     int
	bytes int
	reply chan Batch[K, S]
}

// drop is a slot that was dropped, for OnDrop.
type drop[K comparable, S any] struct {
	key    K
	slot   S
	reason Reason
}

// Run owns the pending slots and their order. It returns when ctx ends or
// Close is called, what is pending being dropped and counted then, or after
// Drain when nothing is left; in each case it returns nil. ErrStarted: Run was
// called before. ErrClosed: Close was.
func (a *Acceptor[K, S]) Run(ctx context.Context) error {
	a.mu.Lock()
	switch {
	case a.phase == created:
		a.phase = running
		a.mu.Unlock()
	case a.isStopped():
		a.mu.Unlock()
		return ErrClosed
	default:
		a.mu.Unlock()
		return ErrStarted
	}
	defer a.end()

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var req *request[K, S] // the work request that waits for its batch
	for ctx.Err() == nil && !a.isStopped() {
		more, m := a.drain()
		if req != nil {
			m.places = req.n
		}
		if req != nil && a.due(m) && a.fulfil(req, m) {
			req = nil
		}
		if m.refusing && a.isEmpty() {
			return nil
		}
		if more {
			a.signal()
		}

		// One of the two channels is nil: there is a request or there isn't.
		requests, withdrawn := a.requests, (<-chan struct{})(nil)
		var ripe <-chan time.Time
		if req != nil {
			requests, withdrawn = nil, req.ctx.Done()
			if a.order.head != nil {
				timer.Reset(a.dueIn(m))
				ripe = timer.C
			}
		}
		a.rest()
		select {
		case <-a.wake:
		case reply := <-a.status:
			a.drain()
			reply <- a.snapshot()
		case req = <-requests:
		case <-withdrawn:
			req = nil
		case <-ripe:
		case <-a.stop:
		case <-ctx.Done():
		}
	}
	return nil
}

// rest lets offers come without waking Run, where they neither make a batch due earlier
// (with a fixed delay the head alone says when that is) nor come near the limit.
func (a *Acceptor[K, S]) rest() {
	calm := a.opts.Mode == Fixed && a.order.head != nil && a.order.len()+drainChunk <= a.limit
	a.mu.Lock()
	a.calm = calm
	came := !calm && a.queue.len() > 0 // without a signal, while Run was at work
	a.mu.Unlock()
	if came {
		a.signal()
	}
}

// drain moves what waits into the processing order: first what is retried, then
// the ring, then the map. It stops after a ring's worth, so that offers that
// never pause can't keep batches from being cut; more reports that it did. m
// describes the state when drain returned.
func (a *Acceptor[K, S]) drain() (more bool, m moment) {
	for drained := 0; ; {
		a.mu.Lock()
		retried := a.takeRetries()
		var taken []entry[K, S]
		if len(retried) == 0 && drained < len(a.queue.ring) {
			taken = a.queue.take(a.chunk)
		}
		more = a.queue.len() > 0
		m = moment{now: a.now(), refusing: a.refusing, idle: a.inFlight == 0}
		a.mu.Unlock()
		if len(retried)+len(taken) == 0 {
			return more, m
		}

		a.limit = max(1, a.opts.Limit())
		if len(retried) > 0 {
			a.putBack(retried, a.limit)
		}
		for i := range taken {
			a.place(taken[i], a.limit)
		}
		clear(taken)
		drained += len(taken)
	}
}

// takeRetries returns what Settle gave back, in the order of their first
// actions. The slice is Run's until the next call. The caller holds mu.
func (a *Acceptor[K, S]) takeRetries() []entry[K, S] {
	clear(a.back)
	a.back, a.retries = a.retries, a.back[:0]
	sortEntries(a.back)
	return a.back
}

// sortEntries sorts by the first actions, as the processing order is.
func sortEntries[K comparable, S any](entries []entry[K, S]) {
	slices.SortFunc(entries, func(x, y entry[K, S]) int { return cmp.Compare(x.seq, y.seq) })
}

// place gives a new action its slot: merged into the pending one of its key,
// which keeps its first time and its place, or else at the end.
func (a *Acceptor[K, S]) place(e entry[K, S], limit int) {
	if n := a.order.slots[e.key]; n != nil {
		n.entry = merge(n.entry, e, a.opts.Merge)
		a.own.merged++
		return
	}
	a.order.insert(e, nil)
	a.trim(limit)
}

// putBack gives retried slots the places that their first actions had. They
// come sorted by those, so that one walk from the front finds all places; it is
// short, since only what was in flight at the same time can be older.
func (a *Acceptor[K, S]) putBack(retried []entry[K, S], limit int) {
	at := a.order.head
	for _, e := range retried {
		if n := a.order.slots[e.key]; n != nil {
			a.own.merged++
			merged := merge(e, n.entry, a.opts.Merge)
			if n.seq < e.seq {
				n.entry = merged // It began first: it stands where it should.
				continue
			}
			if at == n {
				at = n.next
			}
			a.order.remove(n)
			e = merged
		}
		for at != nil && at.seq < e.seq {
			at = at.next
		}
		a.order.insert(e, at)
	}
	a.trim(limit)
}

// trim drops the oldest slots beyond the limit.
func (a *Acceptor[K, S]) trim(limit int) {
	for a.order.len() > limit {
		a.drop(a.order.head, Overflowed)
	}
}

func (a *Acceptor[K, S]) drop(n *node[K, S], reason Reason) {
	e := a.order.remove(n)
	a.own.dropped[reason]++
	a.opts.OnDrop(e.key, e.slot, reason)
}

// fulfil cuts a batch and hands it to the Take that asked for it. False: the
// request still waits, because nothing of what was due is left to send.
func (a *Acceptor[K, S]) fulfil(req *request[K, S], m moment) bool {
	if req.ctx.Err() != nil {
		return true
	}
	batch := a.cut(req.bytes, m)
	items := batch.Items
	if len(items) == 0 {
		return false
	}
	a.batches++
	batch.Number = a.batches
	batch.ticket = &ticket[K, S]{owner: a, items: items, first: items[0].entry.first}
	for i := range items {
		batch.ticket.first = min(batch.ticket.first, items[i].entry.first)
	}
	a.mu.Lock()
	a.inFlight += len(items)
	a.open[batch.ticket] = struct{}{}
	a.mu.Unlock()

	select {
	case req.reply <- batch:
	case <-req.ctx.Done():
		entries := make([]entry[K, S], len(items))
		for i := range items {
			entries[i] = items[i].entry
		}
		sortEntries(entries)
		a.putBack(entries, math.MaxInt) // Their keys have no other slot.
		a.mu.Lock()
		a.inFlight -= len(items)
		delete(a.open, batch.ticket)
		a.mu.Unlock()
	}
	return true
}

// isEmpty reports whether nothing is pending and nothing in flight.
func (a *Acceptor[K, S]) isEmpty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queue.len()+len(a.retries)+a.order.len()+a.inFlight == 0
}

func (a *Acceptor[K, S]) isStopped() bool {
	select {
	case <-a.stop:
		return true
	default:
		return false
	}
}

// end drops what is pending, for good. It is called once, by Run's goroutine or
// by the Close that came before any Run.
func (a *Acceptor[K, S]) end() {
	a.mu.Lock()
	a.phase, a.refusing = ended, true
	left := append(a.retries, a.queue.take(make([]entry[K, S], a.queue.used))...)
	left = append(left, a.queue.take(nil)...)
	for n := a.order.head; n != nil; n = n.next {
		left = append(left, n.entry)
	}
	reason := a.reason
	a.counts.dropped[reason] += uint64(len(left))
	a.retries = nil
	a.order = processingOrder[K, S]{}
	a.mu.Unlock()
	close(a.done)

	for _, e := range left {
		a.opts.OnDrop(e.key, e.slot, reason)
	}
}
