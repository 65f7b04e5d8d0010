package batcher

import "time"

// Stats is a snapshot of a batcher. Sends are counted when they end; a batch
// that had to be halved is several sends.
type Stats struct {
	BatchWorkQueue int // batches cut and waiting for a worker
	InFlight       int // batches taken and not settled, those in the queue included

	Batches uint64 // sends, failed ones included
	Tasks   uint64 // items in them
	Bytes   uint64 // bytes of their tasks, as Render gave them

	Failures map[Class]uint64 // sends that failed; holds every Class, also those at 0

	// By batch sent, failed ones included: its tasks, and their bytes.
	BatchTasks Histogram
	BatchBytes Histogram
	// By send that was answered with outcomes: how long that took, in seconds.
	RoundTrip     Histogram
	RoundTripLast time.Duration

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
	for _, class := range Classes() {
		s.Failures[class] = b.stats.Failures[class]
	}
	s.BatchTasks, s.BatchBytes, s.RoundTrip = s.BatchTasks.clone(), s.BatchBytes.clone(), s.RoundTrip.clone()
	b.mu.Unlock()
	s.BatchWorkQueue = len(b.batchWorkQueue)
	s.Waiting, s.WaitUntil = b.shaper.waiting()
	return s
}
