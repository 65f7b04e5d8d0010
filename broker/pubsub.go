package broker

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Publish sends body to everybody who subscribes to subject now, with the Registry-Version header. There is no
// acknowledgement: nil means that it was written, and a broker that dies may lose it. Errors are ErrDisconnected,
// ErrTooLarge and ErrClosed.
func (b *Broker) Publish(subject string, body []byte) error {
	err := b.link.send(&nats.Msg{Subject: subject, Header: Header{}.wire(), Data: body})
	if err != nil {
		b.metrics.published.WithLabelValues("unsent").Inc()
		return fmt.Errorf("publish on %q: %w", subject, err)
	}
	b.metrics.published.WithLabelValues("sent").Inc()
	return nil
}

// subscription is one NATS subscription, made anew on each connection.
type subscription struct {
	subject string
	handle  nats.MsgHandler
	sub     *nats.Subscription // Guarded by the link's mu.
}

var _ interest = (*subscription)(nil)

func (s *subscription) name() string               { return s.subject }
func (s *subscription) covers(subject string) bool { return subject == s.subject }

func (s *subscription) attach(nc *nats.Conn) error {
	s.detach()
	var err error
	if s.sub, err = nc.Subscribe(s.subject, s.handle); err != nil {
		return err
	}
	return s.sub.SetPendingLimits(PendingMessages, PendingBytes)
}

func (s *subscription) detach() {
	if s.sub != nil {
		_ = s.sub.Unsubscribe() //nolint:errcheck // The only error is a connection that is closed already.
	}
}

// Subscription is an interest in subjects. It outlives connections.
type Subscription struct {
	broker *Broker
	made   subscription
	gate   gate
}

// Subscribe calls handle for each message on subject, which may hold NATS wildcards, one after the other, on a
// goroutine of this subscription and its connection. What this node publishes itself comes too. Messages of another
// Registry-Version than ProtocolVersion, and those without any, are counted and do not come: they could mean something
// else. When PendingMessages or PendingBytes are waiting, because handle is slow, further ones are dropped and counted.
//
// It may be called without a connection: the subscription holds from the next connect on. A broker that refuses it is
// no error: see Denied. Errors are ErrClosed, and that of a subject that is none.
func (b *Broker) Subscribe(subject string, handle func(Message)) (*Subscription, error) {
	s := &Subscription{broker: b}
	s.made = subscription{subject: subject, handle: func(msg *nats.Msg) {
		if !s.gate.enter() {
			return
		}
		defer s.gate.leave()
		if m := newMessage(msg); b.speaks(m) {
			handle(m)
		}
	}}
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.subs[s] = struct{}{}
	}
	b.mu.Unlock()
	err := ErrClosed
	if !closed {
		err = b.link.add(&s.made)
	}
	if err != nil {
		s.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %q: %w", subject, err)
	}
	b.link.settle()
	return s, nil
}

// speaks reports whether a message is of this node's protocol, and names each node of another one once.
func (b *Broker) speaks(m Message) bool {
	if m.Get(HeaderProbe) != "" {
		return false
	}
	version := m.Get(HeaderVersion)
	switch version {
	case strconv.Itoa(ProtocolVersion):
		b.metrics.heard.WithLabelValues("accepted").Inc()
		return true
	case "":
		b.metrics.heard.WithLabelValues("foreign").Inc()
		return false
	}
	b.metrics.heard.WithLabelValues("version").Inc()
	from, ok := b.subjects.ParsePresence(m.Subject)
	if !ok {
		from = cut(m.Subject, maxErrorText)
	}
	if b.link.firstOf("version\x00" + from) {
		b.log.Error("a node of another protocol version is no peer: run the same version on all nodes of a cluster, "+
			"or give it another cluster name",
			"peer", from, "version", cut(version, maxVersionText), "want", strconv.Itoa(ProtocolVersion))
	}
	return false
}

// Unsubscribe ends the subscription: no callback starts after it. One that runs goes on; Broker.Close waits for it. It
// may be called more than once, and from the callback.
func (s *Subscription) Unsubscribe() {
	s.gate.close()
	s.broker.link.remove(&s.made, s.made.detach)
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	delete(s.broker.subs, s)
}

// Listened reports whether somebody may subscribe to a subject. Only an embedded server can tell that nobody does. It
// costs a look into the server's cache, so it can be asked before each message is made.
func (b *Broker) Listened(subject string) bool {
	return b.inProcess == nil || b.inProcess.hears(subject)
}

// MayPublish reports whether the broker has not refused a subject, or what [Subjects.Events] stands for, in the last
// minute.
func (b *Broker) MayPublish(subject string) bool {
	return !b.link.denied.has(Denial{OpPublish, subject, DeniedPermission})
}
