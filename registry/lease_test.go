package registry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

func withLease(i *eureka.InstanceInfo, duration, interval int) *eureka.InstanceInfo {
	i.LeaseInfo = eureka.LeaseInfo{DurationInSecs: duration, RenewalIntervalInSecs: interval}
	return i
}

// D = max(duration, renewal interval + 5 s); at D not yet, 1 ms later yes.
func TestExpiryBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		duration, interval int
		d                  time.Duration
	}{
		{90, 30, 90 * time.Second},
		{34, 30, 35 * time.Second},
		{35, 30, 35 * time.Second},
		{36, 30, 36 * time.Second},
		{10, 30, 35 * time.Second},
		{10, 1, 10 * time.Second},
		{1, 1, 6 * time.Second},
		{600, 30, 600 * time.Second},
		{0, 0, 90 * time.Second}, // Eureka's defaults, where a client gives none.
	} {
		t.Run(fmt.Sprintf("duration %d s, interval %d s", tt.duration, tt.interval), func(t *testing.T) {
			c := newClock()
			r, sink := newRegistry(t, c)
			key := registry.NewKey("ORDERS", "i-1")
			c.Add(time.Hour) // Long after the start.
			r.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start), tt.duration, tt.interval), registry.Origin{})
			c.Add(time.Second)
			r.Renew(key, start, "", registry.Origin{})
			sink.take()
			c.Add(tt.d)
			if n := r.Evict(); n != 0 {
				t.Fatalf("%v after the renewal: evicted %d, want 0", tt.d, n)
			}
			if _, ok := r.Instance(key); !ok {
				t.Fatalf("%v after the renewal: not there", tt.d)
			}
			c.Add(time.Millisecond)
			if n := r.Evict(); n != 1 {
				t.Fatalf("%v and 1 ms after the renewal: evicted %d, want 1", tt.d, n)
			}
			if _, ok := r.Instance(key); ok {
				t.Error("readers still see it")
			}
			if n := r.Evict(); n != 0 {
				t.Errorf("evicted %d again", n)
			}
			if got := sink.take(); len(got) != 0 {
				t.Errorf("Sink got %v, want nothing: an eviction is this node's alone", got)
			}
		})
	}
}

// All of a client's actions renew, and so do a replica's.
func TestWhatRenews(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, isReplication := range []bool{false, true} {
		for name, do := range map[string]func(*registry.Registry){
			"register": func(r *registry.Registry) {
				r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), by(isReplication))
			},
			"older register": func(r *registry.Registry) {
				r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start-1), by(isReplication))
			},
			"renew":              func(r *registry.Registry) { r.Renew(key, start, "", by(isReplication)) },
			"renew, newer":       func(r *registry.Registry) { r.Renew(key, start+1, "", by(isReplication)) },
			"renew, older":       func(r *registry.Registry) { r.Renew(key, start-1, "", by(isReplication)) },
			"statusUpdate":       func(r *registry.Registry) { r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, by(isReplication)) },
			"statusUpdate, same": func(r *registry.Registry) { r.SetStatus(key, eureka.StatusUp, eureka.NoTimestamp, by(isReplication)) },
			"override to be gone": func(r *registry.Registry) {
				r.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, by(isReplication))
			},
			"metadata":       func(r *registry.Registry) { r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{}) },
			"metadata, same": func(r *registry.Registry) { r.SetMetadata(key, nil, registry.Origin{}) },
			"cancel":         func(r *registry.Registry) { r.Cancel(key, by(isReplication)) },
		} {
			c := newClock()
			r, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			c.Add(80 * time.Second)
			do(r)
			e, _, ok := r.Entry(key)
			if !ok || e.Age != 0 {
				t.Errorf("isReplication=%t, %s: lease %v old, want 0", isReplication, name, e.Age)
			}
			if i, ok := r.Instance(key); ok && i.LeaseInfo.LastRenewalTimestamp != c.Now().UnixMilli() {
				t.Errorf("isReplication=%t, %s: lastRenewalTimestamp %s, want now", isReplication, name, ms(i.LeaseInfo.LastRenewalTimestamp))
			}
		}
	}
}

// After a start everybody has a whole lease, whatever age came with it; the
// grace is not passed on.
func TestGraceAfterStart(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, age := range []time.Duration{0, 80 * time.Second, 5 * time.Minute} {
		t.Run(age.String(), func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			in := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start), start-1000, eureka.StatusUp), Age: age}
			r.Join(key, in, whole, registry.Origin{Way: registry.ByBatch})
			if _, ok := r.Instance(key); !ok {
				t.Fatal("not taken, but this node has just started")
			}
			c.Add(90_000 * time.Millisecond)
			if e, _, _ := r.Entry(key); e.Age != age+90*time.Second {
				t.Errorf("lease %v old, want %v: the grace isn't passed on", e.Age, age+90*time.Second)
			}
			if n := r.Evict(); n != 0 {
				t.Errorf("evicted %d at 90,000 ms after the start, want 0", n)
			}
			c.Add(time.Millisecond)
			if n := r.Evict(); n != 1 {
				t.Errorf("evicted %d at 90,001 ms after the start, want 1", n)
			}
		})
	}
}

// A lease that is younger than the start counts by itself, an older one that
// comes later by the start.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	c := newClock()
	r, _ := newRegistry(t, c)
	c.Add(60 * time.Second)
	in := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start), start-1000, eureka.StatusUp), Age: 50 * time.Second}
	r.Join(key, in, whole, registry.Origin{Way: registry.ByBatch}) // Renewed 10 s after the start.
	c.Add(40 * time.Second)
	if n := r.Evict(); n != 0 {
		t.Errorf("evicted %d with a lease of 90,000 ms, want 0", n)
	}
	c.Add(time.Millisecond)
	if n := r.Evict(); n != 1 {
		t.Errorf("evicted %d with a lease of 90,001 ms, want 1", n)
	}
}

func TestEvictCounts(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	for n := range 50 {
		r.Register(instance("ORDERS", fmt.Sprintf("i-%02d", n), eureka.StatusUp, start), registry.Origin{})
	}
	r.Cancel(registry.NewKey("ORDERS", "i-49"), registry.Origin{})
	c.Add(60 * time.Second)
	for n := range 20 {
		r.Renew(registry.NewKey("ORDERS", fmt.Sprintf("i-%02d", n)), start, "", registry.Origin{})
	}
	c.Add(31 * time.Second)
	if n := r.Evict(); n != 29 {
		t.Errorf("evicted %d, want the 29 that are alive and did not renew", n)
	}
	if got := r.Applications().HashCode; got != "UP_20_" {
		t.Errorf("hash code %s, want UP_20_", got)
	}
	if n := r.Len(); n != 50 {
		t.Errorf("%d entries, want 50: evicted ones and tombstones included", n)
	}
	c.Add(60 * time.Second)
	if n := r.Evict(); n != 20 {
		t.Errorf("evicted %d, want 20", n)
	}
	if apps := r.Applications(); apps.HashCode != "" || len(apps.Applications) != 0 {
		t.Errorf("list %+v, want it empty", apps)
	}
}

func TestEvictionHidesAndKeepsOverride(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, sink := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
	r.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	before, _, _ := r.Entry(key)
	c.Add(91 * time.Second)
	r.Evict()
	sink.take()
	after, evicted, ok := r.Entry(key)
	if !ok || !evicted || part(after) != part(before) {
		t.Errorf("after the eviction %s, evicted = %t, want %s", part(after), evicted, part(before))
	}
	for name, got := range map[string]registry.Outcome{
		"Renew":                first(r.Renew(key, start, "", registry.Origin{})),
		"Renew of a replica":   first(r.Renew(key, start, "", registry.Origin{Way: registry.ByReplication})),
		"SetStatus":            r.SetStatus(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{}),
		"DeleteStatusOverride": r.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{}),
		"SetMetadata":          r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{}),
	} {
		if got != registry.NotFound {
			t.Errorf("%s of an evicted one = %v, want 404", name, got)
		}
	}
	if again, _, _ := r.Entry(key); text(again) != text(after) {
		t.Errorf("calls that got a 404 changed %s to %s", text(after), text(again))
	}
	if got := sink.take(); len(got) != 0 {
		t.Errorf("Sink got %v, want nothing", got)
	}
	for range r.All() {
		t.Error("All gives an evicted one")
	}

	// Whatever its timestamp, a register brings it back, with its override.
	if r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start-5), registry.Origin{}) != registry.OK {
		t.Fatal("the register was not stored")
	}
	i, ok := r.Instance(key)
	if !ok || i.Status != eureka.StatusOutOfService || i.OverriddenStatus != eureka.StatusOutOfService || i.LastDirtyTimestamp != start-5 {
		t.Errorf("back as %+v, want it OUT_OF_SERVICE", i)
	}
	if _, evicted, _ := r.Entry(key); evicted {
		t.Error("still evicted")
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestCancelOfEvicted(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, sink := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
	c.Add(91 * time.Second)
	r.Evict()
	sink.take()
	generation := r.Generation()
	if got := r.Cancel(key, registry.Origin{}); got != registry.NotFound {
		t.Errorf("Cancel = %v, want 404: readers did not see it", got)
	}
	e, _, ok := r.Entry(key)
	now := c.Now().UnixMilli()
	if !ok || e.Record.Live || e.Record.Version != now || e.Record.LastDirty != start || e.Record.Duration != 90*time.Second || e.Age != 0 {
		t.Errorf("entry %s, want a tombstone of now", text(e))
	}
	if want := (registry.Override{Version: now, Status: eureka.StatusUnknown}); e.Override != want {
		t.Errorf("override %s, want %s", overrideText(e.Override), overrideText(want))
	}
	if got, want := sink.take(), []registry.Change{{Key: key, Bits: registry.Cancelled}}; !slices.Equal(got, want) {
		t.Errorf("Sink got %v, want %v", got, want)
	}
	if got := r.Generation(); got != generation {
		t.Errorf("generation went from %d to %d, though no reader sees a change", generation, got)
	}
	if got := r.Cancel(key, registry.Origin{}); got != registry.NotFound {
		t.Errorf("second Cancel = %v, want 404", got)
	}
	if again, _, _ := r.Entry(key); part(again) != part(e) || len(sink.take()) != 0 {
		t.Errorf("a second cancel made %s of %s", part(again), part(e))
	}
}

// Retired: 2 × duration and 5 min after the last renewal.
func TestRetirement(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name     string
		duration int
		after    time.Duration
		end      func(*clock, *registry.Registry)
	}{
		{"tombstone", 90, 480 * time.Second, func(_ *clock, r *registry.Registry) { r.Cancel(key, registry.Origin{}) }},
		{"tombstone of a longer lease", 600, 1500 * time.Second, func(_ *clock, r *registry.Registry) { r.Cancel(key, registry.Origin{}) }},
		{"evicted", 90, 480 * time.Second, func(c *clock, r *registry.Registry) {
			c.Add(91 * time.Second)
			r.Evict()
			c.Add(-91 * time.Second)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, sink := newRegistry(t, c)
			c.Add(time.Hour)
			r.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start), tt.duration, 30), registry.Origin{})
			tt.end(c, r)
			sink.take()
			generation := r.Generation()
			dead := registry.Cancelled
			if _, evicted, _ := r.Entry(key); evicted {
				dead = 0
			}
			c.Add(tt.after)
			r.Evict()
			if n := r.Len(); n != 1 {
				t.Errorf("at %v: %d entries, want 1", tt.after, n)
			}
			if got := bitsOf(r, key); got != dead {
				t.Errorf("at %v: All gives {%v}, want {%v}", tt.after, got, dead)
			}
			c.Add(time.Millisecond)
			if got := bitsOf(r, key); got != 0 {
				t.Errorf("1 ms later: All gives {%v}, want nothing", got)
			}
			if n := r.Evict(); n != 0 {
				t.Errorf("1 ms later: evicted %d, want 0: forgetting is none", n)
			}
			if n := r.Len(); n != 0 {
				t.Errorf("1 ms later: %d entries, want none", n)
			}
			if _, _, ok := r.Entry(key); ok {
				t.Error("1 ms later: there is still an entry")
			}
			if got := r.Generation(); got != generation {
				t.Errorf("generation went from %d to %d, though no reader sees a change", generation, got)
			}
			if got := sink.take(); len(got) != 0 {
				t.Errorf("Sink got %v, want nothing", got)
			}
		})
	}
}

func bitsOf(r *registry.Registry, key registry.Key) registry.Bits {
	for k, bits := range r.All() {
		if k == key {
			return bits
		}
	}
	return 0
}

// The timestamps that readers see.
func TestLeaseTimestamps(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	check := func(name string, registered, renewed, up int64) {
		t.Helper()
		i, ok := r.Instance(key)
		if !ok {
			t.Fatalf("%s: not there", name)
		}
		want := eureka.LeaseInfo{
			RenewalIntervalInSecs: 30, DurationInSecs: 90,
			RegistrationTimestamp: registered, LastRenewalTimestamp: renewed, ServiceUpTimestamp: up,
		}
		if i.LeaseInfo != want {
			t.Errorf("%s: %+v, want %+v", name, i.LeaseInfo, want)
		}
	}
	r.Register(instance("ORDERS", "i-1", eureka.StatusStarting, start), registry.Origin{})
	check("registered, not up", start, start, 0)
	c.Add(10 * time.Second)
	r.Renew(key, start, "", registry.Origin{})
	check("renewed: the true time, not one lease later", start, start+10_000, 0)
	c.Add(10 * time.Second)
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+1), registry.Origin{})
	check("registered as UP", start+20_000, start+20_000, start+20_000)
	c.Add(10 * time.Second)
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+2), registry.Origin{})
	check("registered again: serviceUp is carried over", start+30_000, start+30_000, start+20_000)
}

// Setting the machine's clock back expires nobody.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start-5), registry.Origin{})
	c.Add(-time.Hour)
	if n := r.Evict(); n != 0 {
		t.Errorf("evicted %d", n)
	}
	r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
	e, _, _ := r.Entry(key)
	if e.Override.Version != start+1 {
		t.Errorf("override has version %s, want known + 1", ms(e.Override.Version))
	}
	r.Cancel(key, registry.Origin{})
	e, _, _ = r.Entry(key)
	if e.Record.Version != start+2 || e.Age < 0 {
		t.Errorf("tombstone %s, want known + 1 and no age below 0", text(e))
	}
}
