package registry

import (
	"sync"
	"time"
)

// recentLen is how many registrations, and how many cancels, are remembered:
// Eureka's.
const recentLen = 1000

// Event is one registration or cancel, as Eureka's lastn page lists them.
type Event struct {
	Time time.Time
	Key  Key
}

// recent remembers the last events, oldest first, under a lock of its own.
type recent struct {
	mu     sync.Mutex
	events [recentLen]Event
	next   int // where the next one goes
	full   bool
}

func (r *recent) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[r.next] = e
	r.next++
	if r.next == recentLen {
		r.next, r.full = 0, true
	}
}

// list returns the events, newest first.
func (r *recent) list() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.next
	if r.full {
		n = recentLen
	}
	out := make([]Event, n)
	for i := range out {
		out[i] = r.events[(r.next-1-i+recentLen)%recentLen]
	}
	return out
}

// Recent returns the last 1,000 registrations and the last 1,000 cancels that
// were asked of this node, evictions among them and peers' calls too, newest
// first, as AbstractInstanceRegistry keeps them.
func (r *Registry) Recent() (registered, cancelled []Event) {
	return r.registered.list(), r.cancelled.list()
}
