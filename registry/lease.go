package registry

import (
	"math"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Bounds of a lease.
const (
	// DefaultMaxLease is the default of Options.MaxLease: the longest term that a
	// client gets, whatever it asks for.
	DefaultMaxLease = 24 * time.Hour
	// maxInterval bounds the renewal interval that prolongs a lease: a client
	// that gives milliseconds for seconds must not keep the dead for weeks.
	maxInterval = time.Hour
	// leaseSlack is what a lease is kept beyond a renewal interval that is as
	// long as its duration or longer.
	leaseSlack = 5 * time.Second
	// retirement is how long an entry is remembered after two terms of its lease.
	retirement = 5 * time.Minute
)

// leaseSeconds is what a registration's lease says, or Eureka's default where it
// says nothing, within Eureka's 32 bits.
func leaseSeconds(n, fallback int) int {
	if n <= 0 {
		return fallback
	}
	return min(n, math.MaxInt32)
}

// seconds converts without overflow.
func seconds(n int) time.Duration {
	return time.Duration(min(max(n, 0), math.MaxInt32)) * time.Second
}

// leaseDuration is the duration that a registration asks for.
func leaseDuration(i *eureka.InstanceInfo) time.Duration {
	return seconds(i.LeaseInfo.DurationInSecs)
}

// interval is how long an instance waits between two renewals, at most an hour.
func interval(i *eureka.InstanceInfo) time.Duration {
	return min(seconds(leaseSeconds(i.LeaseInfo.RenewalIntervalInSecs, eureka.DefaultRenewalInterval)), maxInterval)
}

// Term returns how long the lease of a record lives after its renewal, before any
// bound of a node: its duration, but a little longer than its renewal interval.
func (rec *Record) Term() time.Duration {
	if rec.Info == nil {
		return rec.Duration
	}
	return max(rec.Duration, interval(rec.Info)+leaseSlack)
}

// term is how long a lease of this record lives here after its renewal. Expiry and
// retirement both go by it.
func (r *Registry) term(rec *Record) time.Duration { return min(rec.Term(), r.maxLease) }

// lives is term, or with LeaseCompat Netflix what Eureka makes of the duration.
func (r *Registry) lives(e *entry) time.Duration {
	switch {
	case r.compat != Netflix:
		return r.term(&e.record)
	case e.renewedYet.Load():
		return 2 * min(e.record.Duration, r.maxLease)
	default:
		return min(e.record.Duration, r.maxLease)
	}
}

// expired reports whether the lease of e has run out, and this node has been up for
// long enough to know it.
func (r *Registry) expired(e *entry, lease int64) bool {
	return max(e.renewed.Load(), r.upSince)+r.lives(e).Milliseconds() < lease
}

// lapsed reports whether the lease of e has run out, whether or not its client could
// have renewed it here.
func (r *Registry) lapsed(e *entry, lease int64) bool {
	return e.renewed.Load()+r.lives(e).Milliseconds() < lease
}

// longest is the greatest term that the lease of a copy of an entry ever had, within
// this node's bound.
func (r *Registry) longest(in *Entry) time.Duration {
	return min(max(in.Longest, in.Record.Term()), r.maxLease)
}

// retired reports whether an entry that was last renewed then is old enough for all
// nodes to forget it. It goes by the greatest term that the lease ever had: while a
// copy with that lease may live somewhere, the cancel that ended it is remembered.
func retired(renewed int64, longest time.Duration, lease int64) bool {
	return retiresAt(renewed, longest) < lease
}

func retiresAt(renewed int64, longest time.Duration) int64 {
	return renewed + (2*longest + retirement).Milliseconds()
}

// cappedEvery is how far apart two lines about capped leases are at least.
const cappedEvery = 10 * time.Second

// noteCapped counts a registration whose lease is over this node's bound, and logs a
// sample. No lock is held.
func (r *Registry) noteCapped(key Key, rec *Record) {
	if rec.Term() <= r.maxLease && rec.Info.LeaseInfo.RenewalIntervalInSecs <= int(maxInterval.Seconds()) {
		return
	}
	r.stats.leasesCapped.Inc()
	_, lease := r.clock()
	last := r.cappedAt.Load()
	if last != 0 && lease-last < cappedEvery.Milliseconds() || !r.cappedAt.CompareAndSwap(last, lease) {
		return
	}
	r.log.Warn("lease is over a bound and counts as less", "component", "registry",
		"app", key.App, "instance", key.ID, "duration", rec.Duration,
		"interval", seconds(rec.Info.LeaseInfo.RenewalIntervalInSecs), "counts_as", r.term(rec))
}
