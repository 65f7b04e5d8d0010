package acceptor

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Mode says when a batch is cut and who is in it. The zero Mode is [Fixed].
type Mode uint8

const (
	// Fixed is Eureka's rule: a batch is cut when the head's first action is
	// Options.Delay old, and holds the oldest slots.
	Fixed Mode = iota
	// Adaptive goes by the load. While nothing is in flight a slot leaves at
	// once. While something is, slots gather until it is settled, or a batch
	// is full, or the head is Options.Delay old: a busy pipeline makes large
	// batches by itself, and none of its slots is due later than with Fixed.
	// Urgent slots go first.
	Adaptive
)

// ParseMode returns the mode that is spelled fixed or adaptive.
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{Fixed, Adaptive} {
		if s == m.String() {
			return m, nil
		}
	}
	return Fixed, fmt.Errorf("batch mode %.40q: not fixed or adaptive", s)
}

// String returns fixed or adaptive.
func (m Mode) String() string {
	switch m {
	case Fixed:
		return "fixed"
	case Adaptive:
		return "adaptive"
	default:
		return fmt.Sprintf("mode %d", uint8(m))
	}
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, as [ParseMode] does.
func (m *Mode) UnmarshalText(text []byte) error {
	parsed, err := ParseMode(string(text))
	if err == nil {
		*m = parsed
	}
	return err
}

// How urgent slots and the others share a batch in [Adaptive] mode. Nobody
// starves: a slot that has waited for patience delays belongs to those that
// have a batch's overdueShare for themselves, oldest first.
const (
	patience     = 4
	overdueShare = 5 // one place in so many; at least one place
)

// moment is what the due rule goes by, beside the slots themselves.
type moment struct {
	now      time.Duration
	refusing bool // the end has begun
	idle     bool // nothing is in flight
	places   int  // of the batch that is asked for
}

// dueIn returns how long it takes until a batch may be cut: the one place that
// knows when. There is a head.
func (a *Acceptor[K, S]) dueIn(m moment) time.Duration {
	switch {
	case m.refusing:
		return 0
	case a.opts.Mode == Adaptive && (m.idle || a.order.len() >= m.places):
		return 0
	default:
		return a.order.head.first + a.delay() - m.now
	}
}

// due reports whether a batch may be cut now.
func (a *Acceptor[K, S]) due(m moment) bool {
	return a.order.head != nil && a.dueIn(m) <= 0
}

// cut renders slots and takes those that fit out of the order: from the front,
// or urgent ones first.
func (a *Acceptor[K, S]) cut(bytes int, m moment) Batch[K, S] {
	c := cutter[K, S]{acceptor: a, moment: m, bytes: bytes}
	if a.opts.Mode != Adaptive || a.opts.Urgent == nil || a.order.head == nil {
		c.take(m.places, nil)
		return c.batch
	}
	urgent := func(e *entry[K, S]) bool { return a.opts.Urgent(e.slot) }
	overdue := m.now - patience*a.delay()
	if a.order.head.first <= overdue {
		c.take(max(1, m.places/overdueShare), func(e *entry[K, S]) bool { return e.first <= overdue })
	}
	c.take(m.places, urgent)
	c.take(m.places, nil)
	slices.SortFunc(c.batch.Items, func(x, y Item[K, S]) int {
		switch first := urgent(&x.entry); {
		case first == urgent(&y.entry):
			return cmp.Compare(x.entry.seq, y.entry.seq)
		case first:
			return -1
		default:
			return 1
		}
	})
	return c.batch
}

// cutter fills one batch.
type cutter[K comparable, S any] struct {
	acceptor *Acceptor[K, S]
	moment   moment
	bytes    int  // bound of the batch; 0: none
	full     bool // by bytes
	batch    Batch[K, S]
}

// take moves slots that match (nil: all) from the order into the batch, from
// the front, until it has n.
func (c *cutter[K, S]) take(n int, match func(*entry[K, S]) bool) {
	a, b := c.acceptor, &c.batch
	cut := a.epoch.Add(c.moment.now)
	var next *node[K, S]
	for at := a.order.head; at != nil && len(b.Items) < n && !c.full; at = next {
		next = at.next
		if match != nil && !match(&at.entry) {
			continue
		}
		if len(b.Items) == 0 && !a.due(c.moment) {
			return // Those that were due had nothing to send.
		}
		task, reason := a.opts.Render(at.key, at.slot, c.moment.now-at.first)
		if reason != "" {
			a.drop(at, reason.known())
			continue
		}
		size := len(task.Body)
		if c.bytes > 0 && len(b.Items) > 0 && b.Bytes+size > c.bytes {
			c.full = true
			return
		}
		if b.Items == nil {
			b.Items = make([]Item[K, S], 0, min(c.moment.places, a.order.len()))
		}
		e := a.order.remove(at)
		b.Items = append(b.Items, Item[K, S]{
			Key: e.key, Slot: e.slot, First: a.epoch.Add(e.first), Cut: cut,
			Task: task, entry: e,
		})
		b.Bytes += size
	}
}
