// Package sample bounds the log lines about events of one kind. The events
// themselves are counted; a line in each interval shows one of them.
package sample

import (
	"sync"
	"time"
)

// Sample decides which events are logged. The zero value is ready; it must not be
// copied after use. Setting the machine's clock does not change it.
type Sample struct {
	mu   sync.Mutex
	last time.Time // zero: none yet
}

// Due reports whether an event is to be logged: the first one, and then the first
// that comes at least every after the last that was logged. Any goroutine may call it.
func (s *Sample) Due(every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < every {
		return false
	}
	s.last = now
	return true
}
