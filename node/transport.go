package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/cluster"
)

// transport carries the cluster's messages over a broker.
type transport struct{ broker *broker.Broker }

var _ cluster.Transport = transport{}

// Request implements cluster.Transport: it puts the broker's errors into the
// batcher's classes.
func (t transport) Request(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
	subject := t.broker.Subjects().Batch(to, t.broker.Node())
	reply, err := t.broker.Request(ctx, subject, broker.Header{Batch: batch}, body)
	if err != nil {
		return nil, classed(err)
	}
	return reply, nil
}

// Sync implements cluster.Transport.
func (t transport) Sync(ctx context.Context, to string, body []byte) ([]byte, error) {
	reply, err := t.broker.Request(ctx, t.broker.Subjects().Sync(to, t.broker.Node()), broker.Header{}, body)
	if err != nil {
		return nil, classed(err)
	}
	return reply, nil
}

func classed(err error) error {
	for _, c := range [...]struct{ from, to error }{
		{broker.ErrBusy, batcher.ErrBusy},
		{broker.ErrTooMany, batcher.ErrBusy},
		{broker.ErrTimeout, batcher.ErrTimeout},
		{broker.ErrAbsent, batcher.ErrAbsent},
		{broker.ErrDisconnected, batcher.ErrDisconnected},
		{broker.ErrClosed, batcher.ErrDisconnected},
		// A batch over the broker's bound is halved, as one that the peer
		// can't read.
		{broker.ErrMalformed, batcher.ErrMalformed},
		{broker.ErrTooLarge, batcher.ErrMalformed},
	} {
		if errors.Is(err, c.from) {
			return fmt.Errorf("%w: %w", c.to, err)
		}
	}
	return fmt.Errorf("%w: %w", batcher.ErrFailed, err)
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
