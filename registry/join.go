package registry

import (
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
// on.
func (r *Registry) Join(key Key, in Entry, carried Bits) (Outcome, Entry) {
	wall, lease := r.clock()
	renewed := lease - in.Age.Milliseconds()
	withRecord := carried&Registered != 0
	withOverride := carried&(Registered|Overridden) != 0

	if outOfBounds(key, &in, wall) != nil {
		r.stats.joinsRefused.Add(1)
		return Refused, Entry{}
	}
	r.mu.Lock()
	e := r.lookup(key)
	switch {
	case e == nil && !withRecord:
		r.mu.Unlock()
		return NotFound, Entry{}
	case e == nil && r.declines(&in, lease, renewed):
		r.mu.Unlock()
		r.stats.joinsDeclined.Add(1)
		return OK, Entry{}
	case e == nil && r.entries >= r.room:
		r.mu.Unlock()
		r.stats.joinsRefused.Add(1)
		return Refused, Entry{}
	case e == nil:
		e = r.create(key)
		e.evicted = in.Evicted && in.Record.Live
	case withRecord && r.retiredTombstone(&in, lease, renewed) && in.Record.After(&e.record):
		r.mu.Unlock()
		r.stats.joinsDeclined.Add(1)
		return OK, Entry{}
	}
	was, seen := e.isPresent(), e.visible
	e.longest = max(e.longest, r.longest(&in))
	action := eureka.Modified
	changed := false
	if moved := e.renew(renewed); moved && carried == 0 && e.record.Live && renewed-e.joinedAt >= interval(e.record.Info).Milliseconds()/2 {
		e.renewedYet.Store(true) // less than that is the registration itself, longer on its way
	}
	if withRecord && in.Record.After(&e.record) {
		if in.Record.Live && !was {
			e.registered, e.serviceUp = wall, 0
		}
		e.record = in.Record
		e.joinedAt = max(e.joinedAt, renewed)
		action, changed = eureka.Added, true
		if !e.record.Live {
			e.evicted = false
			action = eureka.Deleted
		}
	}
	if withOverride && in.Override.After(&e.override) {
		e.override = in.Override
		changed = true
	}
	if e.evicted && !r.lapsed(e, lease) {
		e.evicted = false
		e.registered, e.serviceUp = wall, 0
		action, changed = eureka.Added, true
	}
	bits := Bits(0)
	if changed {
		bits = carried & (Registered | Overridden)
		if !e.record.Live {
			bits = Cancelled
		}
		if bits == 0 {
			bits = Renewed
		}
		r.stats.joinsChanged.Add(1)
		r.refreshJoined(e, was, seen, action, wall, lease)
	}
	if e.at == notQueued {
		r.track(e, lease)
	}
	out, ours := answer(e, &in, withRecord, withOverride, lease)
	r.mu.Unlock()
	if !changed {
		r.stats.joinsSame.Add(1)
	} else {
		r.sink.Changed(Change{Key: key, Bits: bits, IsReplication: true})
	}
	return out, ours
}

// refreshJoined is refresh for a join. Only what a reader sees enters the delta:
// an override that changes nothing visible still shows as overriddenStatus.
func (r *Registry) refreshJoined(e *entry, was bool, seen eureka.Status, action eureka.ActionType, wall, lease int64) {
	if was && e.isPresent() && action == eureka.Modified && seen == Visible(&e.record, &e.override) &&
		e.view.OverriddenStatus == e.override.Overridden() {
		r.track(e, lease)
		return
	}
	r.refresh(e, was, action, wall, lease)
}

// declines says whether an entry that is unknown here is not worth taking: a
// live one whose lease has run out would come back from a node that did not
// evict it, a retired tombstone would be handed to and fro for ever. One that
// its sender has evicted is taken, as evicted, until it is retired: readers don't
// see it, and the digests of both nodes meet.
func (r *Registry) declines(in *Entry, lease, renewed int64) bool {
	switch {
	case in.Evicted:
		return retired(renewed, r.longest(in), lease)
	case in.Record.Live:
		return max(renewed, r.upSince)+r.term(&in.Record).Milliseconds() < lease
	}
	return r.retiredTombstone(in, lease, renewed)
}

// retiredTombstone says whether in is a cancel that everybody may have forgotten.
func (r *Registry) retiredTombstone(in *Entry, lease, renewed int64) bool {
	return !in.Record.Live && retired(renewed, r.longest(in), lease)
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
	out := Entry{Record: e.record, Override: e.override, Age: e.age(lease)}
	if e.longest > e.record.term() {
		out.Longest = e.longest
	}
	return out
}
