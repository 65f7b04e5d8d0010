package bridge

import (
	"maps"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// verdict is what a difference between the two lists calls for.
type verdict uint8

const (
	equal verdict = iota
	// ignore: the difference ends by itself, with a lease.
	ignore
	// register: the peer lacks the instance, or has an older one.
	register
	// override: the peer has an older status or override; the record goes with it.
	override
	// cancelThere: the peer missed a cancel.
	cancelThere
	// cancelHere: the instance was cancelled at the peer, and its cancel was lost.
	cancelHere
	// adopt: the peer's copy is the later one.
	adopt
	// lease: the peer knows of later renewals of an instance that was evicted here.
	lease
)

// sides is an instance on both sides. It is a value: judging it reads no clock.
type sides struct {
	ours    *registry.Entry // nil: unknown here, or forgotten
	evicted bool            // here
	theirs  *eureka.InstanceInfo
	age     time.Duration // of their lease
	listed  bool          // the peer listed it before with our lastDirtyTimestamp, and has not restarted since
}

// judge says what the difference calls for. Eureka has no versions. The greater
// lastDirtyTimestamp wins. With equal ones the later change of the status wins, by the
// clock of the side that made it.
func (s *sides) judge() verdict {
	if s.theirs == nil {
		return s.judgeMissing()
	}
	expired := s.age > term(s.theirs)
	switch {
	case s.ours == nil && expired, s.ours != nil && s.evicted && expired:
		return ignore
	case s.ours == nil:
		return adopt
	case !s.ours.Record.Live && s.theirs.LastDirtyTimestamp <= s.ours.Record.LastDirty:
		return cancelThere
	case !s.ours.Record.Live && expired:
		return ignore
	case !s.ours.Record.Live, s.theirs.LastDirtyTimestamp > s.ours.Record.LastDirty:
		return adopt
	case s.evicted:
		return lease
	case s.theirs.LastDirtyTimestamp < s.ours.Record.LastDirty:
		return override
	case s.same():
		return equal
	case s.theirs.LastUpdatedTimestamp > max(s.ours.Record.Version, s.ours.Override.Version):
		return adopt
	default:
		return override
	}
}

// judgeMissing judges an instance that the peer does not list. If it listed it before,
// the instance was cancelled or evicted there. It lives all the same if it has been
// renewed since then: its client renews at a node of ours.
func (s *sides) judgeMissing() verdict {
	switch {
	case s.ours == nil || !s.ours.Record.Live || s.evicted:
		return equal
	case s.ours.Age > s.ours.Record.Term():
		return ignore
	case s.listed && s.ours.Age > interval(s.ours)+intervalSlack:
		return cancelHere
	default:
		return register
	}
}

// same reports whether both sides show the same. The rest of an instance follows from
// its lastDirtyTimestamp.
func (s *sides) same() bool {
	return s.theirs.Status == registry.Visible(&s.ours.Record, &s.ours.Override) &&
		overridden(s.theirs.OverriddenStatus) == overridden(s.ours.Override.Overridden()) &&
		maps.Equal(s.theirs.Metadata, s.ours.Record.Info.Metadata)
}

func overridden(s eureka.Status) eureka.Status {
	if s == "" {
		return eureka.StatusUnknown
	}
	return s
}

// term is how long a lease of the peer's lives after its renewal.
func term(i *eureka.InstanceInfo) time.Duration {
	duration, every := i.LeaseInfo.DurationInSecs, i.LeaseInfo.RenewalIntervalInSecs
	if duration <= 0 {
		duration = eureka.DefaultDuration
	}
	if every <= 0 {
		every = eureka.DefaultRenewalInterval
	}
	return max(time.Duration(duration)*time.Second, time.Duration(every)*time.Second+intervalSlack)
}
