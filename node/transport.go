package node

import (
	"context"
	"errors"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/cluster"
)

// transport carries the cluster's messages over a broker.
type transport struct{ broker *broker.Broker }

var _ cluster.Transport = transport{}

// Request implements cluster.Transport.
func (t transport) Request(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
	subject := t.broker.Subjects().Batch(to, t.broker.Node())
	return t.broker.Request(ctx, subject, broker.Header{Batch: batch}, body)
}

// Sync implements cluster.Transport.
func (t transport) Sync(ctx context.Context, to string, body []byte) ([]byte, error) {
	return t.broker.Request(ctx, t.broker.Subjects().Sync(to, t.broker.Node()), broker.Header{}, body)
}

// classify returns the class of an error of Request.
func classify(err error) batcher.Class {
	for _, c := range [...]struct {
		err   error
		class batcher.Class
	}{
		{broker.ErrBusy, batcher.Busy},
		{broker.ErrTooMany, batcher.Busy},
		{broker.ErrTimeout, batcher.Timeout},
		{broker.ErrAbsent, batcher.Absent},
		{broker.ErrDisconnected, batcher.Disconnected},
		{broker.ErrClosed, batcher.Disconnected},
		{broker.ErrMalformed, batcher.Malformed},
		// A batch over the broker's bound is halved, like one that the peer
		// can't read.
		{broker.ErrTooLarge, batcher.Malformed},
	} {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	return batcher.ClassOf(err)
}

// Announce implements cluster.Transport.
func (t transport) Announce(body []byte) error {
	return t.broker.Publish(t.broker.Subjects().Presence(t.broker.Node()), body)
}

// Ask implements cluster.Transport.
func (t transport) Ask() error {
	return t.broker.Publish(t.broker.Subjects().PresenceAsk(), nil)
}

// MaxPayload implements cluster.Transport.
func (t transport) MaxPayload() int { return t.broker.MaxPayload() }
