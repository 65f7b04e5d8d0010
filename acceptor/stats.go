package acceptor

import "time"

// Stats is a snapshot of an acceptor. Everything in it was true at the same
// moment, so [Stats.Unaccounted] is always 0. Counters count actions: a slot
// stands for its first action, and those that joined it are in Merged.
type Stats struct {
	Offered      uint64            // refused ones included
	Acknowledged uint64            // settled as Done
	Merged       uint64            // joined another action's slot
	Retried      uint64            // put back by Settle; not part of the law, the slot stays the same one
	Dropped      map[Reason]uint64 // holds every Reason, also those at 0

	AcceptorQueue   int // stage 1: actions in the ring, and keys in the map beside it
	ProcessingOrder int // stage 2: slots, one per key
	Retrying        int // settled as Retry, on the way back to the processing order
	InFlight        int // items taken and not settled

	OldestAge time.Duration // of the oldest action that waits, in flight ones left out; 0: nothing waits

	// Lag is the age of the oldest action that the peer has not acknowledged,
	// waiting or in flight: how far it is behind. 0: it has everything.
	Lag time.Duration
}

// Pending returns how many actions wait to be sent.
func (s Stats) Pending() int { return s.AcceptorQueue + s.ProcessingOrder + s.Retrying }

// TotalDropped returns the sum over all reasons.
func (s Stats) TotalDropped() uint64 {
	var n uint64
	for _, d := range s.Dropped {
		n += d
	}
	return n
}

// Unaccounted returns by how much the law of conservation is broken:
//
//	offered - acknowledged - merged - dropped - pending - in flight
//
// Anything but 0 is a fault of this package.
func (s Stats) Unaccounted() int64 {
	return int64(s.Offered) - int64(s.Acknowledged) - int64(s.Merged) - int64(s.TotalDropped()) -
		int64(s.Pending()) - int64(s.InFlight)
}

// Stats returns a snapshot. Any goroutine may call it, but not Merge, Render or
// OnDrop. Run answers it between two moves, so it may wait for the rendering of
// one batch.
func (a *Acceptor[K, S]) Stats() Stats {
	a.mu.Lock()
	if a.phase == created {
		defer a.mu.Unlock()
		return a.snapshotLocked()
	}
	a.mu.Unlock()
	reply := make(chan Stats, 1)
	select {
	case a.status <- reply:
		return <-reply
	case <-a.done: // Nobody moves anything any more.
		return a.snapshot()
	}
}

func (a *Acceptor[K, S]) snapshot() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.snapshotLocked()
}

// snapshotLocked holds mu, which keeps Offer and Settle out. Run's goroutine
// calls it, or nobody is Run's goroutine.
func (a *Acceptor[K, S]) snapshotLocked() Stats {
	dropped := make(map[Reason]uint64)
	for _, r := range Reasons() {
		dropped[r] = a.counts.dropped[r] + a.own.dropped[r]
	}
	now := a.now()
	s := Stats{
		Offered:         a.counts.offered,
		Acknowledged:    a.counts.acknowledged,
		Merged:          a.counts.merged + a.own.merged,
		Retried:         a.counts.retried,
		Dropped:         dropped,
		AcceptorQueue:   a.queue.len(),
		ProcessingOrder: a.order.len(),
		Retrying:        len(a.retries),
		InFlight:        a.inFlight,
	}
	oldest, waits := a.queue.oldest()
	if head := a.order.head; head != nil && (!waits || head.first < oldest) {
		oldest, waits = head.first, true
	}
	for i := range a.retries {
		if first := a.retries[i].first; !waits || first < oldest {
			oldest, waits = first, true
		}
	}
	if waits {
		s.OldestAge = max(0, now-oldest)
	}
	s.Lag = s.OldestAge
	for t := range a.open {
		s.Lag = max(s.Lag, now-t.first)
	}
	return s
}
