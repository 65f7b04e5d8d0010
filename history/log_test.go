package history_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// lines are a log's without its time.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.all.String())
	l.all.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func logger(to *lines, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// TestLog: a line for what people do; of a flood ten, and a count.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		h := newHistory(t, history.Options{Metrics: reg})
		event := func(kind registry.Kind, id string, way registry.Way) registry.Event {
			return registry.Event{
				Time: time.Now(), Kind: kind, Key: registry.Key{App: "ORDERS", ID: id},
				By: registry.Origin{Way: way, From: "10.0.0.1:4711"}, Status: eureka.StatusUp, Overridden: eureka.StatusDown,
				Silent: 100 * time.Second, Term: 90 * time.Second,
			}
		}
		h.Record([]registry.Event{event(registry.EventRegistered, "before", registry.ByClient)})
		to := new(lines)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.Log(ctx, logger(to, slog.LevelInfo))
		}()
		synctest.Wait()
		for _, kind := range []registry.Kind{
			registry.EventRegistered, registry.EventKept, registry.EventMetadata, registry.EventOverrideSet,
			registry.EventOverrideRemoved, registry.EventCancelled, registry.EventEvicted, registry.EventAnswered,
		} {
			h.Record([]registry.Event{event(kind, "a", registry.ByClient), event(kind, "b", registry.ByBatch)})
		}
		time.Sleep(2 * time.Second)
		want := strings.Join([]string{
			"msg=registered app=ORDERS instance=a from=10.0.0.1:4711 status=UP",
			`msg="status override set" app=ORDERS instance=a from=10.0.0.1:4711 status=DOWN`,
			`msg="status override removed" app=ORDERS instance=a from=10.0.0.1:4711 status=UP`,
			"msg=cancelled app=ORDERS instance=a from=10.0.0.1:4711",
			"msg=evicted app=ORDERS instance=a silent=1m40s lease=1m30s",
		}, "\n")
		if got := strings.Join(to.take(), "\n"); got != want {
			t.Errorf("logged:\n%s\nwant:\n%s", got, want)
		}
		for i := range 20_000 {
			h.Record([]registry.Event{event(registry.EventRegistered, fmt.Sprint("i-", i), registry.ByClient)})
		}
		time.Sleep(5 * time.Second)
		got := to.take()
		if n := testutil.ToFloat64(named(t, reg, "registryd_history_unlogged_events_total")); len(got) > 2*11 || n != 20_000-10*float64(len(got)/11) {
			t.Errorf("%d lines for 20,000 registers, and %v counted", len(got), n)
		}
		h.Record([]registry.Event{event(registry.EventCancelled, "last", registry.ByClient)})
		synctest.Wait()
		cancel()
		<-ended
		if got := to.take(); len(got) != 1 || !strings.Contains(got[0], "instance=last") {
			t.Errorf("at the end: %q, want the last one", got)
		}
	})
}

func TestLogOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, to := newHistory(t, history.Options{}), new(lines)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go h.Log(ctx, logger(to, slog.LevelWarn))
		synctest.Wait()
		h.Record([]registry.Event{{Time: time.Now(), Kind: registry.EventCancelled}})
		time.Sleep(3 * time.Second)
		if got := to.take(); got != nil {
			t.Errorf("%q at level warn", got)
		}
	})
}
