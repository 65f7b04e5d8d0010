package registry

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/registryd/registryd/eureka"
)

// This file holds what a client may do to an instance, and what a Java peer may
// do in a client's stead (isReplication). The table of client's actions in
// CONVERGENCE.md is the specification; the names of Eureka's classes tell where
// a rule comes from.

// Register stores an instance, or renews the lease of the stored one where that
// is newer by its lastDirtyTimestamp (AbstractInstanceRegistry.register). Eureka
// answers 204 to both: OK and Kept. The instance has passed
// [eureka.InstanceInfo.Check]; one without a lastDirtyTimestamp is dirty now. Refused:
// a name is over MaxName. Full: it would be one instance too many.
//
// With isReplication a register that is not newer than the cancel that ended
// the instance is refused: a Java peer has not heard of that cancel.
func (r *Registry) Register(info *eureka.InstanceInfo, isReplication bool) Outcome {
	key := NewKey(info.App, info.ID())
	if !key.hasName() {
		r.stats.registersRefused.Add(1)
		return Refused
	}
	rec := Record{Live: true, Base: info.Status, LastDirty: info.LastDirtyTimestamp}
	wall, lease := r.clock()
	r.registered.add(Event{Time: time.UnixMilli(wall), Key: key})
	if rec.LastDirty == eureka.NoTimestamp {
		rec.LastDirty = wall
	}
	own := *info
	own.App = key.App
	own.SID = canonicalSID(own.SID)
	own.Metadata = canonicalMetadata(own.Metadata)
	own.DataCenterInfo.Metadata = canonicalMetadata(own.DataCenterInfo.Metadata)
	own.LastDirtyTimestamp = rec.LastDirty
	own.LeaseInfo.RenewalIntervalInSecs = leaseSeconds(own.LeaseInfo.RenewalIntervalInSecs, eureka.DefaultRenewalInterval)
	own.LeaseInfo.DurationInSecs = leaseSeconds(own.LeaseInfo.DurationInSecs, eureka.DefaultDuration)
	rec.Info, rec.Duration = &own, leaseDuration(&own)

	r.mu.Lock()
	e := r.lookup(key)
	if e == nil {
		if r.entries >= r.room {
			r.mu.Unlock()
			r.stats.registersRefused.Add(1)
			return Full
		}
		e = r.create(key)
	}
	was := e.isPresent()
	if bits, keep := r.keeps(e, rec.LastDirty, isReplication); keep {
		if was {
			r.renewHere(e, lease)
			e.renewedYet.Store(false)
			e.registered = wall
			r.refresh(e, was, eureka.Added, wall, lease)
		}
		r.mu.Unlock()
		r.stats.registersKept.Add(1)
		if bits != 0 {
			r.sink.Changed(Change{Key: key, Bits: bits, IsReplication: isReplication})
		}
		return Kept
	}
	bits := Registered
	unknown := e.known() == 0
	if s := info.OverriddenStatus; s != eureka.StatusUnknown && s != "" && !e.override.Set {
		e.override = Override{Version: e.known() + 1, Set: true, Status: s}
		bits |= Overridden
	}
	if !isReplication && served(rec.Base) && was && !e.override.Set && served(e.visible) {
		rec.Base = e.visible // LeaseExistsRule
	}
	rec.Version = e.next(wall, isReplication)
	if unknown && isReplication {
		// Nodes that a Java peer told the same thing give it the same version. It
		// stays well below what peers take.
		rec.Version = max(min(rec.LastDirty, wall+maxAhead.Milliseconds()/2), rec.Version)
	}
	rec.Hash = HashRecord(&rec)
	if !was {
		e.serviceUp = 0
	}
	e.record, e.evicted = rec, false
	e.longest = max(e.longest, r.term(&rec))
	e.registered = wall
	r.renewHere(e, lease)
	e.renewedYet.Store(false)
	r.refresh(e, was, eureka.Added, wall, lease)
	r.mu.Unlock()
	r.stats.registers.Add(1)
	r.sink.Changed(Change{Key: key, Bits: bits, IsReplication: isReplication})
	return OK
}

// keeps says whether a register with this lastDirtyTimestamp leaves the stored
// instance in place, and what to tell the peers then.
func (r *Registry) keeps(e *entry, lastDirty int64, isReplication bool) (Bits, bool) {
	switch {
	case e.isPresent() && isReplication:
		return Renewed, lastDirty < e.record.LastDirty
	case e.isPresent():
		// A timestamp from the future counts as the time it was accepted at.
		return Renewed, lastDirty < min(e.record.LastDirty, e.record.Version)
	case isReplication && e.record.Version != 0 && !e.record.Live:
		return 0, lastDirty <= e.record.LastDirty
	default:
		return 0, false
	}
}

// next returns the version of a new record or override: this node's time, but
// above all that the entry has seen. What a Java peer tells gets no time of
// ours.
func (e *entry) next(wall int64, isReplication bool) int64 {
	if isReplication {
		return e.known() + 1
	}
	return max(wall, e.known()+1)
}

// Renew renews a lease (InstanceResource.renewLease). lastDirty is what the
// caller believes it registered, eureka.NoTimestamp if it doesn't say; overridden
// is the override that a peer's heartbeat carries, "" if none.
//
// NotFound: there is no such instance, its status is UNKNOWN, or the caller is
// newer than what is stored and must register; in the last case the lease is
// renewed all the same. Conflict, only with isReplication: the caller is older;
// the instance returned is ours.
func (r *Registry) Renew(key Key, lastDirty int64, overridden eureka.Status, isReplication bool) (Outcome, *eureka.InstanceInfo) {
	_, lease := r.clock()
	r.mu.RLock()
	e := r.lookupPresent(key)
	if e == nil || e.visible == eureka.StatusUnknown {
		r.mu.RUnlock()
		r.stats.renewalsNotFound.Add(1)
		return NotFound, nil
	}
	e.renew(lease)
	e.renewedYet.Store(true)
	stored, view, wasRetired := e.record.LastDirty, e.view, e.at == notQueued
	r.mu.RUnlock()
	if wasRetired {
		r.recall(key, lease)
	}
	r.stats.renewals.Add(1)
	r.sink.Changed(Change{Key: key, Bits: Renewed, IsReplication: isReplication})
	switch {
	case lastDirty == eureka.NoTimestamp || lastDirty == stored:
		return OK, nil
	case lastDirty > stored:
		if _, ok := eureka.ParseStatus(string(overridden)); ok && isReplication && overridden != eureka.StatusUnknown {
			r.adoptOverride(key, overridden)
		}
		return NotFound, nil
	case isReplication:
		return Conflict, withRenewal(view, lease)
	default:
		return OK, nil
	}
}

// Cancel ends an instance and leaves its tombstone. NotFound if readers did not
// see it: one that was evicted here is ended all the same, and the peers are
// told.
func (r *Registry) Cancel(key Key, isReplication bool) Outcome {
	wall, lease := r.clock()
	r.mu.Lock()
	e := r.lookup(key)
	if e == nil || !e.record.Live {
		r.mu.Unlock()
		r.stats.cancelsNotFound.Add(1)
		return NotFound
	}
	was := e.isPresent()
	v := e.next(wall, isReplication)
	e.record = Record{Version: v, LastDirty: e.record.LastDirty, Base: eureka.StatusUnknown, Duration: e.record.Duration}
	e.record.Hash = HashRecord(&e.record)
	e.override = Override{Version: v, Status: eureka.StatusUnknown}
	e.evicted = false
	r.renewHere(e, lease)
	r.refresh(e, was, eureka.Deleted, wall, lease)
	r.mu.Unlock()
	r.stats.cancels.Add(1)
	r.cancelled.add(Event{Time: time.UnixMilli(wall), Key: key})
	r.sink.Changed(Change{Key: key, Bits: Cancelled, IsReplication: isReplication})
	if !was {
		return NotFound
	}
	return OK
}

// SetStatus overrides the status of an instance (statusUpdate). A status that it
// already has only renews the lease: no override is stored, as in Eureka. A
// lastDirty above the stored one replaces it. NotFound if there is no such instance.
func (r *Registry) SetStatus(key Key, status eureka.Status, lastDirty int64, isReplication bool) Outcome {
	return r.changeOverride(key, lastDirty, isReplication, func(e *entry) (Override, bool) {
		return Override{Set: true, Status: status}, e.visible != status
	})
}

// DeleteStatusOverride removes an override and sets the status to what the
// caller says, UNKNOWN if it doesn't. Without an override it only renews the
// lease. NotFound if there is no such instance.
func (r *Registry) DeleteStatusOverride(key Key, status eureka.Status, lastDirty int64, isReplication bool) Outcome {
	return r.changeOverride(key, lastDirty, isReplication, func(e *entry) (Override, bool) {
		return Override{Status: status}, e.override.Set
	})
}

// changeOverride renews the lease of an instance, and stores the override that
// next makes of it where that says so.
func (r *Registry) changeOverride(key Key, lastDirty int64, isReplication bool, next func(*entry) (Override, bool)) Outcome {
	wall, lease := r.clock()
	r.mu.Lock()
	e := r.lookupPresent(key)
	if e == nil {
		r.mu.Unlock()
		return NotFound
	}
	bits := Renewed
	r.renewHere(e, lease)
	e.renewedYet.Store(true)
	if o, changes := next(e); changes {
		bits = r.setOverride(e, o, lastDirty, isReplication, wall, lease)
	}
	r.mu.Unlock()
	r.sink.Changed(Change{Key: key, Bits: bits, IsReplication: isReplication})
	return OK
}

// adoptOverride stores the override that a Java peer's heartbeat carries, also
// where the status is that already (storeOverriddenStatusIfRequired).
func (r *Registry) adoptOverride(key Key, status eureka.Status) {
	wall, lease := r.clock()
	r.mu.Lock()
	e := r.lookupPresent(key)
	if e == nil || e.override.Set && e.override.Status == status {
		r.mu.Unlock()
		return
	}
	bits := r.setOverride(e, Override{Set: true, Status: status}, eureka.NoTimestamp, true, wall, lease)
	r.mu.Unlock()
	r.sink.Changed(Change{Key: key, Bits: bits, IsReplication: true})
}

// setOverride stores o in a present entry, above a record with the caller's
// lastDirtyTimestamp where that is greater. It returns the bits of the change.
func (r *Registry) setOverride(e *entry, o Override, lastDirty int64, isReplication bool, wall, lease int64) Bits {
	bits := Overridden
	if lastDirty != eureka.NoTimestamp && lastDirty > e.record.LastDirty {
		bits |= Registered
		e.record.LastDirty = lastDirty
		e.record.Version = e.known() + 1
		e.record.Hash = HashRecord(&e.record)
	}
	o.Version = e.next(wall, isReplication)
	e.override = o
	r.stats.overrides.Add(1)
	r.refresh(e, true, eureka.Modified, wall, lease)
	return bits
}

// SetMetadata merges pairs into the metadata of an instance. It is always a
// client's action, also when the request carries the replication header, as in
// Eureka (InstanceResource.updateMetadata). It doesn't say that the instance
// lives, so the new record's version is the next one, not the time. NotFound if
// there is no such instance.
func (r *Registry) SetMetadata(key Key, pairs map[string]string) Outcome {
	wall, lease := r.clock()
	r.mu.Lock()
	e := r.lookupPresent(key)
	if e == nil {
		r.mu.Unlock()
		return NotFound
	}
	bits := Renewed
	r.renewHere(e, lease)
	if merged, changed := mergeMetadata(e.record.Info.Metadata, pairs); changed {
		info := *e.record.Info
		info.Metadata = merged
		e.record.Info = &info
		e.record.Base = e.visible
		e.record.Version = e.known() + 1
		e.record.Hash = HashRecord(&e.record)
		e.registered = wall
		bits = Registered
		r.refresh(e, true, eureka.Added, wall, lease)
	}
	r.mu.Unlock()
	r.sink.Changed(Change{Key: key, Bits: bits})
	return OK
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
