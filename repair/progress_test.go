package repair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// circle is the transport to a peer whose answers name the same places again and
// again. It ends the test's context when it has been asked too often.
type circle struct {
	next  []string // cursors; the last is followed by the first
	asked int
	over  context.CancelFunc
}

func (c *circle) Sync(_ context.Context, _ string, body []byte) ([]byte, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if c.asked++; c.asked > 50 {
		c.over()
	}
	return fmt.Appendf(nil, `{"next":%s,"replicationList":[]}`, c.next[(c.asked-1)%len(c.next)]), nil
}

func (c *circle) MaxPayload() int { return 64 << 10 }

// A peer that goes round in circles is given up: it would keep this node syncing,
// or comparing, without end.
func TestPeerInCircles(t *testing.T) {
	for _, next := range [][]string{
		{`{"leaf":7}`},
		{`{"leaf":7,"id":"a"}`},
		{`{"leaf":7,"app":"A","id":"a"}`, `{"leaf":7,"app":"A","id":"b"}`},
		{`{"leaf":8,"app":"A","id":"a"}`, `{"leaf":7,"app":"A","id":"b"}`},
		{`{"leaf":7,"app":"A","id":"b"}`, `{"leaf":7,"app":"A","id":"a"}`},
		{`{"leaf":-1,"app":"A"}`},
		{`{"leaf":4096,"app":"A"}`}, // all that another source has would count as pulled
	} {
		ctx, cancel := context.WithCancel(t.Context())
		to := &circle{next: next, over: cancel}
		reg, err := registry.New(registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(reg, to, Options{Up: func() time.Duration { return time.Hour }})
		if err != nil {
			t.Fatal(err)
		}
		var p place
		if _, err := r.NewCatchUp().pages(ctx, "b", &p, func(int) {}); !errors.Is(err, errPage) {
			t.Errorf("pages, next %v: %v after %d requests", next, err, to.asked)
		}
		if p.at != nil && (p.at.Leaf < 0 || p.at.Leaf >= maxLeaves) {
			t.Errorf("pages, next %v: goes on from %+v", next, *p.at)
		}
		to.asked = 0
		peer := r.NewPeer("b", func(registry.Key, registry.Bits) {})
		if _, err := peer.versions(ctx, []int{7, 8}); !errors.Is(err, errPage) {
			t.Errorf("versions, next %v: %v after %d requests", next, err, to.asked)
		}
		cancel()
	}
}

// slow is the transport to a node that takes its time to answer.
type slow struct {
	nowhere
	to   *Repair
	took time.Duration
}

func (s *slow) Sync(_ context.Context, _ string, body []byte) ([]byte, error) {
	answer, err := s.to.serve(body, 1<<20)
	time.Sleep(s.took)
	return answer, err
}

// However often nodes ask each other for a lease, and however late the answers are, it
// never looks younger than it is.
func TestLeasesDoNotGrowYounger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := answering(t, "i"), answering(t)
		a.transport, b.transport = &slow{to: b, took: 900 * time.Millisecond}, &slow{to: a, took: 900 * time.Millisecond}
		key, begun := registry.NewKey("DEMO", "i"), time.Now()
		if _, err := b.askPage(t.Context(), "a", request{Ask: askPage}); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			a.AskAges(t.Context(), []string{"b"}, []registry.Key{key})
			b.AskAges(t.Context(), []string{"a"}, []registry.Key{key})
		}
		for name, r := range map[string]*Repair{"a": a, "b": b} {
			if e, _, ok := r.reg.Entry(key); !ok || e.Age < time.Since(begun) {
				t.Errorf("%s: known %t, renewed %v ago, want %v", name, ok, e.Age, time.Since(begun))
			}
		}
	})
}

// one is the transport to a peer that answers every request with one page.
type one struct {
	nowhere
	page string
}

func (o one) Sync(context.Context, string, []byte) ([]byte, error) { return []byte(o.page), nil }

// Only what was joined counts as joined.
func TestEntriesCountOnce(t *testing.T) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good, err := answering(t, "a").serve([]byte(`{"ask":"page"}`), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Replace(string(good), `"replicationList":[`, `"replicationList":[{"appName":"A","id":"no-state","action":"Cancel"},`, 1)
	ahead := registry.Entry{Record: registry.Record{
		Version: time.Now().Add(48 * time.Hour).UnixMilli(), Live: true, Base: eureka.StatusUp,
	}}
	item := ahead.Item(registry.NewKey("A", "refused"), 0)
	item.Action = eureka.ActionHeartbeat
	page = strings.Replace(page, `"replicationList":[`, `"replicationList":[`+string(eureka.AppendItem(nil, &item))+",", 1)
	r, err := New(reg, one{page: page}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.askPage(t.Context(), "b", request{Ask: askPage})
	if err != nil || len(p.items) != 3 || reg.Len() != 1 {
		t.Fatalf("%d items, %d entries, %v; want 3 and 1", len(p.items), reg.Len(), err)
	}
	for _, outcome := range []string{"joined", "malformed", "refused"} {
		if got := testutil.ToFloat64(r.metrics.entries.WithLabelValues(outcome)); got != 1 {
			t.Errorf("%s: %v, want 1", outcome, got)
		}
	}
}
