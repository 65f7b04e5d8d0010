package registry_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// manyKeys is more than any slice has.
const manyKeys = 6_000

// crowded returns a registry of manyKeys instances in applications of a hundred, whose
// leases last 90 s.
func crowded(t *testing.T) (*registry.Registry, *clock, []registry.Key) {
	t.Helper()
	c := newClock()
	r, _ := newRegistry(t, c)
	keys := make([]registry.Key, manyKeys)
	for i := range keys {
		keys[i] = registry.NewKey(fmt.Sprintf("APP-%03d", i/100), fmt.Sprintf("i-%05d", i))
		r.Register(instance(keys[i].App, keys[i].ID, eureka.StatusUp, start), registry.Origin{})
	}
	return r, c, keys
}

// once returns a function that does the n-th thing when it is called for the n-th time,
// and how often it was called.
func once(things ...func()) (do func(), calls *int) {
	calls = new(int)
	return func() {
		if *calls++; *calls <= len(things) {
			things[*calls-1]()
		}
	}, calls
}

// What clients do between two slices of an eviction counts: the lease that was renewed
// stays, as does the instance that registered again; what was cancelled is not evicted.
func TestEvictionBetweenSlices(t *testing.T) {
	t.Parallel()
	r, c, keys := crowded(t)
	c.Add(90*time.Second + time.Millisecond)
	expired := r.Expired(0)
	if len(expired) != manyKeys {
		t.Fatalf("%d expired, want %d", len(expired), manyKeys)
	}
	renewed, again, cancelled := keys[manyKeys-1], keys[manyKeys-2], keys[manyKeys-3]
	do, calls := once(func() {
		if got, _ := r.Renew(renewed, start, "", registry.Origin{}); got != registry.OK {
			t.Errorf("renew between two slices: outcome %d, want OK", got)
		}
		r.Register(instance(again.App, again.ID, eureka.StatusUp, start+1), registry.Origin{})
		r.Cancel(cancelled, registry.Origin{})
		if _, there := r.Instance(keys[manyKeys-4]); !there {
			t.Error("the last instances are evicted after the first slice already")
		}
		if _, there := r.Instance(keys[0]); there {
			t.Error("the first instance is not evicted after the first slice")
		}
	})
	r.Between(do)
	if got, want := r.EvictExpired(expired), manyKeys-3; got != want {
		t.Errorf("evicted %d, want %d", got, want)
	}
	for key, want := range map[registry.Key]bool{renewed: true, again: true, cancelled: false} {
		if _, there := r.Instance(key); there != want {
			t.Errorf("%v: there = %t, want %t", key, there, want)
		}
	}
	if got := r.List(time.Minute).HashCode; got != "UP_2_" {
		t.Errorf("hash code %s, want UP_2_", got)
	}
	if *calls < 10 {
		t.Errorf("clients came in %d times while %d were evicted, want 10 at least", *calls, manyKeys)
	}
}

// A process that was suspended in the middle of a pass evicts no more.
func TestRestartedBetweenSlices(t *testing.T) {
	t.Parallel()
	r, c, _ := crowded(t)
	c.Add(90*time.Second + time.Millisecond)
	expired := r.Expired(0)
	do, _ := once(func() { c.Add(time.Hour); r.Restarted() })
	r.Between(do)
	if got := r.EvictExpired(expired); got == 0 || got > 1000 {
		t.Errorf("evicted %d, want those of the first slice", got)
	}
}

// A lease that ran out while a pass was under way is left for the next one.
func TestLeaseEndsBetweenSlices(t *testing.T) {
	t.Parallel()
	r, c, keys := crowded(t)
	c.Add(90 * time.Second) // none is over yet
	do, calls := once(func() { c.Add(time.Second) })
	r.Between(do)
	if got := r.EvictExpired(keys); got != 0 || *calls == 0 {
		t.Errorf("evicted %d with %d pauses, want none, and a pause", got, *calls)
	}
	r.Between(nil)
	if got := r.EvictExpired(keys); got != manyKeys {
		t.Errorf("evicted %d afterwards, want %d", got, manyKeys)
	}
}

// What changes between two slices of a sweep stays in the delta, and readers of a slice's
// state get its own generation.
func TestSweepBetweenSlices(t *testing.T) {
	t.Parallel()
	r, c, keys := crowded(t)
	c.Add(registry.DefaultDeltaRetention + time.Millisecond)
	changed, before := keys[manyKeys-1], r.Generation()
	count := func() (n int) {
		list := r.Changes(time.Minute)
		if list.Generation == before {
			t.Errorf("generation %d is that of another state", before)
		}
		before = list.Generation
		for _, p := range list.Parts {
			n += p.Len()
		}
		return n
	}
	left := manyKeys
	r.Between(nil)
	do, calls := once(func() { r.SetMetadata(changed, map[string]string{"a": "b"}, registry.Origin{}) })
	sweeping := true
	r.Between(func() {
		if !sweeping {
			return
		}
		sweeping = false // count has slices too
		do()
		n := count()
		if sweeping = true; n >= left {
			t.Errorf("%d in the delta after a slice, want less than %d", n, left)
		} else {
			left = n
		}
	})
	if got := r.SweepDelta(); got != manyKeys-1 {
		t.Errorf("swept %d, want %d", got, manyKeys-1)
	}
	r.Between(nil)
	if n := count(); n != 1 || *calls < 5 {
		t.Errorf("%d in the delta after %d pauses, want the one that changed, and 5 pauses", n, *calls)
	}
}

// A list is of one moment, also if something changes while its parts are made.
func TestListBetweenSlices(t *testing.T) {
	t.Parallel()
	r, _, keys := crowded(t)
	do, calls := once(
		func() { r.SetStatus(keys[0], eureka.StatusDown, eureka.NoTimestamp, registry.Origin{}) },
		func() { r.Cancel(keys[1], registry.Origin{}) },
	)
	r.Between(do)
	list := r.List(time.Minute)
	var all []*eureka.InstanceInfo
	for _, p := range list.Parts {
		for i := range p.Instances() {
			one := *i
			all = append(all, &one)
		}
	}
	want := "DOWN_1_UP_" + strconv.Itoa(manyKeys-2) + "_"
	if got := recount(all); got != list.HashCode || got != want || *calls < 2 {
		t.Errorf("hash code %s, of the instances %s, want %s; %d pauses, want 2", list.HashCode, got, want, *calls)
	}
}

// A look at all instances in slices sees each that stays once, in order.
func TestEachPresentBetweenSlices(t *testing.T) {
	t.Parallel()
	r, _, keys := crowded(t)
	gone := make(map[string]bool)
	do, calls := once(func() {
		for i := 1000; i < 4000; i++ { // around the place where it goes on
			if i%3 > 0 {
				r.Cancel(keys[i], registry.Origin{})
				gone[keys[i].ID] = true
			}
		}
		for i := range 1000 {
			r.Register(instance("APP-020", fmt.Sprintf("i-%05d-%d", 2000, i), eureka.StatusUp, start), registry.Origin{})
		}
	})
	r.Between(do)
	seen := make(map[string]int)
	var last registry.Key
	r.EachPresent(func(key registry.Key) {
		if seen[key.ID]++; seen[key.ID] > 1 {
			t.Errorf("%v is seen twice", key)
		}
		if key.App < last.App || key.App == last.App && key.ID <= last.ID {
			t.Errorf("%v comes after %v", key, last)
		}
		last = key
	})
	for _, key := range keys {
		if seen[key.ID] == 0 && !gone[key.ID] {
			t.Errorf("%v is missing", key)
		}
	}
	if *calls == 0 {
		t.Error("it made no pause")
	}
}

// A count of the missing leases never exceeds what is expected, whatever happens in between.
func TestLeasesBetweenSlices(t *testing.T) {
	t.Parallel()
	r, c, keys := crowded(t)
	c.Add(2 * time.Minute)
	evicted := 0
	r.Between(func() {
		if r.Between(nil); evicted < 3 {
			evicted++
			r.EvictExpired(keys[evicted*1000 : evicted*1000+1000])
			r.Cancel(keys[0], registry.Origin{})
		}
	})
	got := r.Leases()
	if got.Missing > got.Expected || got.Missing < manyKeys-1 {
		t.Errorf("%+v: want %d missing, and no more than are expected", got, manyKeys)
	}
}

// TestLate compares what is found without a look at all with a look at all, over random
// histories: the leases that are over, and those that are silent.
func TestLate(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	for _, compat := range []registry.LeaseCompat{registry.Exact, registry.Netflix} {
		rnd := rand.New(rand.NewPCG(seed, uint64(compat)))
		c := newClock()
		r, err := registry.New(registry.Options{Now: c.Now, LeaseCompat: compat})
		if err != nil {
			t.Fatal(err)
		}
		started := start
		type lease struct {
			interval, duration int64 // s
			renewed            int64 // ms
			again              bool  // renewed since its registration
		}
		all := make(map[registry.Key]*lease)
		for step := range 4000 {
			key := registry.NewKey("LEASE", "i-"+strconv.Itoa(rnd.IntN(40)))
			switch rnd.IntN(12) {
			case 0, 1, 2:
				l := &lease{interval: pick(rnd, []int64{1, 10, 30}), duration: pick(rnd, []int64{3, 30, 90, 200})}
				info := leased(key.ID, int(l.interval), int(l.duration))
				l.renewed = c.Now().UnixMilli()
				r.Register(info, registry.Origin{})
				all[key] = l
			case 3, 4, 5, 6, 7:
				if got, _ := r.Renew(key, 1, "", registry.Origin{}); (got == registry.OK) != (all[key] != nil) {
					t.Fatalf("step %d: renew of %v: outcome %d", step, key, got)
				}
				if l := all[key]; l != nil {
					l.renewed, l.again = c.Now().UnixMilli(), true
				}
			case 8:
				r.Cancel(key, registry.Origin{})
				delete(all, key)
			case 9:
				if rnd.IntN(20) == 0 {
					r.Restarted()
					started = c.Now().UnixMilli()
				}
			case 10:
				r.EvictExpired([]registry.Key{key})
				if _, there := r.Instance(key); !there {
					delete(all, key)
				}
			default:
				c.Add(time.Duration(pick(rnd, []int64{0, 1, 50, 99, 100, 1000, 20_000, 90_000})) * time.Millisecond)
			}
			if rnd.IntN(3) > 0 {
				continue
			}
			now := c.Now().UnixMilli()
			var over []registry.Key
			silent := 0
			for key, l := range all {
				term := max(l.duration, l.interval+5) * 1000
				lives := term
				if compat == registry.Netflix {
					if lives = l.duration * 1000; l.again {
						lives *= 2
					}
				}
				quiet := now - max(l.renewed, started)
				if quiet > lives {
					over = append(over, key)
				}
				if quiet > lives || term <= 4*l.interval*1000 && quiet > 2*l.interval*1000 {
					silent++
				}
			}
			slices.SortFunc(over, func(a, b registry.Key) int { return cmp.Compare(a.ID, b.ID) })
			if got := r.Expired(0); !slices.Equal(got, over) {
				t.Fatalf("step %d: expired %v, want %v", step, got, over)
			}
			if _, n := r.Overdue(0); n != len(over) {
				t.Fatalf("step %d: %d overdue, want %d", step, n, len(over))
			}
			l := r.Leases()
			if lost := l.Expected - l.Present; l.Missing-lost != silent || l.Present != len(all) {
				t.Fatalf("step %d: %+v, want %d silent of %d", step, l, silent, len(all))
			}
		}
	}
}

// Of several instances with one id the first by application is found, also after one of
// them is gone.
func TestInstanceByIDAmongSeveral(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, newClock())
	for _, app := range []string{"C", "A", "D", "B"} {
		r.Register(instance(app, "i-1", eureka.StatusUp, start), registry.Origin{})
	}
	find := func(want string) {
		t.Helper()
		got, ok := r.InstanceByID("i-1")
		if ok != (want != "") || ok && got.App != want {
			t.Errorf("found %v, want one of %q", got, want)
		}
	}
	find("A")
	r.Cancel(registry.NewKey("B", "i-1"), registry.Origin{})
	find("A")
	r.Cancel(registry.NewKey("A", "i-1"), registry.Origin{})
	find("C")
	r.Register(instance("B", "i-1", eureka.StatusUp, start), registry.Origin{})
	find("B")
	r.Cancel(registry.NewKey("D", "i-1"), registry.Origin{})
	r.Cancel(registry.NewKey("B", "i-1"), registry.Origin{})
	find("C")
	r.Cancel(registry.NewKey("C", "i-1"), registry.Origin{})
	find("")
}

// What readers see although it is retired is found at once, wherever it came from.
func TestOutlivedAfterRestore(t *testing.T) {
	t.Parallel()
	r, c, keys := crowded(t)
	entry, _, _ := r.Entry(keys[0])
	other, _ := newRegistry(t, c)
	if got := other.Restore(keys[0], entry, time.Hour); got != registry.OK {
		t.Fatalf("restore: outcome %d, want OK", got)
	}
	if got := other.Outlived(); !slices.Equal(got, keys[:1]) {
		t.Errorf("outlived %v, want %v", got, keys[:1])
	}
	c.Add(8*time.Minute + time.Millisecond) // two terms of 90 s and five minutes
	if got := r.Outlived(); len(got) != manyKeys {
		t.Errorf("%d outlived, want %d", len(got), manyKeys)
	}
	r.Renew(keys[1], start, "", registry.Origin{})
	r.Cancel(keys[2], registry.Origin{})
	if got := r.Outlived(); len(got) != manyKeys-2 || slices.Contains(got, keys[1]) || slices.Contains(got, keys[2]) {
		t.Errorf("%d outlived, want all but the two that were renewed and cancelled", len(got))
	}
}
