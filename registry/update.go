package registry

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/registryd/registryd/eureka"
)

// This file holds what a client may do to an instance, and what a Java peer may do
// in a client's stead (isReplication). The table of client's actions in
// docs/convergence.md is the specification. The names of Eureka's classes say where a
// rule comes from.

// tx is one change of one entry, from the lock to the call of the sink.
type tx struct {
	key         Key
	by          Origin
	wall, lease int64 // the time of the change by both clocks, ms

	e    *entry        // nil: nothing is known of the key
	was  bool          // readers saw it before
	seen eureka.Status // and this status
	// keepsServiceUp: the change is none by which Eureka takes an instance for up.
	keepsServiceUp bool

	bits Bits // for the sink; 0: it gets nothing
	kind Kind // for the recorder; 0: it gets nothing
	news Bits // what is new by a join, for the recorder; 0: bits
}

// on points t at an entry as it is before the change.
func (t *tx) on(e *entry) {
	t.e = e
	if e != nil {
		t.was, t.seen = e.isPresent(), e.visible
	}
}

// change runs f under the lock, and tells the recorder and the sink of it afterwards.
func (r *Registry) change(key Key, by Origin, f func(*tx) Outcome) Outcome {
	t := tx{key: key, by: by}
	t.wall, t.lease = r.clock()
	r.mu.Lock()
	t.on(r.lookup(key))
	out := f(&t)
	r.note(&t)
	r.mu.Unlock()
	if t.kind != 0 {
		r.events.hand()
	}
	if t.bits != 0 {
		r.sink.Changed(Change{Key: key, Bits: t.bits, IsReplication: by.IsReplication()})
	}
	return out
}

// Register stores an instance, or renews the lease of the stored one where that is
// newer by its lastDirtyTimestamp (AbstractInstanceRegistry.register). Eureka answers
// 204 to both: OK and Kept. The instance has passed [eureka.InstanceInfo.Check]; one
// without a lastDirtyTimestamp is dirty now. Refused: a name is over MaxName. Full: it
// would be one instance too many.
//
// By replication a register that is not newer than the cancel that ended the
// instance is kept out: a Java peer has not heard of that cancel.
func (r *Registry) Register(info *eureka.InstanceInfo, by Origin) Outcome {
	key := NewKey(info.App, info.ID())
	if !key.hasName() {
		r.stats.registersRefused.Inc()
		return Refused
	}
	wall, _ := r.clock()
	rec, leaf := newRecord(key, info, wall), leafOf(key)
	out := r.change(key, by, func(t *tx) Outcome { return r.register(t, rec, leaf, info.OverriddenStatus) })
	switch out {
	case OK:
		r.stats.registers.Inc()
		r.noteCapped(key, rec)
	case Kept:
		r.stats.registersKept.Inc()
	default:
		r.stats.registersRefused.Inc()
	}
	return out
}

// Adopt makes an instance what a Java peer's list shows of it: content, status, and
// the override, also where that removes ours. The caller has decided that the peer's
// copy is the later one. The lease is renewed, and nothing is sent on. Kept: the
// peer's lastDirtyTimestamp is older than ours, or not newer than the cancel that
// ended the instance. Refused and Full are as for Register. Any goroutine may call it.
func (r *Registry) Adopt(info *eureka.InstanceInfo, by Origin) Outcome {
	key := NewKey(info.App, info.ID())
	if !key.hasName() {
		r.stats.registersRefused.Inc()
		return Refused
	}
	wall, _ := r.clock()
	rec, leaf := newRecord(key, info, wall), leafOf(key)
	return r.change(key, by, func(t *tx) Outcome {
		e := t.e
		if e != nil && r.keeps(e, rec.LastDirty, true) {
			return Kept
		}
		set := info.OverriddenStatus != eureka.StatusUnknown && info.OverriddenStatus != ""
		if e != nil && e.override.Set && (!set || e.override.Status != info.OverriddenStatus) {
			e.override = Override{Version: e.known() + 1, Status: info.Status} // register stores theirs
		}
		return r.register(t, rec, leaf, info.OverriddenStatus)
	})
}

// newRecord returns what a registration stores, without its version: a copy of the
// instance in its canonical form, with the status as reported, and hashed.
func newRecord(key Key, info *eureka.InstanceInfo, wall int64) *Record {
	own := *info
	if own.LastDirtyTimestamp == eureka.NoTimestamp {
		own.LastDirtyTimestamp = wall
	}
	own.App = key.App
	own.SID = canonicalSID(own.SID)
	own.Metadata = canonicalMetadata(own.Metadata)
	own.DataCenterInfo.Metadata = canonicalMetadata(own.DataCenterInfo.Metadata)
	lease := &own.LeaseInfo
	lease.RenewalIntervalInSecs = leaseSeconds(lease.RenewalIntervalInSecs, eureka.DefaultRenewalInterval)
	lease.DurationInSecs = leaseSeconds(lease.DurationInSecs, eureka.DefaultDuration)
	rec := &Record{
		Live: true, Info: &own, LastDirty: own.LastDirtyTimestamp, Base: own.Status, Duration: leaseDuration(&own),
	}
	rec.Hash = HashRecord(rec)
	return rec
}

// register is Register under the lock.
func (r *Registry) register(t *tx, rec *Record, leaf uint16, override eureka.Status) Outcome {
	if t.e == nil {
		if r.entries >= r.room {
			return Full
		}
		t.on(r.create(t.key, leaf))
	}
	e := t.e
	if r.keeps(e, rec.LastDirty, t.by.IsReplication()) {
		if t.was {
			t.bits, t.kind = Renewed, EventKept
			r.renewHere(t)
			e.renewedYet.Store(false)
			e.registered = t.wall
			r.refresh(t, eureka.Added)
		}
		return Kept
	}
	t.bits, t.kind = Registered, EventRegistered
	if t.by.Way == ByList {
		t.kind = EventJoined
	}
	unknown := e.known() == 0
	if override != eureka.StatusUnknown && override != "" && !e.override.Set {
		e.override = Override{Version: e.known() + 1, Set: true, Status: override}
		t.bits |= Overridden
	}
	if !t.by.IsReplication() && served(rec.Base) && t.was && !e.override.Set && served(e.visible) &&
		rec.Base != e.visible {
		rec.Base = e.visible // LeaseExistsRule
		rec.Hash = HashRecord(rec)
	}
	rec.Version = e.next(t)
	if unknown && t.by.IsReplication() {
		// Nodes to which a Java peer sends the same give it the same version. It
		// stays well below what peers take.
		rec.Version = max(min(rec.LastDirty, t.wall+maxAhead.Milliseconds()/2), rec.Version)
	}
	if !t.was {
		e.serviceUp = 0
	}
	e.record, e.accepted, e.evicted = *rec, t.wall, false
	e.longest = max(e.longest, r.term(rec))
	e.registered = t.wall
	r.renewHere(t)
	e.renewedYet.Store(false)
	r.refresh(t, eureka.Added)
	return OK
}

// keeps reports whether a register with this lastDirtyTimestamp leaves the stored
// instance in place.
func (r *Registry) keeps(e *entry, lastDirty int64, isReplication bool) bool {
	switch {
	case e.isPresent() && (isReplication || r.future):
		return lastDirty < e.record.LastDirty
	case e.isPresent():
		// A timestamp from the future counts as the time at which it was accepted.
		return lastDirty < min(e.record.LastDirty, e.accepted)
	default:
		return isReplication && e.record.Version != 0 && !e.record.Live && lastDirty <= e.record.LastDirty
	}
}

// next returns the version of a new record or override: this node's time, but above
// all that the entry has seen. What a Java peer tells gets no time of ours.
func (e *entry) next(t *tx) int64 {
	if t.by.IsReplication() {
		return e.known() + 1
	}
	return max(t.wall, e.known()+1)
}

// Renew renews a lease (InstanceResource.renewLease). lastDirty is what the
// caller believes it registered, eureka.NoTimestamp if it doesn't say; overridden
// is the override that a peer's heartbeat carries, "" if none.
//
// NotFound: there is no such instance, its status is UNKNOWN, or the caller is
// newer than what is stored and must register; in the last case the lease is
// renewed all the same. Conflict, only by replication: the caller is older;
// the instance returned is ours.
func (r *Registry) Renew(
	key Key, lastDirty int64, overridden eureka.Status, by Origin,
) (Outcome, *eureka.InstanceInfo) {
	isReplication := by.IsReplication()
	_, lease := r.clock()
	r.mu.RLock()
	e := r.lookupPresent(key)
	if e == nil || e.visible == eureka.StatusUnknown {
		r.mu.RUnlock()
		r.stats.renewalsNotFound.Inc()
		return NotFound, nil
	}
	e.renew(lease)
	e.renewedYet.Store(true)
	stored, view, wasRetired := e.record.LastDirty, e.view, e.at == notQueued
	r.mu.RUnlock()
	if wasRetired {
		r.recall(key, lease)
	}
	r.stats.renewals.Inc()
	r.sink.Changed(Change{Key: key, Bits: Renewed, IsReplication: isReplication})
	switch {
	case lastDirty == eureka.NoTimestamp || lastDirty == stored:
		return OK, nil
	case lastDirty > stored:
		if _, ok := eureka.ParseStatus(string(overridden)); ok && isReplication && overridden != eureka.StatusUnknown {
			r.adoptOverride(key, overridden, by)
		}
		return NotFound, nil
	case isReplication:
		return Conflict, withRenewal(view, lease)
	default:
		return OK, nil
	}
}

// Cancel ends an instance and leaves its tombstone. NotFound if readers did not
// see it: one that was evicted here is ended all the same, and the cancel goes to
// the peers.
func (r *Registry) Cancel(key Key, by Origin) Outcome {
	cancelled := false
	tombstone := r.draft(key, func(have *Record, _ eureka.Status) Record {
		return Record{LastDirty: have.LastDirty, Base: eureka.StatusUnknown, Duration: have.Duration}
	})
	out := r.change(key, by, func(t *tx) Outcome {
		e := t.e
		if e == nil || !e.record.Live {
			return NotFound
		}
		v := e.next(t)
		e.record = tombstone.of(e)
		e.record.Version = v
		e.override = Override{Version: v, Status: eureka.StatusUnknown}
		e.evicted = false
		r.renewHere(t)
		r.refresh(t, eureka.Deleted)
		cancelled, t.bits, t.kind = true, Cancelled, EventCancelled
		if !t.was {
			return NotFound
		}
		return OK
	})
	if cancelled {
		r.stats.cancels.Inc()
	} else {
		r.stats.cancelsNotFound.Inc()
	}
	return out
}

// SetStatus overrides the status of an instance (statusUpdate). A status that it
// already has only renews the lease: no override is stored, as in Eureka. A
// lastDirty above the stored one replaces it. NotFound if there is no such instance.
func (r *Registry) SetStatus(key Key, status eureka.Status, lastDirty int64, by Origin) Outcome {
	return r.changeOverride(key, lastDirty, by, func(t *tx) (Override, bool) {
		return Override{Set: true, Status: status}, t.e.visible != status
	})
}

// DeleteStatusOverride removes an override and sets the status to what the
// caller says, UNKNOWN if it doesn't. Without an override it only renews the
// lease. NotFound if there is no such instance.
func (r *Registry) DeleteStatusOverride(key Key, status eureka.Status, lastDirty int64, by Origin) Outcome {
	return r.changeOverride(key, lastDirty, by, func(t *tx) (Override, bool) {
		t.keepsServiceUp = true
		return Override{Status: status}, t.e.override.Set
	})
}

// changeOverride renews the lease of an instance, and stores the override that
// next makes of it where that says so.
func (r *Registry) changeOverride(
	key Key, lastDirty int64, by Origin, next func(*tx) (Override, bool),
) Outcome {
	var newer *draft
	if lastDirty != eureka.NoTimestamp {
		newer = r.draft(key, func(have *Record, _ eureka.Status) Record {
			rec := *have
			rec.LastDirty = max(rec.LastDirty, lastDirty)
			return rec
		})
	}
	return r.change(key, by, func(t *tx) Outcome {
		if !t.was {
			return NotFound
		}
		t.bits = Renewed
		r.renewHere(t)
		t.e.renewedYet.Store(true)
		if o, changes := next(t); changes {
			r.setOverride(t, o, newer)
		}
		return OK
	})
}

// adoptOverride stores the override that a Java peer's heartbeat carries, also
// where the status is that already (storeOverriddenStatusIfRequired). An instance
// that reports another status than UP and OUT_OF_SERVICE keeps it (DownOrStartingRule).
func (r *Registry) adoptOverride(key Key, status eureka.Status, by Origin) {
	based := r.draft(key, func(have *Record, visible eureka.Status) Record {
		rec := *have
		if !served(visible) {
			rec.Base = visible
		}
		return rec
	})
	r.change(key, by, func(t *tx) Outcome {
		e := t.e
		if !t.was || e.override.Set && e.override.Status == status {
			return OK
		}
		if !served(e.visible) {
			// A record above the override makes its base count.
			e.override = Override{Version: e.known() + 1, Set: true, Status: status}
			e.record = based.of(e)
			e.record.Version = e.override.Version + 1
			t.bits, t.kind = Registered|Overridden, EventOverrideSet
			r.stats.overrides.Inc()
			r.refresh(t, eureka.Modified)
			return OK
		}
		r.setOverride(t, Override{Set: true, Status: status}, nil)
		return OK
	})
}

// setOverride stores o in a present entry, above a record with the caller's
// lastDirtyTimestamp where that is newer.
func (r *Registry) setOverride(t *tx, o Override, newer *draft) {
	e := t.e
	t.bits, t.kind = Overridden, EventOverrideRemoved
	if o.Set {
		t.kind = EventOverrideSet
	}
	if newer != nil {
		if rec := newer.of(e); rec.LastDirty > e.record.LastDirty {
			t.bits |= Registered
			e.record, e.accepted = rec, t.wall
			e.record.Version++
		}
	}
	o.Version = e.next(t)
	e.override = o
	r.stats.overrides.Inc()
	r.refresh(t, eureka.Modified)
}

// SetMetadata merges pairs into the metadata of an instance. It is always a
// client's action, also when the request carries the replication header, as in
// Eureka (InstanceResource.updateMetadata). It doesn't say that the instance
// lives, so the new record comes right after the stored one: a register or a cancel that
// this node has not heard of wins, also where an override came later. NotFound if there is no such
// instance.
func (r *Registry) SetMetadata(key Key, pairs map[string]string, by Origin) Outcome {
	by.Way = ByClient
	withPairs := r.draft(key, func(have *Record, visible eureka.Status) Record {
		rec := *have
		if rec.Info == nil {
			return rec
		}
		if merged, changed := mergeMetadata(rec.Info.Metadata, pairs); changed {
			info := *rec.Info
			info.Metadata = merged
			rec.Info, rec.Base = &info, visible
		}
		return rec
	})
	return r.change(key, by, func(t *tx) Outcome {
		if !t.was {
			return NotFound
		}
		e := t.e
		t.bits = Renewed
		r.renewHere(t)
		rec := withPairs.of(e)
		if rec.Info == e.record.Info {
			return OK
		}
		e.record = rec
		e.record.Version++
		e.registered = t.wall
		t.bits, t.kind = Registered, EventMetadata
		r.refresh(t, eureka.Added)
		return OK
	})
}

func mergeMetadata(old, pairs map[string]string) (merged map[string]string, changed bool) {
	for k, v := range canonicalMetadata(pairs) {
		if have, ok := old[k]; ok && have == v {
			continue
		}
		if !changed {
			merged, changed = make(map[string]string, len(old)+len(pairs)), true
			maps.Copy(merged, old)
		}
		merged[k] = v
	}
	return merged, changed
}

// classKey is the key with which Java marks the type of a map; readers drop it.
const classKey = "@class"

// canonicalMetadata returns m as it will be after it has travelled: text that is
// not UTF-8 repaired, and without the key that every reader drops. Else two nodes
// would hold different records under one version.
func canonicalMetadata(m map[string]string) map[string]string {
	_, bad := m[classKey]
	for k, v := range m {
		bad = bad || !utf8.ValidString(k) || !utf8.ValidString(v)
	}
	if !bad {
		return m
	}
	out := make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k != classKey {
			out[strings.ToValidUTF8(k, "\uFFFD")] = strings.ToValidUTF8(m[k], "\uFFFD")
		}
	}
	return out
}
