package history_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

func newHistory(tb testing.TB, opts history.Options) *history.History {
	tb.Helper()
	h, err := history.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

// randomEvent draws an event of few instances, with texts of all lengths that may occur.
func randomEvent(rnd *rand.Rand, i int) registry.Event {
	at := time.UnixMilli(1_700_000_000_000 + int64(i)*7)
	return registry.Event{
		Time: at, Kind: registry.Kind(1 + rnd.IntN(int(registry.Kinds)-1)),
		Key:     registry.Key{App: fmt.Sprint("APP-", rnd.IntN(20)), ID: fmt.Sprint("i-", rnd.IntN(10))},
		By:      registry.Origin{Way: registry.Way(rnd.IntN(8)), From: pick(rnd, "", "10.0.0.1:4711", "node-2"), Login: pick(rnd, "", "boss")},
		Changed: registry.Bits(rnd.IntN(16)),
		Record:  pick(rnd, 0, at.UnixMilli(), at.UnixMilli()-100_000, 1), Override: pick(rnd, 0, at.UnixMilli()+1),
		Status:     pick(rnd, "", eureka.StatusUp, eureka.StatusOutOfService, "STRANGE"),
		Overridden: pick(rnd, "", eureka.StatusDown, "ODD"),
		Silent:     pick(rnd, 0, 90*time.Second, -5*time.Millisecond), Term: pick(rnd, 0, 90*time.Second),
		Detail: pick(rnd, "", "ok", strings.Repeat("x", 200)),
	}
}

// TestQueryAndAfter compares both with a slice that keeps everything.
func TestQueryAndAfter(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	h := newHistory(t, history.Options{Bytes: history.MinBytes})
	var all []history.Event
	for len(all) < 30_000 {
		var batch []registry.Event
		for range 1 + rnd.IntN(5) {
			e := randomEvent(rnd, len(all))
			batch = append(batch, e)
			all = append(all, history.Event{Seq: uint64(len(all) + 1), Event: e})
		}
		h.Record(batch)
		if rnd.IntN(200) > 0 {
			continue
		}
		oldest, _ := h.Query(history.Filter{}, 0, len(all))
		kept := all[len(all)-len(oldest):]
		f := history.Filter{}
		if rnd.IntN(4) > 0 {
			f.App = fmt.Sprint("APP-", rnd.IntN(21)) // one of them has no events
			if rnd.IntN(2) > 0 {
				f.ID = fmt.Sprint("i-", rnd.IntN(10))
			}
		}
		if rnd.IntN(2) > 0 {
			f.Kinds = history.KindsOf(registry.EventRegistered, registry.EventEvicted)
		}
		wanted := func(e history.Event) bool {
			return (f.App == "" || e.Key.App == f.App) && (f.ID == "" || e.Key.ID == f.ID) && f.Kinds.Has(e.Kind)
		}
		compareQuery(t, rnd, h, f, kept, wanted)
		compareAfter(t, rnd, h, f, kept, wanted)
	}
	if kept, _ := h.Query(history.Filter{}, 0, len(all)); len(kept) == len(all) || len(kept) < 5000 {
		t.Errorf("%d of %d events are left: the test is to pass the bound, which holds more", len(kept), len(all))
	}
}

func compareQuery(
	t *testing.T, rnd *rand.Rand, h *history.History, f history.Filter, kept []history.Event, wanted func(history.Event) bool,
) {
	t.Helper()
	before := pick(rnd, 0, kept[rnd.IntN(len(kept))].Seq)
	limit := pick(rnd, 1, 10, len(kept))
	var want []history.Event
	more := false
	for _, e := range slices.Backward(kept) {
		if wanted(e) && (before == 0 || e.Seq < before) {
			if more = len(want) == limit; more {
				break
			}
			want = append(want, e)
		}
	}
	got, gotMore := h.Query(f, before, limit)
	if !reflect.DeepEqual(got, want) || gotMore != more {
		t.Fatalf("query %+v before %d limit %d: %d events, more %v; want %d, %v", f, before, limit, len(got), gotMore,
			len(want), more)
	}
}

func compareAfter(
	t *testing.T, rnd *rand.Rand, h *history.History, f history.Filter, kept []history.Event, wanted func(history.Event) bool,
) {
	t.Helper()
	seq := kept[rnd.IntN(len(kept))].Seq
	var want, got []history.Event
	for _, e := range kept {
		if e.Seq > seq && wanted(e) {
			want = append(want, e)
		}
	}
	limit := pick(rnd, 1, 7, 1000)
	for at := seq; at < h.Last(); {
		events, next, ok := h.After(f, at, limit)
		if !ok || next <= at || len(events) > limit {
			t.Fatalf("after %d: next %d, ok %v, %d events for a limit of %d", at, next, ok, len(events), limit)
		}
		got, at = append(got, events...), next
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("after %d of %+v: %d events, want %d", seq, f, len(got), len(want))
	}
}

func TestReaderIsLost(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := newHistory(t, history.Options{Bytes: history.MinBytes, Metrics: reg})
	h.Record([]registry.Event{{Time: time.UnixMilli(1), Kind: registry.EventCancelled, Key: registry.Key{App: "QUIET", ID: "q"}}})
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		h.Record([]registry.Event{randomEvent(rnd, i)})
	}
	kept, _ := h.Query(history.Filter{}, 0, 1<<20)
	first := kept[len(kept)-1].Seq
	for _, tt := range []struct {
		name string
		app  string
		seq  uint64
		ok   bool
	}{
		{"of the oldest event that is gone", "", first - 2, false},
		{"before the oldest that is there", "", first - 1, true},
		{"at the end", "", h.Last(), true},
		{"beyond the end", "", h.Last() + 1, false},
		{"of an application without news", "QUIET", 1, true},
		{"of an application with lost news", "QUIET", 0, false},
	} {
		if _, _, ok := h.After(history.Filter{App: tt.app}, tt.seq, 1); ok != tt.ok {
			t.Errorf("a reader %s: ok %v, want %v", tt.name, ok, tt.ok)
		}
	}
	if n := testutil.ToFloat64(named(t, reg, "registryd_history_lost_readers_total")); n != 3 {
		t.Errorf("%v lost readers are counted, want 3", n)
	}
	if got := testutil.ToFloat64(named(t, reg, "registryd_history_bytes")); got > history.MinBytes || got < history.MinBytes*3/4 {
		t.Errorf("%v bytes, want at most %d and most of it", got, history.MinBytes)
	}
}

// named is one metric of a registry.
func named(t *testing.T, reg *prometheus.Registry, name string) prometheus.Collector {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"})
			m := f.GetMetric()[0]
			g.Set(cmp.Or(m.GetGauge().GetValue(), m.GetCounter().GetValue()))
			return g
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func TestWait(t *testing.T) {
	h := newHistory(t, history.Options{})
	any, orders, others := h.Wait(""), h.Wait("ORDERS"), h.Wait("OTHERS")
	h.Record([]registry.Event{{Time: time.UnixMilli(1), Kind: registry.EventRegistered, Key: registry.Key{App: "ORDERS", ID: "a"}}})
	isClosed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	if !isClosed(any) || !isClosed(orders) || isClosed(others) {
		t.Errorf("woken: any %v, the application %v, another %v; want true, true, false", isClosed(any), isClosed(orders), isClosed(others))
	}
	if isClosed(h.Wait("ORDERS")) {
		t.Error("a new wait ends at once")
	}
}

// TestReadersMissNothing has writers and readers at a time.
func TestReadersMissNothing(t *testing.T) {
	h := newHistory(t, history.Options{})
	const writers, each = 4, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				h.Record([]registry.Event{{
					Time: time.UnixMilli(int64(i + 1)), Kind: registry.EventRegistered,
					Key: registry.Key{App: fmt.Sprint("W", w), ID: fmt.Sprint(i)},
				}})
			}
		})
	}
	for r := range 6 {
		wg.Go(func() {
			f, want := history.Filter{}, writers*each
			if r%2 == 1 {
				f, want = history.Filter{App: "W1"}, each
			}
			got, last := 0, map[string]int64{}
			for at := uint64(0); got < want; {
				woken := h.Wait(f.App)
				events, next, ok := h.After(f, at, 100)
				if !ok {
					t.Error("lost")
					return
				}
				for _, e := range events {
					if last[e.Key.App]+1 != e.Time.UnixMilli() {
						t.Errorf("%s after %d", e.Key, last[e.Key.App])
					}
					last[e.Key.App] = e.Time.UnixMilli()
				}
				if got += len(events); next == at {
					<-woken
				}
				at = next
			}
		})
	}
	wg.Wait()
}

func TestOptions(t *testing.T) {
	for _, bytes := range []int{-1, history.MinBytes - 1, history.MaxBytes + 1} {
		if _, err := history.New(history.Options{Bytes: bytes}); err == nil {
			t.Errorf("%d bytes are taken", bytes)
		}
	}
	reg := prometheus.NewRegistry()
	newHistory(t, history.Options{Metrics: reg})
	if n := testutil.ToFloat64(named(t, reg, "registryd_history_bytes")); n != 0 {
		t.Errorf("%v bytes before the first event", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	h := newHistory(b, history.Options{})
	events := []registry.Event{{
		Time: time.UnixMilli(1_700_000_000_000), Kind: registry.EventRegistered,
		Key:    registry.Key{App: "ORDERS", ID: "host-17.example.org:orders:8080"},
		By:     registry.Origin{From: "10.12.14.16:43210"},
		Record: 1_700_000_000_000, Status: eureka.StatusUp,
	}}
	b.ReportAllocs()
	for b.Loop() {
		h.Record(events)
	}
}
