package registry

import (
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Way is how a change came to this node.
type Way uint8

// The ways.
const (
	ByClient      Way = iota // over HTTP, from a client
	ByReplication            // over HTTP, from a Java peer: isReplication
	ByBatch                  // in a batch of a node
	ByAnswer                 // in a node's answer to a batch of ours
	BySync                   // in a comparison or a catch-up with a node
	BySnapshot               // from this node's own snapshot
	ByList                   // from the list of a Java peer
	ByNode                   // this node itself did it
)

// String returns the way as /v1/history names it.
func (w Way) String() string {
	return [...]string{"client", "replication", "batch", "answer", "sync", "snapshot", "list", "node"}[w]
}

// Origin is who asks for a change, and by which way. The zero value is a client of
// unknown address.
type Origin struct {
	Way Way
	// From is the address of a client or of a Java peer as HTTP saw it, else the name
	// of the peer. Empty: this node, or unknown.
	From string
	// Login is who a client is, by the node's logins; empty: there are none.
	Login string
}

// IsReplication reports whether the change is none of a client. Then it is never sent on,
// and Eureka's rules for isReplication hold.
func (o Origin) IsReplication() bool { return o.Way != ByClient }

// Kind is what happened to an instance.
type Kind uint8

// The kinds.
const (
	EventRegistered      Kind = iota + 1 // a register that was stored
	EventKept                            // a register that was not, because the stored instance is newer
	EventMetadata                        // new metadata
	EventOverrideSet                     // a status update
	EventOverrideRemoved                 // the removal of an override
	EventCancelled                       // a cancel
	EventLeaseOver                       // its lease is over; seen by an eviction pass
	EventHeld                            // its lease is over, and self-preservation keeps it
	EventEvicted                         // evicted
	EventJoined                          // a peer's copy, or a part of it, is newer
	EventAnswered                        // what a peer answered to a task; the registry makes none
	Kinds                                // how many there are, and one
)

// String returns the kind as /v1/history names it.
func (k Kind) String() string {
	if k == 0 || k >= Kinds {
		return "unknown"
	}
	return [...]string{
		"registered", "kept", "metadata", "override-set", "override-removed", "cancelled",
		"lease-over", "held", "evicted", "joined", "answered",
	}[k-1]
}

// ParseKind returns the kind of this name.
func ParseKind(name string) (Kind, bool) {
	for k := EventRegistered; k < Kinds; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// Event is one thing that happened to an instance, and the instance after it. Renewals
// are none.
type Event struct {
	Time    time.Time // wall clock of this node, in ms; of EventLeaseOver when it was over
	Kind    Kind
	Key     Key
	By      Origin
	Changed Bits // the parts that are new

	// After it: both versions, 0 for a part that never was; the status that readers see,
	// empty if they don't; and the override, empty without one.
	Record, Override   int64
	Status, Overridden eureka.Status

	// Of a lease that is over: the time since its last renewal, and how long it was.
	Silent, Term time.Duration

	Detail string // for people, in a few words
}

// Recorder takes events in the order in which they took effect. Record is called without
// the registry's lock, by one goroutine at a time, before the call that made the change
// returns and before the [Sink] is told. It must neither block nor call the registry, and
// does not keep the slice.
type Recorder interface {
	Record(events []Event)
}

// outbox holds events between the registry's lock and its Recorder. A change puts its event
// in under the registry's lock, so the order is that of the changes, and hands over what is
// there after it: it holds as many as there are goroutines with a change, and
// handEvery for an eviction pass.
type outbox struct {
	to      Recorder   // nil: nobody wants them
	handing sync.Mutex // held over a call of to; before mu, never with the registry's lock

	mu      sync.Mutex // a leaf
	waiting []Event
	spare   []Event // the other buffer
}

// maxSpare is how many events a buffer may have room for to be kept.
const maxSpare = 1024

// put adds an event. The registry's lock is held.
func (o *outbox) put(e *Event) {
	o.mu.Lock()
	o.waiting = append(o.waiting, *e)
	o.mu.Unlock()
}

// hand gives the recorder all that waits. The registry's lock is not held.
func (o *outbox) hand() {
	if o.to == nil {
		return
	}
	o.handing.Lock()
	defer o.handing.Unlock()
	o.mu.Lock()
	events := o.waiting
	o.waiting, o.spare = o.spare, nil
	o.mu.Unlock()
	if len(events) > 0 {
		o.to.Record(events)
		clear(events)
	}
	if cap(events) <= maxSpare {
		o.mu.Lock()
		o.spare = events[:0]
		o.mu.Unlock()
	}
}

// note makes the event of a change, if anybody wants it. The lock is held.
func (r *Registry) note(t *tx) {
	if t.kind == 0 || r.events.to == nil {
		return
	}
	e := t.e
	event := Event{
		Time: time.UnixMilli(t.wall), Kind: t.kind, Key: t.key, By: t.by, Changed: t.bits,
		Record: e.record.Version, Override: e.override.Version,
	}
	if t.news != 0 {
		event.Changed = t.news
	}
	if e.isPresent() {
		event.Status = e.visible
	}
	if e.override.Set {
		event.Overridden = e.override.Status
	}
	switch t.kind {
	case EventLeaseOver, EventHeld, EventEvicted:
		since := max(e.renewed.Load(), r.upSince)
		event.Silent = time.Duration(t.lease-e.renewed.Load()) * time.Millisecond
		event.Term = r.lives(e)
		if t.kind == EventLeaseOver {
			over := since + event.Term.Milliseconds()
			event.Time = time.UnixMilli(min(t.wall, t.wall-(t.lease-over)))
		}
	default:
	}
	r.events.put(&event)
}

// KindNames returns the names of all kinds, for messages.
func KindNames() string {
	var names []string
	for k := EventRegistered; k < Kinds; k++ {
		names = append(names, k.String())
	}
	return strings.Join(names, ", ")
}
