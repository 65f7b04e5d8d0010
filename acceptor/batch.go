package acceptor

import "time"

// Reason says why a slot was dropped. The set is closed: a reason that is not
// one of the constants is counted as [Other].
type Reason string

// The reasons to drop a slot.
const (
	Overflowed Reason = "overflowed" // more slots pending than Options.Limit; the oldest went
	Expired    Reason = "expired"    // Render: of no use any more, as the heartbeat of a lease that has run out
	Evicted    Reason = "evicted"    // Render: nothing is left to send for the key
	Malformed  Reason = "malformed"  // the peer can't read the task; sending it again would not help
	Shutdown   Reason = "shutdown"   // this node ended first
	PeerGone   Reason = "peer_gone"  // the peer has been away too long, its pipeline was closed
	Other      Reason = "other"      // the caller gave a reason that is none of these
)

// Reasons returns every reason there is, always in the same order.
func Reasons() []Reason {
	return []Reason{Overflowed, Expired, Evicted, Malformed, Shutdown, PeerGone, Other}
}

// known returns r, or Other when r is none of the constants.
func (r Reason) known() Reason {
	switch r {
	case Overflowed, Expired, Evicted, Malformed, Shutdown, PeerGone:
		return r
	default:
		return Other
	}
}

// Task is what is sent of a slot.
type Task struct {
	Body   []byte // encoded; the acceptor counts its bytes and does not read it
	Action string // a label for metrics
}

// Item is one slot of a batch.
type Item[K comparable, S any] struct {
	Key   K
	Slot  S         // merged from every action since First
	First time.Time // of the first action that was not sent; survives retries
	Cut   time.Time // when Task was made; the same for the whole batch
	Task  Task      // what Options.Render made of the slot

	entry entry[K, S]
}

// Wait returns how long the slot's first action has waited for the cut.
func (i *Item[K, S]) Wait() time.Duration { return i.Cut.Sub(i.First) }

// Batch is what [Acceptor.Take] hands out: at least one item, in the order of
// their first actions; with Options.Urgent, urgent ones in front of the others.
// It is in flight until [Acceptor.Settle] is called with it. Its owner may read
// it from any goroutine and must not change it.
type Batch[K comparable, S any] struct {
	Number uint64 // ascends from 1 within one acceptor
	Items  []Item[K, S]
	Bytes  int // of all task bodies

	ticket *ticket[K, S] // nil in a batch that Take did not make
}

// ticket is the acceptor's own record of a batch, guarded by Acceptor.mu.
type ticket[K comparable, S any] struct {
	owner   *Acceptor[K, S]
	items   []Item[K, S]
	first   time.Duration // of the oldest action in it
	settled bool
}

// Split cuts a batch in two, for a sender that looks for the one bad task in
// it. Neither half can be settled: the whole batch still has to be. A batch of
// one item has an empty first half.
func (b Batch[K, S]) Split() (first, second Batch[K, S]) {
	mid := len(b.Items) / 2
	return b.part(b.Items[:mid:mid]), b.part(b.Items[mid:])
}

func (b Batch[K, S]) part(items []Item[K, S]) Batch[K, S] {
	p := Batch[K, S]{Number: b.Number, Items: items}
	for i := range items {
		p.Bytes += len(items[i].Task.Body)
	}
	return p
}

// Outcome is what became of one item of a batch. The zero Outcome is [Retry]:
// nothing is given up by omission.
type Outcome struct {
	kind   outcomeKind
	reason Reason
}

type outcomeKind uint8

const (
	kindRetry outcomeKind = iota
	kindDone
	kindDrop
)

// Done says that the peer has the item.
func Done() Outcome { return Outcome{kind: kindDone} }

// Retry says that the item has to be sent again: its slot goes back to where
// its first action belongs, merged with what has come since.
func Retry() Outcome { return Outcome{} }

// Drop says that the item is given up for a reason, and counted under it.
func Drop(reason Reason) Outcome { return Outcome{kind: kindDrop, reason: reason.known()} }

// IsDone reports whether the outcome is [Done].
func (o Outcome) IsDone() bool { return o.kind == kindDone }

// IsRetry reports whether the outcome is [Retry].
func (o Outcome) IsRetry() bool { return o.kind == kindRetry }

// Dropped returns the reason of a [Drop], and whether the outcome is one.
func (o Outcome) Dropped() (Reason, bool) { return o.reason, o.kind == kindDrop }

// String returns "done", "retry" or "drop: " and the reason.
func (o Outcome) String() string {
	switch o.kind {
	case kindDone:
		return "done"
	case kindDrop:
		return "drop: " + string(o.reason)
	default:
		return "retry"
	}
}
