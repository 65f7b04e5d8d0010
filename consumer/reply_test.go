package consumer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// heavy is an entry of version v with size bytes of metadata.
func heavy(key registry.Key, v int64, size int) registry.Entry {
	info := instance(key.App, key.ID, eureka.StatusUp, start-1000)
	info.Metadata = map[string]string{"blob": strings.Repeat("x", size)}
	return registry.Entry{Record: live(info, v)}
}

func heavyKey(i int) registry.Key { return registry.NewKey("ORDERS", fmt.Sprintf("i-%03d", i)) }

// conflicts returns a batch of n heartbeats, for which the node has newer copies
// of size bytes.
func (n *node) conflicts(count, size int) []byte {
	list := make(eureka.ReplicationList, count)
	for i := range list {
		key := heavyKey(i)
		n.reg.Join(key, heavy(key, 9, size), whole, registry.Origin{Way: registry.ByBatch})
		list[i] = item(heartbeat, key, heavy(key, 5, 0))
	}
	return eureka.AppendReplicationList(nil, list)
}

// Copies go with their conflicts until three quarters of the bound; the rest are
// conflicts without a copy. Nothing else is different: as many results, each in
// its place.
func TestReplyIsBounded(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name        string
		bound       int // 0: left out
		count, size int
		bare        bool // whether some must be
	}{
		{"default, 250 of 5 KB", 0, 250, 5 << 10, true},
		{"NATS's own bound", mib, 250, 5 << 10, true},
		{"8 MiB holds all", 8 * mib, 250, 5 << 10, false},
		{"64 KiB", 64 << 10, 250, 5 << 10, true},
		{"no copy fits", 64 << 10, 3, 60 << 10, true},
		{"250 of usual size", 0, 250, 500, false},
		{"1,500 of usual size", 0, 1500, 100, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var opts consumer.Options
			bound := mib
			if tt.bound != 0 {
				bound = tt.bound
				opts.MaxReply = func() int { return tt.bound }
			}
			n := newNode(t, opts)
			a := n.ask(t, "peer", n.conflicts(tt.count, tt.size))
			list := results(t, a, tt.count)
			if got, want := len(a.body), bound*3/4; got > want {
				t.Errorf("the reply has %d bytes, want at most three quarters of %d, %d", got, bound, want)
			}
			copies, oneCopy := 0, 0
			for i, res := range list {
				switch {
				case res.StatusCode != 409:
					t.Fatalf("result %d is %d, want 409", i, res.StatusCode)
				case (res.State == nil) != (res.ResponseEntity == nil):
					t.Fatalf("result %d is half a copy", i)
				case res.State == nil:
				case copies != i:
					t.Fatalf("result %d has a copy after one without, want copies first", i)
				default:
					copies++
					oneCopy = len(eureka.AppendResult(nil, &res)) + 1
					e, err := registry.FromState(res.State, res.ResponseEntity)
					if err != nil {
						t.Fatalf("copy %d: %v", i, err)
					}
					if got, want := text(e), text(heavy(heavyKey(i), 9, tt.size)); got != want {
						t.Fatalf("copy %d is %s, want %s", i, got, want)
					}
				}
			}
			bare := tt.count - copies
			if (bare > 0) != tt.bare {
				t.Errorf("%d of %d conflicts without a copy, want some: %t", bare, tt.count, tt.bare)
			}
			// There was no room for one more, except for the room that the rest may
			// need.
			if room := bound*3/4 - len(a.body); copies > 0 && bare > 0 && room > oneCopy+32*bare {
				t.Errorf("%d bytes of room are left after %d copies of %d bytes", room, copies, oneCopy)
			}
			n.checkMetrics(t, fmt.Sprintf("bare_conflicts_total %d", bare), "bare_conflicts_total")
		})
	}
}

// The bound is asked for with each batch: a reconnect may change it.
func TestReplyBoundOfTheMoment(t *testing.T) {
	bounds := make(chan int, 3)
	n := newNode(t, consumer.Options{MaxReply: func() int { return <-bounds }})
	body := n.conflicts(20, 5<<10)
	for _, tt := range []struct{ bound, copies int }{{1 << 20, 20}, {1 << 10, 0}, {1 << 20, 20}} {
		bounds <- tt.bound
		got := 0
		for _, res := range results(t, n.ask(t, "peer", body), 20) {
			if res.ResponseEntity != nil {
				got++
			}
		}
		if got != tt.copies {
			t.Errorf("bound %d: %d copies, want %d", tt.bound, got, tt.copies)
		}
	}
}

// A full reply costs the other items nothing: they are applied and answered.
func TestFullReplyAmongOthers(t *testing.T) {
	n := newNode(t, consumer.Options{MaxReply: func() int { return 16 << 10 }})
	var list eureka.ReplicationList
	want := make([]int, 0, 40)
	for i := range 10 {
		key := heavyKey(i)
		n.reg.Join(key, heavy(key, 9, 3<<10), whole, registry.Origin{Way: registry.ByBatch})
		fresh := registry.NewKey("USERS", key.ID)
		bad := item(heartbeat, fresh, heavy(fresh, 5, 0))
		bad.State = nil
		list = append(
			list,
			item(heartbeat, key, heavy(key, 5, 0)),
			item(register, fresh, registry.Entry{Record: live(instance(fresh.App, fresh.ID, eureka.StatusUp, start), 7)}),
			item(heartbeat, registry.NewKey("NOBODY", key.ID), heavy(key, 5, 0)),
			bad,
		)
		want = append(want, 409, 200, 404, 400)
	}
	a := n.ask(t, "peer", eureka.AppendReplicationList(nil, list))
	got := results(t, a, len(list))
	copies := 0
	for i, res := range got {
		if res.StatusCode != want[i] {
			t.Errorf("result %d is %d, want %d", i, res.StatusCode, want[i])
		}
		if res.ResponseEntity != nil {
			copies++
		}
	}
	if copies == 0 || copies == 10 {
		t.Errorf("%d copies of 10, want some", copies)
	}
	if len(a.body) > 12<<10 {
		t.Errorf("the reply has %d bytes, want at most %d", len(a.body), 12<<10)
	}
	for i := range 10 {
		if _, ok := n.reg.Instance(registry.NewKey("USERS", heavyKey(i).ID)); !ok {
			t.Errorf("user %d is not there, want it applied", i)
		}
	}
}

// A conflict with a tombstone is small, and bare too when the reply is full.
func TestFullReplyOfTombstones(t *testing.T) {
	const count = 100
	n := newNode(t, consumer.Options{MaxReply: func() int { return 8 << 10 }})
	list := make(eureka.ReplicationList, count)
	for i := range list {
		n.reg.Join(heavyKey(i), dead(9, 0), whole, registry.Origin{Way: registry.ByBatch})
		list[i] = item(heartbeat, heavyKey(i), heavy(heavyKey(i), 5, 0))
	}
	a := n.ask(t, "peer", eureka.AppendReplicationList(nil, list))
	states := 0
	for i, res := range results(t, a, count) {
		if res.StatusCode != 409 || res.ResponseEntity != nil {
			t.Errorf("result %d is %+v, want 409 without an instance", i, res)
		}
		if res.State != nil {
			states++
		}
	}
	if states == 0 || states == count || len(a.body) > 6<<10 {
		t.Errorf("%d of %d with registryd in %d bytes, want some in at most %d", states, count, len(a.body), 6<<10)
	}
}

// The copy that a bare conflict leaves out is not lost: it comes with a batch
// that has room for it.
func TestBareConflictAsksAgain(t *testing.T) {
	bound := make(chan int, 2)
	n := newNode(t, consumer.Options{MaxReply: func() int { return <-bound }})
	key := heavyKey(0)
	n.reg.Join(key, heavy(key, 9, 100), whole, registry.Origin{Way: registry.ByBatch})
	n.clock.Add(time.Second)
	bound <- 0
	if res := n.send(t, item(heartbeat, key, heavy(key, 5, 0)))[0]; res.StatusCode != 409 || res.State != nil || res.ResponseEntity != nil {
		t.Errorf("without room: %+v, want 409 alone", res)
	}
	bound <- 4 << 10
	res := n.send(t, item(heartbeat, key, heavy(key, 5, 0)))[0]
	if res.StatusCode != 409 || res.State == nil || res.ResponseEntity == nil {
		t.Errorf("with room: %+v, want 409 and our copy", res)
	}
}
