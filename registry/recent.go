package registry

import (
	"slices"
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

// recent remembers the last events under a lock of its own.
type recent struct {
	mu     sync.Mutex
	events []Event // at most recentLen: a ring once it is full
	next   int     // where the next one goes then
}

func (r *recent) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) < recentLen {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % recentLen
}

// list returns the events, newest first.
func (r *recent) list() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Concat(r.events[r.next:], r.events[:r.next])
	slices.Reverse(out)
	return out
}

// Recent returns the last 1,000 registrations and the last 1,000 cancels that
// were asked of this node, evictions among them and peers' calls too, newest
// first, as AbstractInstanceRegistry keeps them.
func (r *Registry) Recent() (registered, cancelled []Event) {
	return r.registered.list(), r.cancelled.list()
}
