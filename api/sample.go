package api

import (
	"sync/atomic"
	"time"
)

// sampleInterval is the least time between two log lines about one kind of refusal.
// All refusals are counted.
const sampleInterval = time.Minute

// sample bounds the log lines about one kind of refusal.
type sample struct{ last atomic.Int64 } // in seconds since 1970

// due reports whether a line may be logged now.
func (s *sample) due() bool {
	now := time.Now().Unix()
	last := s.last.Load()
	return now-last >= int64(sampleInterval/time.Second) && s.last.CompareAndSwap(last, now)
}
