package registry_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// follower is an Eureka client's copy of the list: fetched once, then kept up
// with deltas.
type follower struct {
	apps map[registry.Key]*eureka.InstanceInfo
}

func (f *follower) fetch(as eureka.Applications) {
	f.apps = map[registry.Key]*eureka.InstanceInfo{}
	for _, a := range as.Applications {
		for _, i := range a.Instances {
			f.apps[registry.NewKey(a.Name, i.ID())] = i
		}
	}
}

func (f *follower) apply(delta eureka.Applications) error {
	seen := map[registry.Key]bool{}
	for _, a := range delta.Applications {
		for _, i := range a.Instances {
			key := registry.NewKey(a.Name, i.ID())
			if seen[key] {
				return fmt.Errorf("%s is in it twice", key)
			}
			seen[key] = true
			switch i.ActionType {
			case eureka.Added, eureka.Modified:
				f.apps[key] = i
			case eureka.Deleted:
				delete(f.apps, key)
			default:
				return fmt.Errorf("%s with action type %q", key, i.ActionType)
			}
		}
	}
	return nil
}

func (f *follower) instances() []*eureka.InstanceInfo {
	keys := slices.SortedFunc(maps.Keys(f.apps), func(a, b registry.Key) int {
		return strings.Compare(a.App+"\x00"+a.ID, b.App+"\x00"+b.ID)
	})
	var all []*eureka.InstanceInfo
	for _, k := range keys {
		all = append(all, f.apps[k])
	}
	return all
}

// A client that only ever applies deltas has the server's list, with its hash
// code, after each of 10,000 changes: not one full fetch.
func TestDeltaFollower(t *testing.T) {
	t.Parallel()
	cr := newCrowd(t, randomSeed(t))
	for range 30 {
		cr.step()
	}
	var f follower
	f.fetch(cr.r.Applications())
	version := 0
	for n := range 10_000 {
		what := cr.step()
		if cr.rnd.IntN(40) == 0 {
			cr.c.Add(time.Duration(cr.rnd.IntN(30_000)) * time.Millisecond)
			cr.r.SweepDelta()
		}
		if cr.rnd.IntN(100) == 0 {
			what += ", evict"
			cr.r.Evict()
		}
		delta := cr.r.Delta()
		if v, err := strconv.Atoi(delta.Version); err != nil || n > 0 && v != version+1 {
			t.Fatalf("change %d: delta has version %q after %d", n, delta.Version, version)
		} else {
			version = v
		}
		if err := f.apply(delta); err != nil {
			t.Fatalf("change %d, %s: delta: %v", n, what, err)
		}
		have, full := f.instances(), cr.r.Applications()
		if got := recount(have); got != delta.HashCode || got != full.HashCode {
			t.Fatalf("change %d, %s: client has %q, delta says %q, list %q: a full fetch", n, what, got, delta.HashCode, full.HashCode)
		}
		if !sameInstances(have, instances(full), visible) {
			t.Fatalf("change %d, %s: client's list differs at an equal hash code", n, what)
		}
	}
}

// A client that fetches every 30 s, and at times misses some fetches, keeps up
// as long as no fetch is further from the last than the retention.
func TestDeltaFollowerWithinRetention(t *testing.T) {
	t.Parallel()
	cr := newCrowd(t, randomSeed(t))
	var f follower
	f.fetch(cr.r.Applications())
	for n := range 300 * *effortFlag {
		for passed, gap := 0, cr.rnd.IntN(179); passed < gap; passed++ {
			cr.c.Add(time.Second)
			if cr.rnd.IntN(3) == 0 {
				cr.step()
			}
			switch {
			case passed%30 == 29:
				cr.r.SweepDelta()
			case passed%60 == 1:
				cr.r.Evict()
			}
		}
		if err := f.apply(cr.r.Delta()); err != nil {
			t.Fatal(err)
		}
		if !sameInstances(f.instances(), instances(cr.r.Applications()), visible) {
			t.Fatalf("fetch %d: the client's list differs", n)
		}
	}
}

func TestDeltaRetention(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		retention time.Duration
		after     time.Duration
		in        bool
	}{
		{"default, 179,999 ms", 0, 179_999 * time.Millisecond, true},
		{"default, 180,000 ms", 0, 180_000 * time.Millisecond, true},
		{"default, past 180 s", 0, 180_001 * time.Millisecond, false},
		{"1 s, 999 ms", time.Second, 999 * time.Millisecond, true},
		{"1 s, past it", time.Second, 1001 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, err := registry.New(registry.Options{Now: c.Now, DeltaRetention: tt.retention})
			if err != nil {
				t.Fatal(err)
			}
			key := registry.NewKey("ORDERS", "i-1")
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			c.Add(tt.after)
			r.Renew(key, start, "", registry.Origin{}) // Never enters the delta.
			if got, want := r.SweepDelta(), map[bool]int{false: 1}[tt.in]; got != want {
				t.Errorf("swept %d, want %d", got, want)
			}
			if got := len(instances(r.Delta())); got != map[bool]int{true: 1}[tt.in] {
				t.Errorf("%d instances in the delta, want it in: %t", got, tt.in)
			}
			if got := len(instances(r.Applications())); got != 1 {
				t.Errorf("%d instances in the list, want 1", got)
			}
		})
	}
}

// Each instance is in the delta once, in its present state, as long as its
// last change is not older than the retention.
func TestDeltaEntries(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	steps := []struct {
		name   string
		do     func()
		action eureka.ActionType
		status eureka.Status
	}{
		{"register", func() { r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{}) }, eureka.Added, eureka.StatusUp},
		{"statusUpdate", func() { r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{}) }, eureka.Modified, eureka.StatusDown},
		{"deleteStatusOverride", func() { r.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{}) }, eureka.Modified, eureka.StatusUp},
		{"metadata", func() { r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{}) }, eureka.Added, eureka.StatusUp},
		{"register again", func() { r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{}) }, eureka.Added, eureka.StatusUp},
		{"register, refused as older", func() { r.Register(instance("ORDERS", "i-1", eureka.StatusDown, start-1), registry.Origin{}) }, eureka.Added, eureka.StatusUp},
		{"cancel", func() { r.Cancel(key, registry.Origin{}) }, eureka.Deleted, eureka.StatusUp},
		{"register after the cancel", func() { r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{}) }, eureka.Added, eureka.StatusUp},
		{"evict", func() { c.Add(91 * time.Second); r.Evict() }, eureka.Deleted, eureka.StatusUp},
	}
	for _, s := range steps {
		c.Add(170 * time.Second) // The one before is still in, and must not show twice.
		r.Renew(key, start, "", registry.Origin{})
		s.do()
		delta := instances(r.Delta())
		if len(delta) != 1 {
			t.Fatalf("%s: %d instances in the delta, want 1", s.name, len(delta))
		}
		i := delta[0]
		if i.ActionType != s.action || i.LastUpdatedTimestamp != c.Now().UnixMilli() {
			t.Errorf("%s: %s at %s, want %s now", s.name, i.ActionType, ms(i.LastUpdatedTimestamp), s.action)
		}
		if i.Status != s.status || i.ID() != "i-1" || i.App != "ORDERS" || i.HostName == "" {
			t.Errorf("%s: %+v, want status %s and the client's data", s.name, i, s.status)
		}
		if s.action == eureka.Deleted && i.LeaseInfo.EvictionTimestamp != c.Now().UnixMilli() {
			t.Errorf("%s: evictionTimestamp %s, want now", s.name, ms(i.LeaseInfo.EvictionTimestamp))
		}
		r.SweepDelta()
		if got := len(instances(r.Delta())); got != 1 {
			t.Errorf("%s: after the sweep %d instances, want 1", s.name, got)
		}
	}
	c.Add(180_001 * time.Millisecond)
	if r.SweepDelta(); len(instances(r.Delta())) != 0 {
		t.Error("the last change is still in the delta past the retention")
	}
}

// An eviction stays in the delta for the retention, also of an instance that is
// forgotten at once or soon, because its lease expired long ago.
func TestDeltaKeepsWhatIsForgotten(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{100 * time.Second, 400 * time.Second, 479 * time.Second, 481 * time.Second, time.Hour} {
		t.Run(late.String(), func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			c.Add(late)
			r.SweepDelta()
			if n := r.Evict(); n != 1 {
				t.Fatalf("evicted %d, want 1", n)
			}
			for passed := range 180 {
				delta := instances(r.Delta())
				if len(delta) != 1 || delta[0].ActionType != eureka.Deleted || delta[0].ID() != "i-1" {
					t.Fatalf("%d s after the eviction: %d instances in the delta, want the DELETED one", passed, len(delta))
				}
				c.Add(time.Second)
				r.SweepDelta()
				r.Evict()
			}
			c.Add(time.Second)
			if r.SweepDelta(); len(instances(r.Delta())) != 0 {
				t.Error("still in the delta past the retention")
			}
		})
	}
}
