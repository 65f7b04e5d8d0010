package registry

import (
	"bytes"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// Join merges what a NATS peer knows of an instance into what this node knows.
// No rule of Eureka is evaluated: each part wins by itself, greater record,
// greater override, later lease, so that order, duplicates and late arrivals do
// no harm and a node never goes back.
//
// in holds the peer's versions of both parts, carried says which of them the
// peer sent with their content: Registered the record (then also the override),
// Overridden the override, neither just the lease. The lease joins whenever the
// key is known.
//
// NotFound: the peer's record (or, where it sent neither part, its override)
// would win over ours and it did not send it. Conflict: one of ours wins; the
// entry returned is ours, for the peer to join. Refused: the entry is out of bounds
// ([Registry.Refuses] tells which), nothing has changed. Nothing that Join does is sent
// on. by says who sent the entry, for the events.
func (r *Registry) Join(key Key, in Entry, carried Bits, by Origin) (Outcome, Entry) {
	t := tx{key: key, by: by}
	t.wall, t.lease = r.clock()
	if outOfBounds(key, &in, t.wall) != nil {
		r.stats.joinsRefused.Inc()
		return Refused, Entry{}
	}
	var leaf uint16
	if carried&Registered != 0 { // it may make an entry
		leaf = leafOf(key)
	}
	r.mu.Lock()
	t.on(r.lookup(key))
	out, ours, count := r.join(&t, &in, carried, leaf)
	r.note(&t)
	r.mu.Unlock()
	count.Inc()
	if t.kind != 0 {
		r.events.hand()
	}
	if t.bits != 0 {
		r.sink.Changed(Change{Key: key, Bits: t.bits, IsReplication: true})
	}
	return out, ours
}

// parts is what nodes merge of an entry, without the lease.
type parts struct {
	record   Record
	override Override
}

// join returns the greater of each part, and which of them are of b. It is
// commutative, associative and idempotent.
func join(a, b parts) (out parts, record, override bool) {
	if record = b.record.After(&a.record); record {
		a.record = b.record
	}
	if override = b.override.After(&a.override); override {
		a.override = b.override
	}
	return a, record, override
}

// join is Join under the lock. It returns the counter of its outcome too.
func (r *Registry) join(t *tx, in *Entry, carried Bits, leaf uint16) (Outcome, Entry, prometheus.Counter) {
	withRecord, withOverride := carried&Registered != 0, carried&(Registered|Overridden) != 0
	renewed := t.lease - in.Age.Milliseconds()
	switch {
	case t.e == nil && !withRecord:
		return NotFound, Entry{}, r.stats.joinsNotFound
	case t.e == nil && r.declines(in, t.lease, renewed):
		return OK, Entry{}, r.stats.joinsDeclined
	case t.e == nil && r.entries >= r.room:
		return Refused, Entry{}, r.stats.joinsRefused
	case t.e == nil:
		t.on(r.create(t.key, leaf))
		t.e.evicted = in.Evicted && in.Record.Live
	case withRecord && r.retiredTombstone(in, t.lease, renewed) && in.Record.After(&t.e.record):
		return OK, Entry{}, r.stats.joinsDeclined
	}
	e := t.e
	theirs := e.parts
	if withRecord {
		theirs.record = in.Record
	}
	if withOverride {
		theirs.override = in.Override
	}
	joined, newRecord, newOverride := join(e.parts, theirs)
	action := eureka.Modified
	switch {
	case newRecord && !in.Record.Live:
		action = eureka.Deleted
	case newRecord && (!newOverride || !t.was || !sameContent(&in.Record, &e.record)):
		action = eureka.Added
	}
	e.longest = max(e.longest, r.longest(in))
	if e.renew(renewed) && !withOverride && e.record.Live {
		// A younger lease may be that of the registration itself, longer on its way.
		if renewed-e.joinedAt >= interval(e.record.Info).Milliseconds()/2 {
			e.renewedYet.Store(true)
		}
	}
	if newRecord {
		if in.Record.Live && !t.was {
			e.registered, e.serviceUp = t.wall, 0
		}
		e.joinedAt = max(e.joinedAt, renewed)
		if !e.record.Live || e.record.LastDirty != in.Record.LastDirty {
			e.accepted = in.Record.Version // no later: else what the client did meanwhile would be older
		}
		e.evicted = e.evicted && in.Record.Live
	}
	e.parts = joined
	if newRecord {
		r.unkeep(e)
	}
	// What is retired here is on no page: a peer that keeps an older copy would not learn of it.
	if withRecord && in.Keep > 0 && (!e.record.After(&in.Record) || e.dueAt() < t.lease) {
		e.kept = max(e.kept, t.lease+min(in.Keep, 2*r.maxLease+retirement).Milliseconds())
	}
	back := e.evicted && !r.lapsed(e, t.lease)
	if back {
		e.evicted = false
		e.registered, e.serviceUp = t.wall, 0
		action = eureka.Added
	}
	count := r.stats.joinsSame
	if newRecord || newOverride || back {
		count, t.kind = r.stats.joinsChanged, EventJoined
		switch t.bits = carried & (Registered | Overridden); {
		case !e.record.Live:
			t.bits = Cancelled
		case t.bits == 0:
			t.bits = Renewed
		}
		t.news = news(newRecord, newOverride, e.record.Live)
		t.keepsServiceUp = newOverride && !in.Override.Set && action == eureka.Modified
		r.refreshJoined(t, action)
	}
	if e.at == notQueued {
		r.track(e, t.lease)
	}
	out, ours := answer(e, in, withRecord, withOverride, t.lease)
	return out, ours, count
}

// sameContent reports whether two live records differ in no more than the client's
// lastDirtyTimestamp: a change of the status brought it.
func sameContent(a, b *Record) bool {
	if !a.Live || !b.Live {
		return false
	}
	var stack [2][2048]byte
	same := *a
	same.LastDirty = b.LastDirty
	return bytes.Equal(appendRecord(stack[0][:0], &same), appendRecord(stack[1][:0], b))
}

// news spells which parts a join has changed: the lease alone if neither.
func news(record, override, live bool) Bits {
	out := Renewed
	switch {
	case record && live:
		out = out.Merge(Registered)
	case record:
		out = out.Merge(Cancelled)
	}
	if override {
		out = out.Merge(Overridden)
	}
	return out
}

// refreshJoined is refresh for a join. Only what a reader sees enters the delta:
// an override that changes nothing visible still shows as overriddenStatus.
func (r *Registry) refreshJoined(t *tx, action eureka.ActionType) {
	e := t.e
	if t.was && e.isPresent() && action == eureka.Modified && t.seen == Visible(&e.record, &e.override) &&
		e.view.OverriddenStatus == e.override.Overridden() && e.view.LastDirtyTimestamp == e.record.LastDirty {
		r.track(e, t.lease)
		return
	}
	r.refresh(t, action)
}

// declines reports whether an entry that is unknown here is not worth taking. A live
// one whose lease has run out would come back from a node that did not evict it. Two
// nodes would hand a retired tombstone to each other without end. An entry that its
// sender has evicted is taken as evicted until it is retired: readers don't see it, and
// the digests of both nodes become equal.
func (r *Registry) declines(in *Entry, lease, renewed int64) bool {
	switch {
	case in.Evicted:
		return in.Keep == 0 && retired(renewed, r.longest(in), lease)
	case in.Record.Live:
		return max(renewed, r.upSince)+r.term(&in.Record).Milliseconds() < lease
	}
	return r.retiredTombstone(in, lease, renewed)
}

// retiredTombstone reports whether in is a cancel that every node may have forgotten.
func (r *Registry) retiredTombstone(in *Entry, lease, renewed int64) bool {
	return !in.Record.Live && in.Keep == 0 && retired(renewed, r.longest(in), lease)
}

// answer compares after the join. Its outcome is the item's result.
func answer(e *entry, in *Entry, withRecord, withOverride bool, lease int64) (Outcome, Entry) {
	switch {
	case !withRecord && in.Record.After(&e.record),
		!withOverride && in.Override.After(&e.override):
		return NotFound, Entry{}
	case e.record.After(&in.Record), e.override.After(&in.Override):
		return Conflict, e.copy(lease)
	default:
		return OK, Entry{}
	}
}

// copy returns what travels of e.
func (e *entry) copy(lease int64) Entry {
	out := Entry{Record: e.record, Override: e.override, Age: e.age(lease), Keep: e.keep(lease)}
	if e.longest > e.record.Term() {
		out.Longest = e.longest
	}
	return out
}
