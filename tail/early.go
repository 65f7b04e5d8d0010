package tail

import "time"

// Bounds of the replies that are kept for a request that has not been seen.
const (
	maxEarly      = 256
	maxEarlyBytes = 4 << 20
	// maxEarlyAge is how much later a request may come than its reply.
	maxEarlyAge = time.Second
)

// early holds the last replies to requests that have not been seen. In a cluster of
// several brokers, request and reply reach an observer by different ways, and the
// reply may arrive first. It is owned by the goroutine of [Tailer.Run].
type early struct {
	byReply map[string]Message
	order   []earlyReply // the oldest first
	bytes   int
}

// earlyReply is the subject of a reply, and when it was kept.
type earlyReply struct {
	subject string
	at      time.Time
}

func newEarly() *early { return &early{byReply: make(map[string]Message)} }

// keep keeps a reply, and drops the oldest beyond the bounds.
func (e *early) keep(m Message, now time.Time) {
	if _, again := e.byReply[m.Subject]; again || len(m.Body) > maxEarlyBytes {
		return
	}
	e.byReply[m.Subject] = m
	e.order = append(e.order, earlyReply{m.Subject, now})
	e.bytes += len(m.Body)
	e.prune(now)
}

// take returns the reply on a subject, if one is kept.
func (e *early) take(subject string, now time.Time) (Message, bool) {
	e.prune(now)
	m, ok := e.byReply[subject]
	e.forget(subject) // Its place in the order stays until it is pruned.
	return m, ok
}

func (e *early) prune(now time.Time) {
	for len(e.order) > 0 &&
		(len(e.order) > maxEarly || e.bytes > maxEarlyBytes || now.Sub(e.order[0].at) > maxEarlyAge) {
		e.forget(e.order[0].subject)
		e.order = e.order[1:]
	}
}

func (e *early) forget(subject string) {
	if m, ok := e.byReply[subject]; ok {
		e.bytes -= len(m.Body)
		delete(e.byReply, subject)
	}
}
