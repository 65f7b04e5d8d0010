package history

import (
	"slices"

	"github.com/registryd/registryd/registry"
)

// Filter says which events a reader wants. The zero value is all of them.
type Filter struct {
	App   string // upper case; empty: any
	ID    string // with App; empty: any
	Kinds Kinds  // 0: any
}

// Kinds is a set of kinds.
type Kinds uint16

// KindsOf returns the set of these kinds.
func KindsOf(kinds ...registry.Kind) Kinds {
	var out Kinds
	for _, k := range kinds {
		out |= 1 << k
	}
	return out
}

// Has reports whether k is in the set, or the set is empty.
func (s Kinds) Has(k registry.Kind) bool { return s == 0 || s&(1<<k) != 0 }

// takes reports whether f wants an event. Chains hold those of other names with the same
// hash.
func (f *Filter) takes(e *raw) bool {
	return len(e.body) > 0 && f.Kinds.Has(registry.Kind(e.body[0])) &&
		(f.App == "" || isOf(e.body, registry.Key{App: f.App, ID: f.ID}))
}

// before returns where to go on, backwards.
func (f *Filter) before(e *raw) uint64 {
	switch {
	case f.App == "":
		return e.seq - 1
	case f.ID == "":
		return e.beforeApp
	default:
		return e.beforeKey
	}
}

// latest returns the newest sequence number that f may want.
func (h *History) latest(f *Filter) uint64 {
	app, key := h.hashes(registry.Key{App: f.App, ID: f.ID})
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch {
	case f.App == "" || h.byKey == nil:
		return h.next - 1
	case f.ID == "":
		return h.byApp[app%appChains]
	default:
		return h.byKey[key&uint64(h.chains-1)]
	}
}

// Query returns at most limit events, the newest first, of those before a sequence number;
// before 0: of all. more reports whether there may be others before the last one returned.
func (h *History) Query(f Filter, before uint64, limit int) (events []Event, more bool) {
	for seq := h.latest(&f); seq > 0; {
		e, ok := h.look(seq)
		if !ok {
			return events, false
		}
		if (before == 0 || seq < before) && f.takes(&e) {
			if len(events) == limit {
				return events, true
			}
			events = appendDecoded(events, &e)
		}
		if seq = f.before(&e); f.App == "" && before != 0 && seq >= before {
			seq = before - 1
		}
	}
	return events, false
}

func appendDecoded(events []Event, e *raw) []Event {
	body, err := decodeBody(e.body)
	if err != nil {
		return events // it was encoded here: it never is
	}
	return append(events, Event{Seq: e.seq, Event: body})
}

// Last returns the sequence number of the newest event, 0 if there was none. An event has
// its number before the call returns that made the change.
func (h *History) Last() uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.next - 1
}

// LastOf returns a sequence number that no event of the application is after.
func (h *History) LastOf(app string) uint64 { return h.latest(&Filter{App: app}) }

// LastOfKey returns a sequence number that no event of the instance is after.
func (h *History) LastOfKey(key registry.Key) uint64 {
	return h.latest(&Filter{App: key.App, ID: key.ID})
}

// After returns the first events after a sequence number, the oldest first, at most limit of
// them, and the number to go on from. ok is false if some of those after seq have left the
// history, or seq is of no event yet: the reader has missed what it can't know.
func (h *History) After(f Filter, seq uint64, limit int) (events []Event, next uint64, ok bool) {
	h.mu.RLock()
	last, first := h.next-1, h.first()
	h.mu.RUnlock()
	if f.App != "" && seq <= last && h.latest(&f) <= seq {
		return nil, last, true
	}
	if seq > last || seq+1 < first {
		h.metrics.lost.Inc()
		return nil, last, false
	}
	if f.App != "" {
		return h.afterOf(f, seq, last, limit)
	}
	for next = seq; next < last && len(events) < limit; next++ {
		e, there := h.look(next + 1)
		if !there {
			h.metrics.lost.Inc()
			return nil, last, false
		}
		if f.takes(&e) {
			events = appendDecoded(events, &e)
		}
	}
	return events, next, true
}

// afterOf is After along a chain: its cost is that of the events of the chain.
func (h *History) afterOf(f Filter, seq, last uint64, limit int) (events []Event, next uint64, ok bool) {
	var found []raw
	for at := h.latest(&f); at > seq; {
		e, there := h.look(at)
		if !there {
			h.metrics.lost.Inc()
			return nil, last, false
		}
		if at <= last && f.takes(&e) {
			found = append(found, e)
		}
		at = f.before(&e)
	}
	slices.Reverse(found)
	next = last
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].seq
	}
	for i := range found {
		events = appendDecoded(events, &found[i])
	}
	return events, next, true
}

// Wait returns a channel that is closed when the next event of the application comes, or of
// any where app is empty. It may be closed for another one too. A reader takes it before it
// calls After, so that it misses nothing.
func (h *History) Wait(app string) <-chan struct{} {
	hash, _ := h.hashes(registry.Key{App: app})
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &h.waitAll
	if app != "" {
		w = &h.waiting[hash%appChains]
	}
	if *w == nil {
		*w = make(chan struct{})
	}
	return *w
}
