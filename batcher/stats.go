package batcher

import "time"

// Stats is a snapshot of a batcher. Sends are counted when they end; a batch
// that had to be halved is several sends.
type Stats struct {
	BatchWorkQueue int // batches cut and waiting for a worker
	InFlight       int // batches taken and not settled, those in the queue included

	Batches  uint64           // sends, failed ones included
	Tasks    uint64           // items in them
	Bytes    uint64           // bytes of their tasks
	Failures map[Class]uint64 // sends that failed; holds every Class, also those at 0

	RoundTripLast time.Duration // of the last send that was answered
	RoundTripMean time.Duration // of all sends that were answered

	// The wait that holds back the next batch: why, and until when. Waiting is
	// "" and WaitUntil zero when none does.
	Waiting   Class
	WaitUntil time.Time
}

// Stats returns a snapshot. Any goroutine may call it.
func (b *Batcher[K, S]) Stats() Stats {
	b.mu.Lock()
	s := b.stats
	s.Failures = make(map[Class]uint64, len(b.stats.Failures))
	trips := s.Batches
	for _, class := range Classes() {
		s.Failures[class] = b.stats.Failures[class]
		trips -= s.Failures[class]
	}
	if trips > 0 {
		s.RoundTripMean = b.roundTrips / time.Duration(trips)
	}
	b.mu.Unlock()
	s.BatchWorkQueue = len(b.batchWorkQueue)
	s.Waiting, s.WaitUntil = b.shaper.waiting()
	return s
}
