package acceptor

import "time"

// Stats is a snapshot of an acceptor. Everything in it was true at the same
// moment, so that [Stats.Unaccounted] is 0 whenever it is looked at. Counters
// count actions: a slot stands for its first action, those merged into it are
// in Merged.
type Stats struct {
	Accepted     uint64            // offered, refused ones included
	Acknowledged uint64            // settled as Done
	Merged       uint64            // joined another action's slot
	Retried      uint64            // put back by Settle; not part of the law, the slot stays the same one
	Dropped      map[Reason]uint64 // holds every Reason, also those at 0

	AcceptorQueue   int // stage 1: actions in the ring, keys in the map beside it, and what is being drained
	ProcessingOrder int // stage 2: slots, one per key
	Retrying        int // settled as Retry, on the way back to the processing order
	InFlight        int // items taken and not settled

	OldestAge time.Duration // of the oldest action that waits (in flight ones don't); 0: nothing waits

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
//	accepted - acknowledged - merged - dropped - pending - in flight
//
// Anything but 0 is a fault of this package.
func (s Stats) Unaccounted() int64 {
	return int64(s.Accepted) - int64(s.Acknowledged) - int64(s.Merged) - int64(s.TotalDropped()) -
		int64(s.Pending()) - int64(s.InFlight)
}

// Stats returns a snapshot. Any goroutine may call it; it holds the lock of
// Offer for about a microsecond.
func (a *Acceptor[K, S]) Stats() Stats {
	dropped := make(map[Reason]uint64, len(a.reasons))

	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.reasons {
		dropped[r] = a.counts.dropped[r]
	}
	s := Stats{
		Accepted:        a.counts.accepted,
		Acknowledged:    a.counts.acknowledged,
		Merged:          a.counts.merged,
		Retried:         a.counts.retried,
		Dropped:         dropped,
		AcceptorQueue:   a.queue.len() + a.draining,
		ProcessingOrder: a.slots,
		Retrying:        len(a.retries) + a.returning,
		InFlight:        a.inFlight,
	}
	if oldest, ok := a.oldest(); ok {
		s.OldestAge = max(0, a.now()-oldest)
	}
	s.Lag = s.OldestAge
	for t := range a.open {
		s.Lag = max(s.Lag, a.now()-t.first)
	}
	return s
}
