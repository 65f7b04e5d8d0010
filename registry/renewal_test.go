package registry_test

import (
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// heard is a heartbeat that a peer tells: when it comes, and how old the lease
// is then.
type heard struct {
	at      time.Duration // after the instance was joined
	age     time.Duration
	carried registry.Bits
	counts  bool
}

// A heartbeat that a peer tells counts once, however often and by however many
// ways it comes. The instance renews every 30 s and was joined 0 s old.
func TestRenewalsOfPeers(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name  string
		heard []heard
	}{
		{"on time", []heard{{30 * time.Second, 0, 0, true}, {time.Minute, 2 * ms, 0, true}}},
		{"the registration itself", []heard{{time.Second, time.Second, 0, false}}},
		{"resent", []heard{{30 * time.Second, 0, 0, true}, {31 * time.Second, time.Second, 0, false}}},
		{"late", []heard{{time.Minute, 0, 0, true}, {61 * time.Second, 31 * time.Second, 0, false}}},
		{"longer on its way", []heard{{30 * time.Second, 0, 0, true}, {31 * time.Second, 980 * ms, 0, false}}},
		{"just under half an interval", []heard{{14_999 * ms, 0, 0, false}}},
		{"half an interval", []heard{{15 * time.Second, 0, 0, true}}},
		{"three times as often as it said", []heard{
			{10 * time.Second, 0, 0, false},
			{20 * time.Second, 0, 0, true},
			{30 * time.Second, 0, 0, false},
			{40 * time.Second, 0, 0, true},
		}},
		{"ages of one that died", []heard{
			{90 * time.Second, 90*time.Second - 5*ms, 0, false},
			{150 * time.Second, 150*time.Second - 10*ms, 0, false},
			{210 * time.Second, 210*time.Second - 15*ms, 0, false},
		}},
		{"ages of one that moved", []heard{{90 * time.Second, 10 * time.Second, 0, true}, {91 * time.Second, 11*time.Second - 3*ms, 0, false}}},
		{"an override", []heard{{30 * time.Second, 0, registry.Overridden, false}}},
		{"the record again", []heard{{30 * time.Second, 0, whole, false}, {31 * time.Second, time.Second, 0, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, err := registry.New(registry.Options{Now: c.Now, LeaseCompat: registry.Netflix})
			if err != nil {
				t.Fatal(err)
			}
			e := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start), 5, eureka.StatusUp)}
			r.Join(key, e, whole)
			joined, now := c.ms.Load(), time.Duration(0)
			renewed, newest := false, time.Duration(0)
			for _, h := range tt.heard {
				c.Add(h.at - now)
				now = h.at
				before := r.Leases().Renewals
				e.Age = h.age
				r.Join(key, joining{e, h.carried}.sent(), h.carried)
				if counts := r.Leases().Renewals > before; counts != h.counts {
					t.Errorf("after %v, %v old: counts = %t, want %t", h.at, h.age, counts, h.counts)
				}
				renewed = renewed || h.counts
				newest = max(newest, h.at-h.age)
			}
			// Netflix's lease lasts twice its 90 s once it was renewed.
			term := 90 * time.Second
			if renewed {
				term *= 2
			}
			c.ms.Store(joined + (newest + term).Milliseconds())
			if expired := len(r.Expired(0)) == 1; expired {
				t.Errorf("expired %v after its last renewal", term)
			}
			c.Add(ms)
			if expired := len(r.Expired(0)) == 1; !expired {
				t.Errorf("not expired more than %v after its last renewal", term)
			}
		})
	}
}

// What a client has told here does not count again when a peer tells it, and a
// heartbeat of what is cancelled here does not count at all.
func TestRenewalsKnownHere(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name string
		do   func(*registry.Registry)
		want float64
	}{
		{"register", func(r *registry.Registry) { r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+1), false) }, 0},
		{"kept register", func(r *registry.Registry) { r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start-1), false) }, 0},
		{"renew", func(r *registry.Registry) { r.Renew(key, start, "", false) }, 1},
		{"status", func(r *registry.Registry) { r.SetStatus(key, eureka.StatusDown, start, false) }, 0},
		{"metadata", func(r *registry.Registry) { r.SetMetadata(key, map[string]string{"a": "b"}) }, 0},
		{"cancel", func(r *registry.Registry) { r.Cancel(key, false) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), false)
			c.Add(30 * time.Second)
			tt.do(r)
			e, _, _ := r.Entry(key)
			for range 3 { // it comes back, each time a little later than it was
				c.Add(time.Second)
				e.Age += time.Second - 5*time.Millisecond
				r.Join(key, joining{e, 0}.sent(), 0)
			}
			if got := r.Leases().Renewals; got != tt.want {
				t.Errorf("renewals = %v, want %v", got, tt.want)
			}
		})
	}
}

// Nodes that ask each other for the ages of what has died, before each pass, see
// no renewal in the answers, though each comes a little late.
func TestAskingForAgesRenewsNothing(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	c := newClock()
	nodes := make([]*registry.Registry, 3)
	for i := range nodes {
		nodes[i], _ = newRegistry(t, c)
	}
	nodes[0].Register(instance("ORDERS", "i-1", eureka.StatusUp, start), false)
	first, _, _ := nodes[0].Entry(key)
	for _, n := range nodes[1:] {
		n.Join(key, first, whole)
	}
	c.Add(2 * time.Minute)
	for pass := range 5 {
		for i, asker := range nodes {
			for j, peer := range nodes {
				e, _, _ := peer.Entry(key)
				c.Add(3 * time.Millisecond)
				if i != j {
					asker.Join(key, joining{e, 0}.sent(), 0)
				}
			}
			if got := asker.Leases().Renewals; got != 0 {
				t.Fatalf("pass %d: node %d counts %v renewals, want none", pass, i, got)
			}
		}
		c.Add(time.Minute)
	}
}
