package acceptor

import "time"

// entry is a slot on its way through the acceptor: one action, or several that
// were merged.
type entry[K comparable, S any] struct {
	key  K
	slot S

	first time.Duration // when the first of its actions was offered, since Acceptor.epoch
	seq   uint64        // number of the first action: what the processing order goes by
	last  uint64        // number of the last action: of two slots the one with the greater is the newer
}

// merge joins two slots of one key. The slot whose last action is the older one
// is the older slot; the first time and the place in the order are those of
// whichever began first. (A key that is in flight twice can come back as a slot
// that lies within another one. Then no order of the two is exact; the newest
// action is still the last.)
func merge[K comparable, S any](x, y entry[K, S], join func(older, newer S) S) entry[K, S] {
	older, newer := x, y
	if older.last > newer.last {
		older, newer = newer, older
	}
	merged := older
	merged.slot = join(older.slot, newer.slot)
	merged.last = newer.last
	if newer.seq < older.seq {
		merged.seq, merged.first = newer.seq, newer.first
	}
	return merged
}

// acceptorQueue is stage 1: a ring, and beside it a slot per key for what
// doesn't fit. It has no lock, Acceptor.mu guards it.
//
// Once the overflow holds anything, all further actions go there too until
// both are drained, ring first: otherwise an action in the ring could overtake
// an older one of its key in the overflow.
type acceptorQueue[K comparable, S any] struct {
	join func(older, newer S) S

	ring []entry[K, S]
	head int // index of the oldest entry
	used int

	overflow []entry[K, S] // in the order of their first actions
	index    map[K]int     // key → place in overflow
}

// add takes an action and reports whether it was merged. It allocates nothing
// while the ring has room.
func (q *acceptorQueue[K, S]) add(e entry[K, S]) (merged bool) {
	if len(q.overflow) == 0 && q.used < len(q.ring) {
		tail := q.head + q.used
		if tail >= len(q.ring) {
			tail -= len(q.ring)
		}
		q.ring[tail] = e
		q.used++
		return false
	}
	if i, ok := q.index[e.key]; ok {
		q.overflow[i] = merge(q.overflow[i], e, q.join)
		return true
	}
	if q.index == nil {
		q.index = make(map[K]int)
	}
	q.index[e.key] = len(q.overflow)
	q.overflow = append(q.overflow, e)
	return false
}

// take returns what is to be drained next: from the ring what fits into buf,
// or, when the ring is empty, the whole overflow. The overflow is given away
// rather than reused: a burst's memory goes with it.
func (q *acceptorQueue[K, S]) take(buf []entry[K, S]) []entry[K, S] {
	if q.used == 0 {
		taken := q.overflow
		q.overflow, q.index = nil, nil
		return taken
	}
	n := 0
	for n < len(buf) && q.used > 0 {
		run := q.ring[q.head:min(q.head+q.used, len(q.ring))]
		copied := copy(buf[n:], run)
		clear(run[:copied]) // the ring must not keep keys alive
		q.head += copied
		if q.head == len(q.ring) {
			q.head = 0
		}
		q.used -= copied
		n += copied
	}
	return buf[:n]
}

// len returns how many actions wait in the ring and keys beside it.
func (q *acceptorQueue[K, S]) len() int { return q.used + len(q.overflow) }

// oldest returns the time of the oldest action that waits here.
func (q *acceptorQueue[K, S]) oldest() (time.Duration, bool) {
	switch {
	case q.used > 0:
		return q.ring[q.head].first, true
	case len(q.overflow) > 0:
		return q.overflow[0].first, true
	default:
		return 0, false
	}
}
