package registry

import "sync/atomic"

// How a meter divides its minute.
const (
	meterBucket  = 100 // ms
	meterBuckets = 60_000 / meterBucket
)

// meter counts events over the last minute, in buckets of 100 ms: Eureka's
// MeasuredRate counts fixed minutes, is 0 in the first and jumps between two.
type meter struct {
	// Each bucket holds which one it counts (upper half) and the count.
	buckets [meterBuckets]atomic.Uint64
}

// add counts one event at a time of the lease clock, in ms.
func (m *meter) add(at int64) {
	number := uint64(at/meterBucket) & (1<<32 - 1)
	b := &m.buckets[number%meterBuckets]
	for {
		old := b.Load()
		next := number<<32 | 1
		if old>>32 == number {
			next = old + 1
		}
		if b.CompareAndSwap(old, next) {
			return
		}
	}
}

// perMinute returns the events of the 60 s up to at, to within a bucket: what is
// a minute old doesn't count any more.
func (m *meter) perMinute(at int64) float64 {
	now := uint64(at / meterBucket)
	sum := uint64(0)
	for i := range m.buckets {
		b := m.buckets[i].Load()
		if age := (now - b>>32) & (1<<32 - 1); age < meterBuckets {
			sum += b & (1<<32 - 1)
		}
	}
	return float64(sum)
}
