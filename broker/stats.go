package broker

import (
	"context"
	"errors"
	"sync/atomic"
)

// Stats is a snapshot of a Broker's counters since its start. The counters of one request's outcomes add up to Requests.
type Stats struct {
	Connected bool

	Connects       uint64
	Disconnects    uint64
	FailedConnects uint64 // Attempts that failed, one for each server tried; one under way counts until it succeeds.
	BrokerErrors   uint64 // Errors that the broker sent, such as a missing permission.
	SlowConsumer   uint64 // Times that a subscription of ours began to drop messages.

	Waiting  int    // Requests that wait for a reply now.
	Requests uint64 // Requests that have ended.

	Answered     uint64
	Absent       uint64 // ErrAbsent.
	TimedOut     uint64 // ErrTimeout.
	Disconnected uint64 // ErrDisconnected.
	Busy         uint64 // ErrBusy.
	Malformed    uint64 // ErrMalformed.
	Remote       uint64 // ErrRemote.
	Version      uint64 // ErrVersion.
	TooLarge     uint64 // ErrTooLarge.
	TooMany      uint64 // ErrTooMany.
	Closed       uint64 // ErrClosed.
	Cancelled    uint64 // The caller gave up, or the subject was no subject.

	ForeignReplies uint64 // Replies without our header.
	LateReplies    uint64 // Replies that nobody waited for any more.

	Served       uint64 // Requests that a handler got.
	Rejected     uint64 // Requests answered with CodeMalformed before any handler, or not answerable at all.
	Stopping     uint64 // Requests answered with CodeBusy because the service was stopping.
	Responded    uint64 // Answers sent by Respond.
	Failed       uint64 // Answers sent by Fail.
	RespondError uint64 // Answers that could not be sent.

	Published    uint64
	PublishError uint64
	Received     uint64 // Messages that a subscription's callback got.
}

type counters struct {
	requests     atomic.Uint64
	answered     atomic.Uint64
	absent       atomic.Uint64
	timedOut     atomic.Uint64
	disconnected atomic.Uint64
	busy         atomic.Uint64
	malformed    atomic.Uint64
	remote       atomic.Uint64
	version      atomic.Uint64
	tooLarge     atomic.Uint64
	tooMany      atomic.Uint64
	closed       atomic.Uint64
	cancelled    atomic.Uint64

	served       atomic.Uint64
	rejected     atomic.Uint64
	stopping     atomic.Uint64
	responded    atomic.Uint64
	failed       atomic.Uint64
	respondError atomic.Uint64

	published    atomic.Uint64
	publishError atomic.Uint64
	received     atomic.Uint64
}

// request counts the outcome of one request.
func (c *counters) request(err error) {
	c.requests.Add(1)
	switch {
	case err == nil:
		c.answered.Add(1)
	case errors.Is(err, context.Canceled):
		c.cancelled.Add(1)
	case errors.Is(err, ErrAbsent):
		c.absent.Add(1)
	case errors.Is(err, ErrTimeout):
		c.timedOut.Add(1)
	case errors.Is(err, ErrDisconnected):
		c.disconnected.Add(1)
	case errors.Is(err, ErrBusy):
		c.busy.Add(1)
	case errors.Is(err, ErrMalformed):
		c.malformed.Add(1)
	case errors.Is(err, ErrRemote):
		c.remote.Add(1)
	case errors.Is(err, ErrVersion):
		c.version.Add(1)
	case errors.Is(err, ErrTooLarge):
		c.tooLarge.Add(1)
	case errors.Is(err, ErrTooMany):
		c.tooMany.Add(1)
	case errors.Is(err, ErrClosed):
		c.closed.Add(1)
	default: // The cause of a cancelled context is the caller's own.
		c.cancelled.Add(1)
	}
}

// Stats returns the counters now. They are read one after the other, so a busy Broker's may be off by what happened
// meanwhile.
func (b *Broker) Stats() Stats {
	c := &b.counts
	return Stats{
		Connected:      b.Connected(),
		Connects:       b.link.connects.Load(),
		Disconnects:    b.link.disconnects.Load(),
		FailedConnects: b.link.failures(),
		BrokerErrors:   b.link.refused.Load(),
		SlowConsumer:   b.link.slow.Load(),
		Waiting:        b.inbox.size(),
		Requests:       c.requests.Load(),
		Answered:       c.answered.Load(),
		Absent:         c.absent.Load(),
		TimedOut:       c.timedOut.Load(),
		Disconnected:   c.disconnected.Load(),
		Busy:           c.busy.Load(),
		Malformed:      c.malformed.Load(),
		Remote:         c.remote.Load(),
		Version:        c.version.Load(),
		TooLarge:       c.tooLarge.Load(),
		TooMany:        c.tooMany.Load(),
		Closed:         c.closed.Load(),
		Cancelled:      c.cancelled.Load(),
		ForeignReplies: b.inbox.foreign.Load(),
		LateReplies:    b.inbox.late.Load(),
		Served:         c.served.Load(),
		Rejected:       c.rejected.Load(),
		Stopping:       c.stopping.Load(),
		Responded:      c.responded.Load(),
		Failed:         c.failed.Load(),
		RespondError:   c.respondError.Load(),
		Published:      c.published.Load(),
		PublishError:   c.publishError.Load(),
		Received:       c.received.Load(),
	}
}
