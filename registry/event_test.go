package registry_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// events is a Recorder that keeps what it gets. It has no lock: the registry calls it from
// one goroutine at a time, and the race detector sees when it does not.
type events struct{ all []registry.Event }

func (e *events) Record(some []registry.Event) { e.all = append(e.all, some...) }

func (e *events) take() []registry.Event {
	all := e.all
	e.all = nil
	return all
}

// TestEvents goes through what may happen to an instance, and says what is told of it.
func TestEvents(t *testing.T) {
	c, told := newClock(), new(events)
	r, err := registry.New(registry.Options{Now: c.Now, Recorder: told})
	if err != nil {
		t.Fatal(err)
	}
	peer, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	client := registry.Origin{From: "192.0.2.7:4711"}
	batch := registry.Origin{Way: registry.ByBatch, From: "node-2"}
	java := registry.Origin{Way: registry.ByReplication, From: "192.0.2.8:8761"}
	const up, out = eureka.StatusUp, eureka.StatusOutOfService
	type want struct {
		kind       registry.Kind // 0: nothing is told
		by         registry.Origin
		changed    registry.Bits
		status     eureka.Status
		overridden eureka.Status
	}
	joinPeer := func(carried registry.Bits) {
		entry, _, _ := peer.Entry(key)
		r.Join(key, entry, carried, batch)
	}
	for _, step := range []struct {
		name string
		do   func()
		want want
	}{
		{
			"a register", func() { r.Register(instance("orders", "i-1", up, start), client) },
			want{registry.EventRegistered, client, registry.Registered, up, ""},
		},
		{"a renewal", func() { r.Renew(key, start, "", client) }, want{}},
		{
			"an older register", func() { r.Register(instance("ORDERS", "i-1", up, start-1), client) },
			want{registry.EventKept, client, registry.Renewed, up, ""},
		},
		{
			"new metadata", func() { r.SetMetadata(key, map[string]string{"a": "b"}, client) },
			want{registry.EventMetadata, client, registry.Registered, up, ""},
		},
		{"the same metadata", func() { r.SetMetadata(key, map[string]string{"a": "b"}, client) }, want{}},
		{
			"a status", func() { r.SetStatus(key, out, eureka.NoTimestamp, client) },
			want{registry.EventOverrideSet, client, registry.Overridden, out, out},
		},
		{"the same status", func() { r.SetStatus(key, out, eureka.NoTimestamp, client) }, want{}},
		{
			"a removal", func() { r.DeleteStatusOverride(key, up, eureka.NoTimestamp, java) },
			want{registry.EventOverrideRemoved, java, registry.Overridden, up, ""},
		},
		{
			"a Java peer's heartbeat with an override", func() { r.Renew(key, start+1, out, java) },
			want{registry.EventOverrideSet, java, registry.Overridden, out, out},
		},
		{
			"a newer copy of a peer", func() {
				c.Add(time.Second)
				joinNow(peer, r, key) // the peer knows what we know
				peer.DeleteStatusOverride(key, up, eureka.NoTimestamp, registry.Origin{})
				joinPeer(registry.Overridden)
			},
			want{registry.EventJoined, batch, registry.Overridden, up, ""},
		},
		{"the same copy", func() { joinPeer(registry.Overridden) }, want{}},
		{
			"a cancel", func() { r.Cancel(key, client) },
			want{registry.EventCancelled, client, registry.Cancelled, "", ""},
		},
		{"another cancel", func() { r.Cancel(key, client) }, want{}},
		{
			"a peer's register", func() {
				c.Add(time.Second)
				peer.Register(instance("ORDERS", "i-1", up, start+5), registry.Origin{})
				joinPeer(registry.Registered)
			},
			want{registry.EventJoined, batch, registry.Registered, up, ""},
		},
		{
			"a peer's cancel", func() {
				c.Add(time.Second)
				peer.Cancel(key, registry.Origin{})
				joinPeer(registry.Registered)
			},
			want{registry.EventJoined, batch, registry.Cancelled | registry.Overridden, "", ""},
		},
		{
			"a Java list", func() {
				r.Adopt(instance("ORDERS", "i-1", up, start+9), registry.Origin{Way: registry.ByList, From: "eureka-1"})
			},
			want{registry.EventJoined, registry.Origin{Way: registry.ByList, From: "eureka-1"}, registry.Registered, up, ""},
		},
	} {
		told.take()
		step.do()
		got := told.take()
		if step.want.kind == 0 {
			if len(got) != 0 {
				t.Errorf("%s: %+v is told, want nothing", step.name, got)
			}
			continue
		}
		if len(got) != 1 {
			t.Fatalf("%s: %d events, want one: %+v", step.name, len(got), got)
		}
		e := got[0]
		if is := (want{e.Kind, e.By, e.Changed, e.Status, e.Overridden}); is != step.want || e.Key != key {
			t.Errorf("%s: %s of %s %+v, want %s %+v", step.name, e.Kind, e.Key, is, step.want.kind, step.want)
		}
		entry, _, _ := r.Entry(key)
		if e.Record != entry.Record.Version || e.Override != entry.Override.Version || !e.Time.Equal(c.Now()) {
			t.Errorf("%s: versions %d and %d at %v, want %d and %d at %v", step.name, e.Record, e.Override, e.Time,
				entry.Record.Version, entry.Override.Version, c.Now())
		}
	}
}

// joinNow gives what one registry knows of an instance to another.
func joinNow(to, from *registry.Registry, key registry.Key) {
	entry, _, _ := from.Entry(key)
	to.Join(key, entry, whole, registry.Origin{Way: registry.ByBatch})
}

// TestEventsOfLeases: a lease that is over is told once a renewal, and what became of the
// instance.
func TestEventsOfLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(events)
		r, v := evicting(t, 10, registry.EvictorOptions{}, registry.Options{Recorder: told})
		began := time.Now()
		time.Sleep(60 * time.Second)
		renewEach(t, r, 8, 9)
		time.Sleep(40 * time.Second) // 8 of 10 are over: more than self-preservation bears
		told.take()
		pass(t, v)
		pass(t, v)
		kinds := map[registry.Kind]int{}
		for _, e := range told.take() {
			kinds[e.Kind]++
			if e.Silent != 100*time.Second || e.Term != 90*time.Second {
				t.Errorf("%s of %s: silent for %v of %v, want 100s of 90s", e.Kind, e.Key, e.Silent, e.Term)
			}
			if want := began.Add(90 * time.Second); e.Kind == registry.EventLeaseOver && !e.Time.Equal(want) {
				t.Errorf("the lease of %s was over at %v, want %v", e.Key, e.Time, want)
			}
		}
		if len(kinds) != 2 || kinds[registry.EventLeaseOver] != 8 || kinds[registry.EventHeld] != 8 {
			t.Errorf("under self-preservation: %v, want 8 over and 8 held", kinds)
		}
		renewEach(t, r, upTo(10)...)
		time.Sleep(60 * time.Second)
		renewEach(t, r, upTo(9)...)
		pass(t, v)
		time.Sleep(30 * time.Second)
		pass(t, v)
		if early := told.take(); len(early) != 0 {
			t.Errorf("after 90 s: %+v, want nothing yet", early)
		}
		time.Sleep(10 * time.Second)
		pass(t, v)
		got := told.take()
		if len(got) != 2 || got[0].Kind != registry.EventLeaseOver || got[1].Kind != registry.EventEvicted ||
			got[1].Key.ID != "i-9" || got[1].Silent != 100*time.Second || got[1].By.Way != registry.ByNode || got[1].Status != "" {
			t.Errorf("after all but one renewed: %+v, want i-9 over, then evicted", got)
		}
	})
}

// TestEventsInOrder has many goroutines change few instances: what is told of an instance
// is told in the order in which it took effect.
func TestEventsInOrder(t *testing.T) {
	told := new(events)
	r, err := registry.New(registry.Options{Recorder: told})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		rnd := rand.New(rand.NewPCG(uint64(g), 1))
		wg.Go(func() {
			for i := range 500 {
				id := fmt.Sprint("i-", rnd.IntN(3))
				key := registry.NewKey("ORDERS", id)
				switch rnd.IntN(4) {
				case 0:
					r.Cancel(key, registry.Origin{})
				case 1:
					r.SetStatus(key, pick(rnd, statuses()), eureka.NoTimestamp, registry.Origin{})
				default:
					r.Register(instance("ORDERS", id, eureka.StatusUp, start+int64(i)), registry.Origin{})
				}
			}
		})
	}
	wg.Wait()
	last := map[registry.Key]registry.Event{}
	for _, e := range told.take() {
		before := last[e.Key]
		if e.Record < before.Record || e.Override < before.Override {
			t.Fatalf("%s: versions %d, %d are told after %d, %d", e.Key, e.Record, e.Override, before.Record, before.Override)
		}
		last[e.Key] = e
	}
	for key, e := range last {
		entry, _, _ := r.Entry(key)
		var status eureka.Status
		if i, ok := r.Instance(key); ok {
			status = i.Status
		}
		if e.Record != entry.Record.Version || e.Override != entry.Override.Version || e.Status != status {
			t.Errorf("%s: the last that is told is %+v, but it is %s at %d, %d", key, e, status, entry.Record.Version,
				entry.Override.Version)
		}
	}
}

func TestKindNames(t *testing.T) {
	for k := registry.EventRegistered; k < registry.Kinds; k++ {
		if got, ok := registry.ParseKind(k.String()); !ok || got != k {
			t.Errorf("%s is parsed as %v, %v", k, got, ok)
		}
	}
	if _, ok := registry.ParseKind("unknown"); ok {
		t.Error("unknown is a kind")
	}
}
