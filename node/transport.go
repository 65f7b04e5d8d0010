package node

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/membership"
)

// transport carries the cluster's messages over a broker.
type transport struct {
	broker    *broker.Broker
	external  bool        // the broker is not this process's
	restored  bool        // this node has a snapshot
	alone     atomic.Bool // the embedded broker has routes, and none is up
	malformed prometheus.Counter
}

var _ cluster.Transport = (*transport)(nil)

func newTransport(b *broker.Broker, external, restored bool, metrics prometheus.Registerer) (*transport, error) {
	t := &transport{broker: b, external: external, restored: restored}
	t.malformed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "registryd_cluster_malformed_presence_total", Help: "Presence messages that were not understood.",
	})
	if s := b.Server(); s != nil {
		t.alone.Store(s.Alone())
	}
	return t, metrics.Register(t.malformed)
}

// Request implements cluster.Transport.
func (t *transport) Request(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
	subject := t.broker.Subjects().Batch(to, t.broker.Node())
	return t.broker.Request(ctx, subject, broker.Header{Batch: batch}, body)
}

// Sync implements cluster.Transport.
func (t *transport) Sync(ctx context.Context, to string, body []byte) ([]byte, error) {
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
		// A batch over the broker's bound is halved, as is one that the peer can't
		// read.
		{broker.ErrTooLarge, batcher.Malformed},
	} {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	return batcher.ClassOf(err)
}

// maxPresence bounds a presence message, in bytes.
const maxPresence = 4096

// Announce implements cluster.Transport.
func (t *transport) Announce(p membership.Presence) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return t.broker.Publish(t.broker.Subjects().Presence(t.broker.Node()), body)
}

// hear hands a presence that arrived on a node's subject to the cluster.
func (t *transport) hear(from string, body []byte, to *cluster.Cluster) {
	var p membership.Presence
	if len(body) > maxPresence || json.Unmarshal(body, &p) != nil || p.Node != from {
		t.malformed.Inc()
		return
	}
	to.HandlePresence(p)
}

// How long other nodes may need to reconnect to a broker that was away: they dial
// again within 2 s after a short outage, and within 15 s after a long one.
const (
	backSoon = 3 * time.Second
	backLate = membership.LateBrokers
	// fewClients is how many connections a server that has just started may have
	// taken at most.
	fewClients = 16
)

// mayComeBack reports whether other nodes may still be reconnecting to the broker: it
// was absent when this node first dialled, or it may just have started. A node with a
// snapshot doesn't wait in the latter case.
func (t *transport) mayComeBack(s broker.State) bool {
	stood := time.Since(s.Since)
	return s.Up && (s.Rounds > 0 && stood < backLate || !t.restored && s.Clients <= fewClients && stood < backSoon)
}

// Link implements cluster.Transport.
func (t *transport) Link() membership.Link {
	state := t.broker.State()
	l := membership.Link{Up: state.Up, Since: state.Since}
	l.Late = t.alone.Load() || t.external && t.mayComeBack(state)
	denied := slices.DeleteFunc(t.broker.Denied(), func(d broker.Denial) bool { // peers don't need these
		return d.Op == broker.OpPublish && d.Subject == t.broker.Subjects().Events()
	})
	switch {
	case len(denied) > 0: // it may receive nothing, or reach no node
		l.Trouble = "broker refuses " + denied[0].Op + " on " + denied[0].Subject
	case t.alone.Load():
		l.Trouble = "no route to another broker"
	}
	return l
}

// Ask implements cluster.Transport.
func (t *transport) Ask() error {
	return t.broker.Publish(t.broker.Subjects().PresenceAsk(), nil)
}

// MaxPayload implements cluster.Transport.
func (t *transport) MaxPayload() int { return t.broker.MaxPayload() }
