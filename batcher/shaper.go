package batcher

import (
	"context"
	"sync"
	"time"
)

// jitter is by how much of its length a wait may grow, so that nodes that
// failed together don't come back together.
const jitter = 0.2

// shaper is the traffic shaper: it holds the next hand-out back after a
// failure, longer after each one in a row. Batches in flight go on and so does
// accepting. (Eureka's TrafficShaper has fixed delays.)
type shaper struct {
	maxWait time.Duration
	rand    func() float64

	changed chan struct{} // one slot: the wait became shorter

	mu         sync.Mutex
	until      time.Time          // no hand-out before; zero: now
	began      time.Time          // of the wait until then
	reason     Class              // of that wait
	step       time.Duration      // the last wait without jitter; 0: no failure since the last success
	generation uint64             // grows with each step: batches of one generation were in flight together
	interrupt  context.CancelFunc // of the hand-out under way; nil: none
	draining   bool               // waits grow no more
}

// pass blocks until no wait is in force or ctx ends.
func (s *shaper) pass(ctx context.Context) error {
	for {
		s.mu.Lock()
		wait := time.Until(s.until)
		s.mu.Unlock()
		if wait <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// begin starts a hand-out, unless a wait has come into force since pass
// returned. interrupt is called if one does before finish.
func (s *shaper) begin(interrupt context.CancelFunc) (generation uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.until) > 0 {
		return 0, false
	}
	s.interrupt = interrupt
	return s.generation, true
}

// finish ends the hand-out that begin started.
func (s *shaper) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupt = nil
}

// failed takes a failure of a batch that was handed out in the given generation.
// Batches that were in flight together are one step of growth: the
// first of them takes it, the others only see to it that their own class waits
// long enough.
func (s *shaper) failed(class Class, generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := base(class)
	switch {
	case s.draining:
		s.step = least
	case generation == s.generation:
		s.step = min(max(least, 2*s.step), s.maxWait)
		s.generation++
	default:
		s.step = max(s.step, least)
	}
	s.hold(class, s.step)
}

// refused takes an answer after which some items are to be sent again. It
// waits, or they would come back at once; but the peer answers, so the wait
// doesn't grow: one item that is always refused must not cost the others more
// than that.
func (s *shaper) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = 0
	s.hold(Other, retryBusy)
}

// succeeded takes the arrival of a batch: the next failure waits its base
// again, and so does the wait that is running.
func (s *shaper) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = 0
	if end := s.began.Add(base(s.reason)); end.Before(s.until) {
		s.until = end
		s.announce()
	}
}

// wake ends a wait at once.
func (s *shaper) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step, s.until = 0, time.Time{}
	s.announce()
}

// drain ends a wait at once, and keeps those that come at their base: there is
// no long run any more, for which they would grow.
func (s *shaper) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.wake()
}

// waiting returns the wait that is in force; until is zero if none is.
func (s *shaper) waiting() (reason Class, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.until) <= 0 {
		return "", time.Time{}
	}
	return s.reason, s.until
}

// hold puts a wait into force, if it ends later than the one that is.
func (s *shaper) hold(class Class, wait time.Duration) {
	now := time.Now()
	until := now.Add(s.jittered(wait, base(class)))
	if until.After(s.until) {
		s.began, s.until, s.reason = now, until, class
	}
	if s.interrupt != nil {
		s.interrupt()
	}
}

// jittered returns a wait up to a fifth longer; at the bound, up to a fifth
// shorter, but never below its base.
func (s *shaper) jittered(wait, least time.Duration) time.Duration {
	extra := time.Duration(float64(wait) * jitter * s.rand())
	if wait+extra <= s.maxWait {
		return wait + extra
	}
	return max(least, s.maxWait-extra)
}

// base is the first wait after a failure.
func base(class Class) time.Duration {
	if class == Absent || class == Disconnected {
		return retryAbsent
	}
	return retryBusy
}

func (s *shaper) announce() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
