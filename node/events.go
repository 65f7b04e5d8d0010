package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/registry"
)

const (
	// eventBatch is how many events are read from the history at a time.
	eventBatch = 256
	// eventRetry is the time between two tries without a connection. What happens meanwhile
	// waits in the history.
	eventRetry = time.Second
	// eventSample is the least time between two log lines about what was dropped.
	eventSample = time.Minute
)

// events tells each change that this node took from a client, and each eviction that it
// made, on the event subject of the application. It reads the history, so nobody waits for
// it, and what it can't send in time is lost and counted.
type events struct {
	history *history.History
	broker  *broker.Broker
	body    func(*history.Event) []byte
	log     *slog.Logger
	at      uint64

	published, unheard, late, unsent, refused prometheus.Counter
	dropped                                   sample.Sample
}

// startEvents runs the publisher. It stops before the broker.
func (n *Node) startEvents(handler *api.Handler) error {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registryd_events_total",
		Help: "Changes for the event subjects, by outcome: published, unheard (nobody subscribes there), " +
			"and dropped: late (they left the history first), unsent, refused (without permission).",
	}, []string{"outcome"})
	if err := n.metrics.Register(outcomes); err != nil {
		return err
	}
	p := &events{
		history: n.history, broker: n.broker, body: handler.Change, log: n.log.With("component", "events"),
		at:        n.history.Last(),
		published: outcomes.WithLabelValues("published"), unheard: outcomes.WithLabelValues("unheard"),
		late: outcomes.WithLabelValues("late"), unsent: outcomes.WithLabelValues("unsent"),
		refused: outcomes.WithLabelValues("refused"),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	n.onStop("events", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
	return nil
}

// toldKinds are the events that are told, if this node is the first that knows them.
var toldKinds = history.KindsOf(
	registry.EventRegistered, registry.EventMetadata, registry.EventOverrideSet, registry.EventOverrideRemoved,
	registry.EventCancelled, registry.EventEvicted,
)

func (p *events) run(ctx context.Context) {
	for {
		woken := p.history.Wait("")
		some, next, ok := p.history.After(history.Filter{Kinds: toldKinds}, p.at, eventBatch)
		switch {
		case !ok:
			p.late.Add(float64(next - p.at)) // at most: how many of them were to be told is not known
			p.drop("late", nil)
		case next == p.at:
			select {
			case <-ctx.Done():
				return
			default:
			}
			select {
			case <-woken:
			case <-ctx.Done(): // once more: the last requests have been served
			}
			continue
		}
		for i := range some {
			e := &some[i]
			if e.By.Way != registry.ByClient && e.By.Way != registry.ByNode {
				continue
			}
			if !p.tell(ctx, e) { // it is tried again, unless it has left the history
				next = e.Seq - 1
				break
			}
		}
		p.at = next
		if ctx.Err() != nil && p.at < p.history.Last() && !p.broker.Connected() {
			p.late.Add(float64(p.history.Last() - p.at))
			return
		}
	}
}

// tell publishes one event. It reports false if there is no connection; then it has waited.
func (p *events) tell(ctx context.Context, e *history.Event) bool {
	subjects := p.broker.Subjects()
	subject := subjects.Event(e.Key.App)
	switch {
	case !p.broker.Listened(subject):
		p.unheard.Inc()
		return true
	case !p.broker.MayPublish(subjects.Events()):
		p.refused.Inc()
		return true
	}
	switch err := p.broker.Publish(subject, p.body(e)); {
	case err == nil:
		p.published.Inc()
	case errors.Is(err, broker.ErrDisconnected):
		timer := time.NewTimer(eventRetry)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return false
	default:
		p.unsent.Inc()
		p.drop("unsent", err)
	}
	return true
}

// drop logs a sample of what is lost.
func (p *events) drop(reason string, err error) {
	if p.dropped.Due(eventSample) {
		p.log.Warn("events dropped", "reason", reason, "err", err)
	}
}
