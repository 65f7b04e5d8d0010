package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// onWire returns what another node gets of an entry: whole, as NATS carries it.
func onWire(t *testing.T, key registry.Key, e registry.Entry) registry.Entry {
	t.Helper()
	item := e.Item(key, 0)
	got, _, err := registry.FromItem(&item)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A cancel is remembered for as long as a copy with the longest lease that the
// instance ever had may come back, also by a node that was only sent the cancel.
func TestShortenedLeaseIsCancelled(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	a.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start), 3600, 30), registry.Origin{})
	old, _, _ := a.Entry(key) // as a node has it that is cut off from now on
	old = onWire(t, key, old)
	c.Add(time.Second)
	a.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start+1), 10, 3), registry.Origin{})
	a.Cancel(key, registry.Origin{})
	cancel, _, _ := a.Entry(key)
	b, _ := newRegistry(t, c)
	b.Join(key, onWire(t, key, cancel), whole, registry.Origin{Way: registry.ByBatch})
	for name, r := range map[string]*registry.Registry{"the node that was asked": a, "a node that was sent the cancel": b} {
		c.ms.Store(start)
		for minute := range 60 + 60 + 5 { // two leases and five
			c.Add(time.Minute)
			if r.Forget(); r.Len() != 1 {
				t.Fatalf("%s has forgotten the cancel after %d minutes", name, minute+1)
			}
			if minute == 58 {
				old.Age = 59*time.Minute + time.Second
				r.Join(key, old, whole, registry.Origin{Way: registry.ByBatch})
			}
			if _, listed := r.Instance(key); listed {
				t.Fatalf("%s lists the instance again", name)
			}
		}
		c.Add(2 * time.Second)
		if r.Forget(); r.Len() != 0 {
			t.Errorf("%s remembers the cancel still", name)
		}
	}
}

// An instance that renews more seldom than its duration says is whole for as long as
// it lives: it is in the digest, in pages and snapshots, and nobody evicts it.
func TestSlowRenewals(t *testing.T) {
	t.Parallel()
	for _, lease := range []struct {
		duration, interval int
		lives              time.Duration
	}{{90, 600, 605 * time.Second}, {10, 3600, time.Hour + 5*time.Second}, {10, 1<<31 - 1, time.Hour + 5*time.Second}} {
		t.Run(fmt.Sprintf("%+v", lease), func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			key := registry.NewKey("ORDERS", "i-1")
			c.Add(time.Hour)
			r.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start), lease.duration, lease.interval), registry.Origin{})
			digest := r.Digest()
			for end := c.ms.Load() + lease.lives.Milliseconds(); c.ms.Load() < end; c.ms.Store(min(end, c.ms.Load()+10_000)) {
				r.Forget()
				versions := 0
				for range r.AllVersions() {
					versions++
				}
				if r.Digest() != digest || versions != 1 || bitsOf(r, key) != registry.Registered || len(r.Outlived()) != 0 {
					t.Fatalf("%v before its lease ends it is not whole", time.Duration(end-c.ms.Load())*time.Millisecond)
				}
			}
			if n := r.Evict(); n != 0 {
				t.Error("evicted at the end of its lease")
			}
			c.Add(time.Millisecond)
			if n := r.Evict(); n != 1 {
				t.Error("not evicted after its lease")
			}
		})
	}
}

// Digests of nodes that know the same differ for no longer than a message takes,
// though no node makes a pass: retirement is a matter of the time alone.
func TestDigestsAgreeWhileTombstonesRetire(t *testing.T) {
	t.Parallel()
	const transit = 20 * time.Millisecond
	c := newClock()
	a, _ := newRegistry(t, c)
	b, _ := newRegistry(t, c)
	for i := range 100 {
		a.Register(instance("ORDERS", fmt.Sprint("i-", i), eureka.StatusUp, start), registry.Origin{})
	}
	cancelled := 0
	for range 900 { // seconds
		c.Add(time.Second)
		for range 5 {
			if key := registry.NewKey("ORDERS", fmt.Sprint("i-", cancelled)); cancelled < 100 {
				a.Cancel(key, registry.Origin{})
				e, _, _ := a.Entry(key)
				c.Add(transit)
				b.Join(key, onWire(t, key, e), whole, registry.Origin{Way: registry.ByBatch})
				c.Add(5 * transit)
				cancelled++
			}
		}
		if cancelled < 100 {
			continue
		}
		if a.Digest() != b.Digest() {
			c.Add(transit)
			if a.Digest() != b.Digest() {
				t.Fatalf("digests differ %v after the first cancel, for more than %v", time.Duration(c.ms.Load()-start)*time.Millisecond, transit)
			}
		}
	}
	if a.Digest() != 0 || a.Len() != 0 || b.Len() != 0 {
		t.Errorf("digest %x, %d and %d entries are left after a quarter of an hour", a.Digest(), a.Len(), b.Len())
	}
}

// What self-preservation keeps leaves the digest when it is retired, and is back in
// it with its first sign of life.
func TestRetiredComesBack(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for name, do := range map[string]func(*registry.Registry, registry.Entry){
		"renew": func(r *registry.Registry, _ registry.Entry) { r.Renew(key, start, "", registry.Origin{}) },
		"a peer": func(r *registry.Registry, e registry.Entry) {
			r.Join(key, joining{e, 0}.sent(), 0, registry.Origin{Way: registry.ByBatch})
		},
		"status, same": func(r *registry.Registry, _ registry.Entry) {
			r.SetStatus(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{})
		},
		"metadata, same": func(r *registry.Registry, _ registry.Entry) { r.SetMetadata(key, nil, registry.Origin{}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			e, _, _ := r.Entry(key)
			digest := r.Digest()
			for range 2 {
				c.Add(480 * time.Second)
				if r.Digest() != digest {
					t.Error("not in the digest before it is retired")
				}
				c.Add(time.Millisecond)
				if r.Digest() != 0 {
					t.Error("in the digest when it is retired")
				}
				if _, ok := r.Instance(key); !ok {
					t.Error("not listed")
				}
				do(r, e)
				if r.Digest() != digest {
					t.Error("not in the digest after a sign of life")
				}
			}
		})
	}
}

// The time in which all nodes were away is nobody's time: a restored cancel holds
// against an older copy until all is exchanged, however long that takes, and for five
// minutes more.
func TestRestoredCancelHolds(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, age := range []time.Duration{0, 479 * time.Second} {
		for _, away := range []time.Duration{0, time.Hour, 1 << 62} {
			for _, exchange := range []time.Duration{time.Second, time.Hour} {
				t.Run(fmt.Sprintf("%v old, away %v, exchanged after %v", age, away, exchange), func(t *testing.T) {
					c := newClock()
					r, _ := newRegistry(t, c)
					old := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start), 5, eureka.StatusUp)}
					cancel := registry.Entry{Record: tombstone(6, start, 90*time.Second), Override: registry.Override{Version: 6, Status: eureka.StatusUnknown}, Age: age}
					r.Restore(key, cancel, away)
					holds := func(when string) {
						t.Helper()
						old.Age = age + time.Second + time.Duration(c.ms.Load()-start)*time.Millisecond
						r.Forget()
						r.Join(key, old, whole, registry.Origin{Way: registry.ByBatch})
						if _, listed := r.Instance(key); listed || r.Digest() == 0 {
							t.Fatalf("%s: the cancelled instance is listed: %t, digest %x", when, listed, r.Digest())
						}
					}
					holds("at once")
					c.Add(exchange)
					holds("before the exchange")
					r.Exchanged()
					left := max(480*time.Second-age, 5*time.Minute)
					c.Add(left)
					holds("until its time is over")
					c.Add(time.Millisecond)
					if r.Forget(); r.Len() != 0 {
						t.Error("remembered although its time is over")
					}
				})
			}
		}
	}
}

// An evicted instance comes back as evicted, and is remembered for as long as it would
// have been. All leases are older by the time away.
func TestRestore(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	in := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start), 5, eureka.StatusUp), Age: 100 * time.Second}
	alive, evicted := registry.NewKey("ORDERS", "i-1"), registry.NewKey("ORDERS", "i-2")
	r.Restore(alive, in, time.Hour)
	in.Record = live(instance("ORDERS", "i-2", eureka.StatusUp, start), 5, eureka.StatusUp)
	in.Evicted = true
	r.Restore(evicted, in, time.Hour)
	c.Add(time.Hour)
	if e, is, ok := r.Entry(alive); !ok || is || e.Age != 2*time.Hour+100*time.Second {
		t.Errorf("alive: known %t, evicted %t, age %v; want 2h1m40s", ok, is, e.Age)
	}
	if e, is, ok := r.Entry(evicted); !ok || !is || e.Age != 2*time.Hour+100*time.Second || e.Keep != 380*time.Second {
		t.Errorf("evicted: known %t, evicted %t, age %v, kept for %v; want 2h1m40s, 6m20s", ok, is, e.Age, e.Keep)
	}
	r.Exchanged()
	c.Add(time.Second)
	if e, _, _ := r.Entry(evicted); e.Keep != 379*time.Second {
		t.Errorf("evicted, a second after all was exchanged: kept for %v, want 6m19s", e.Keep)
	}
}

// A node that is sent a restored cancel remembers it for as long as the sender does,
// however old it is.
func TestRestoredCancelTravels(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, exchanged := range []bool{false, true} {
		c := newClock()
		a, _ := newRegistry(t, c)
		b, _ := newRegistry(t, c)
		a.Restore(key, registry.Entry{Record: tombstone(6, start, 90*time.Second), Age: time.Minute}, time.Hour)
		if exchanged {
			a.Exchanged()
			c.Add(time.Minute)
		}
		sent, _, _ := a.Entry(key)
		b.Join(key, onWire(t, key, sent), whole, registry.Origin{Way: registry.ByBatch})
		left := 7 * time.Minute
		if exchanged {
			left -= time.Minute
		}
		c.Add(left)
		if b.Forget(); b.Len() != 1 || b.Digest() == 0 {
			t.Errorf("exchanged %t: forgotten within %v", exchanged, left)
		}
		c.Add(time.Millisecond)
		if b.Forget(); b.Len() != 0 {
			t.Errorf("exchanged %t: remembered for more than %v", exchanged, left)
		}
	}
}

// A restored cancel, and the time for which it is kept, say nothing of the instance's
// next life: its lease ends as if the cancel had not come.
func TestRestoredCancelLeavesTheNextLife(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	const silent = 80 * time.Second // of a lease of 90 s
	cancel := registry.Entry{Record: tombstone(6, start, 90*time.Second), Age: time.Second}
	next := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start+1), 7, eureka.StatusUp), Age: silent}
	restored := func(c *clock) *registry.Registry {
		r, _ := newRegistry(t, c)
		r.Restore(key, cancel, time.Hour)
		return r
	}
	ways := map[string]func(*clock) *registry.Registry{
		"the node that restored it learns of the next life": func(c *clock) *registry.Registry {
			r := restored(c)
			r.Join(key, onWire(t, key, next), whole, registry.Origin{Way: registry.ByBatch})
			return r
		},
		"after it has exchanged all": func(c *clock) *registry.Registry {
			r := restored(c)
			r.Exchanged()
			r.Join(key, onWire(t, key, next), whole, registry.Origin{Way: registry.ByBatch})
			return r
		},
		"its client registers at the node that restored it": func(c *clock) *registry.Registry {
			r := restored(c)
			r.Register(clone(next.Record.Info), registry.Origin{})
			c.Add(silent)
			return r
		},
		"a node that knows the next life is sent the cancel": func(c *clock) *registry.Registry {
			sent, _, _ := restored(c).Entry(key)
			r, _ := newRegistry(t, c)
			r.Join(key, onWire(t, key, next), whole, registry.Origin{Way: registry.ByBatch})
			r.Join(key, onWire(t, key, sent), whole, registry.Origin{Way: registry.ByBatch})
			return r
		},
		"and one that knows nothing is sent both": func(c *clock) *registry.Registry {
			sent, _, _ := restored(c).Entry(key)
			r, _ := newRegistry(t, c)
			r.Join(key, onWire(t, key, sent), whole, registry.Origin{Way: registry.ByBatch})
			r.Join(key, onWire(t, key, next), whole, registry.Origin{Way: registry.ByBatch})
			return r
		},
	}
	for name, made := range ways {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			r := made(c)
			e, _, _ := r.Entry(key)
			if e.Age != silent || e.Keep != 0 {
				t.Errorf("its lease is %v old, and it is kept for %v; want %v, 0", e.Age, e.Keep, silent)
			}
			c.Add(480*time.Second - silent)
			if r.Digest() == 0 {
				t.Error("retired too early")
			}
			c.Add(time.Millisecond)
			if r.Digest() != 0 {
				t.Error("not retired two terms and five minutes after its renewal")
			}
		})
	}
}

// One node keeps readers' sight of an instance beyond its time, another has restored an
// older copy of it, as evicted. The first is reminded by that copy, and both get equal.
func TestRetiredIsRemindedByARestoredCopy(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, _ := newRegistry(t, c)
	b, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	a.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
	older, _, _ := a.Entry(key)
	older.Evicted = true
	a.SetMetadata(key, map[string]string{"k": "v"}, registry.Origin{})
	c.Add(481 * time.Second)
	if a.Digest() != 0 {
		t.Fatal("not retired")
	}
	b.Restore(key, older, 481*time.Second)
	b.Exchanged()
	exchange := func(from, to *registry.Registry) {
		e, evicted, _ := from.Entry(key)
		e.Evicted = evicted
		to.Join(key, onWire(t, key, e), whole, registry.Origin{Way: registry.ByBatch})
	}
	exchange(b, a)
	if a.Digest() == 0 {
		t.Error("the later record is not in the digest, so that the other node can't learn of it")
	}
	exchange(a, b)
	if a.Digest() != b.Digest() {
		t.Error("the digests differ")
	}
	c.Add(480*time.Second + time.Millisecond)
	if a.Digest() != 0 || b.Digest() != 0 || b.Len() != 0 {
		t.Errorf("kept for more than the older copy was: digests %x, %x, %d entries", a.Digest(), b.Digest(), b.Len())
	}
}

// A node that never meets its peers remembers what it restored for as long as the
// longest lease, not until its end.
func TestRestoredWithoutExchange(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	cancel := registry.Entry{Record: tombstone(6, start, 90*time.Second), Override: registry.Override{Version: 6, Status: eureka.StatusUnknown}}
	r.Restore(registry.NewKey("ORDERS", "i-1"), cancel, time.Hour)
	c.Add(registry.DefaultMaxLease)
	if r.Forget(); r.Len() != 1 {
		t.Error("forgotten within a day")
	}
	c.Add(time.Second)
	r.Forget() // its time passes again
	c.Add(2*90*time.Second + 5*time.Minute + time.Second)
	if r.Forget(); r.Len() != 0 {
		t.Error("remembered for more than a day")
	}
}
