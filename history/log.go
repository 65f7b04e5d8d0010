package history

import (
	"context"
	"log/slog"
	"time"

	"github.com/registryd/registryd/registry"
)

// The bounds of Log, for each kind: lines in an interval. What is beyond is one line with a
// count.
const (
	logLines    = 10
	logInterval = time.Second
	logBatch    = 1000 // events that are looked at together
)

// loggedKinds are what people do, and what becomes of instances that do nothing more.
var loggedKinds = [...]registry.Kind{
	registry.EventRegistered, registry.EventCancelled, registry.EventEvicted,
	registry.EventOverrideSet, registry.EventOverrideRemoved,
}

// Log writes what clients do, and evictions, to a log at Info until ctx ends. What peers
// report is in their logs. It looks once a second, and writes at most ten lines of a kind
// then; others are counted. It is called once.
func (h *History) Log(ctx context.Context, log *slog.Logger) {
	l := eventLog{history: h, log: log, at: h.Last()}
	timer := time.NewTimer(logInterval)
	defer timer.Stop()
	for {
		woken := h.Wait("")
		if h.Last() == l.at {
			select {
			case <-woken:
			case <-ctx.Done():
				return
			}
		}
		l.write(ctx)
		timer.Reset(logInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			l.write(ctx) // the last second
			return
		}
	}
}

// eventLog is a reader that writes a log.
type eventLog struct {
	history *History
	log     *slog.Logger
	at      uint64
}

// write writes what is new.
func (l *eventLog) write(ctx context.Context) {
	if !l.log.Enabled(ctx, slog.LevelInfo) {
		l.at = l.history.Last()
		return
	}
	var counts [registry.Kinds]int
	for last := l.history.Last(); l.at < last; {
		events, next, ok := l.history.After(Filter{Kinds: KindsOf(loggedKinds[:]...)}, l.at, logBatch)
		l.at = next
		if !ok {
			l.log.Warn("events not logged, they left the history too soon")
			return
		}
		for i := range events {
			e := &events[i]
			if e.By.Way != registry.ByClient && e.By.Way != registry.ByNode {
				continue
			}
			if counts[e.Kind]++; counts[e.Kind] <= logLines {
				l.line(e)
			}
		}
	}
	for _, kind := range loggedKinds {
		if more := counts[kind] - logLines; more > 0 {
			l.history.metrics.unlogged.Add(float64(more))
			l.log.Info("more events of this kind", "kind", kind.String(), "count", more)
		}
	}
}

// line writes one event.
func (l *eventLog) line(e *Event) {
	log := l.log.With("app", e.Key.App, "instance", e.Key.ID)
	if e.By.Login != "" {
		log = log.With("login", e.By.Login)
	}
	switch e.Kind {
	case registry.EventRegistered:
		log.Info("registered", "from", e.By.From, "status", string(e.Status))
	case registry.EventCancelled:
		log.Info("cancelled", "from", e.By.From)
	case registry.EventEvicted:
		log.Info("evicted", "silent", e.Silent, "lease", e.Term)
	case registry.EventOverrideSet:
		log.Info("status override set", "from", e.By.From, "status", string(e.Overridden))
	case registry.EventOverrideRemoved:
		log.Info("status override removed", "from", e.By.From, "status", string(e.Status))
	case registry.EventKept, registry.EventMetadata, registry.EventLeaseOver, registry.EventHeld,
		registry.EventJoined, registry.EventAnswered, registry.Kinds:
	}
}
