package registry

import (
	"time"

	"github.com/registryd/registryd/eureka"
)

// Record is what a client registered. A dead one is the tombstone that a cancel
// leaves: of the data only the lease's duration stays.
type Record struct {
	Version int64 // ms; greater wins
	Live    bool
	// Info is the client's data, nil when dead. Its status, overridden status,
	// action type and the server's timestamps are this node's view and are not
	// part of the record.
	Info *eureka.InstanceInfo
	// LastDirty is the client's lastDirtyTimestamp, of a tombstone the one that
	// it cancelled. It is no version.
	LastDirty int64
	Base      eureka.Status // accepted from the client, override left out
	Duration  time.Duration // of the lease
	Hash      uint64        // of the content, see HashRecord
}

// After reports whether r wins over o: by version, then live over dead, then hash.
func (r *Record) After(o *Record) bool {
	if r.Version != o.Version {
		return r.Version > o.Version
	}
	if r.Live != o.Live {
		return r.Live
	}
	return r.Hash > o.Hash
}

// Override is an override of the status, or what its removal set the status to. The
// zero value is that of an instance that never had one.
type Override struct {
	Version int64 // ms; greater wins
	Set     bool
	Status  eureka.Status
}

// After reports whether o wins over p: by version, then set over unset, then hash.
func (o *Override) After(p *Override) bool {
	if o.Version != p.Version {
		return o.Version > p.Version
	}
	if o.Set != p.Set {
		return o.Set
	}
	return o.Status != p.Status && o.Hash() > p.Hash()
}

// Overridden returns the overriddenStatus that readers see.
func (o *Override) Overridden() eureka.Status {
	if o.Set {
		return o.Status
	}
	return eureka.StatusUnknown
}

// Entry is a copy of all that travels of one instance.
type Entry struct {
	Record   Record
	Override Override
	// Age is the time since the lease was renewed, by the clock of the node
	// that made the copy, when it made it. Leases travel as ages, never as a
	// time of day.
	Age time.Duration
	// Longest is the greatest term that the lease ever had, 0 where that is
	// the record's own.
	Longest time.Duration
	// Keep is for how long a cancel or an eviction of a snapshot is remembered yet,
	// 0 where that is no longer than the lease says, see [Registry.Restore].
	Keep time.Duration
	// Evicted, on its way into a Join, means that the node that made the copy has
	// evicted the instance. A node that doesn't know it takes it as evicted too.
	Evicted bool
}

// Visible returns the status that readers see: a pure function of both parts.
// It gives what Eureka's rule chain gives after every step of a history.
func Visible(r *Record, o *Override) eureka.Status {
	switch {
	case o.Version > r.Version:
		return o.Status
	case o.Set && served(r.Base):
		return o.Status
	default:
		return r.Base
	}
}

// served reports whether a reported status may be overruled: Eureka believes any
// other as it is (DownOrStartingRule).
func served(s eureka.Status) bool {
	return s == eureka.StatusUp || s == eureka.StatusOutOfService
}
