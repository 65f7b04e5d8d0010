package broker

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Publish sends body to everybody who subscribes to subject now, with the Registry-Version header. There is no
// acknowledgement: nil means that it was written, and a broker that dies may lose it. Errors are ErrDisconnected,
// ErrTooLarge and ErrClosed.
func (b *Broker) Publish(subject string, body []byte) error {
	err := b.link.send(&nats.Msg{Subject: subject, Header: Header{}.wire(), Data: body})
	if err != nil {
		b.counts.publishError.Add(1)
		return fmt.Errorf("publish on %q: %w", subject, err)
	}
	b.counts.published.Add(1)
	return nil
}

// Subscription is an interest in subjects. It survives reconnects.
type Subscription struct {
	broker  *Broker
	subject string
	sub     *nats.Subscription
	gate    gate
}

// Subscribe calls handle for each message on subject, which may hold NATS wildcards, one after the other, on a goroutine
// of this subscription. What this node publishes itself comes too. When PendingMessages or PendingBytes are waiting,
// because handle is slow, further ones are dropped and counted as SlowConsumer.
//
// It may be called without a connection: the subscription holds from the next connect on. Then it can wait for a dial
// that is under way, a second at the most.
func (b *Broker) Subscribe(subject string, handle func(Message)) (*Subscription, error) {
	s := &Subscription{broker: b, subject: subject}
	var err error
	s.sub, err = b.link.nc.Subscribe(subject, func(msg *nats.Msg) {
		if !s.gate.enter() {
			return
		}
		defer s.gate.leave()
		b.counts.received.Add(1)
		handle(newMessage(msg))
	})
	if err != nil {
		if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining) {
			err = ErrClosed
		}
		return nil, fmt.Errorf("subscribe to %q: %w", subject, err)
	}
	if err := s.sub.SetPendingLimits(PendingMessages, PendingBytes); err != nil {
		s.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %q: %w", subject, err)
	}
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.subs[s] = struct{}{}
	}
	b.mu.Unlock()
	if closed {
		s.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %q: %w", subject, ErrClosed)
	}
	b.link.settle()
	return s, nil
}

// Unsubscribe ends the subscription: no callback starts after it. One that runs goes on; Broker.Close waits for it. It
// may be called more than once, and from the callback.
func (s *Subscription) Unsubscribe() {
	s.gate.close()
	// The only error is a connection that is closed already.
	_ = s.sub.Unsubscribe() //nolint:errcheck // nothing follows from it
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	delete(s.broker.subs, s)
}
