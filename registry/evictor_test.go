package registry_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// leased returns an instance with its own renewal interval and duration, in seconds.
func leased(id string, interval, duration int) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: id, App: "LEASE", IPAddr: "192.0.2.1", Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: interval, DurationInSecs: duration},
		LastDirtyTimestamp: 1,
	}
}

// evicting starts a registry with n instances of 30 s and 90 s, and an evictor
// whose passes the test makes.
func evicting(t *testing.T, n int, opts registry.EvictorOptions, ropts registry.Options) (*registry.Registry, *registry.Evictor) {
	t.Helper()
	r, err := registry.New(ropts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r.Register(leased(fmt.Sprint("i-", i), 30, 90), false)
	}
	v, err := registry.NewEvictor(r, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r, v
}

func renewEach(t *testing.T, r *registry.Registry, ids ...int) {
	t.Helper()
	for _, i := range ids {
		if got, _ := r.Renew(registry.NewKey("LEASE", fmt.Sprint("i-", i)), 1, "", false); got != registry.OK {
			t.Fatalf("renew of i-%d: outcome %d, want OK", i, got)
		}
	}
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestSelfPreservation(t *testing.T) {
	for _, test := range []struct {
		name      string
		instances int
		alive     int // those that go on renewing
		off       bool
		preserve  bool
	}{
		// 20 instances let expect 40 renewals a minute; the threshold is 34, and
		// more than that must come (REFERENCE 5.6).
		{"18 of 20 alive: 36 renewals", 20, 18, false, false},
		{"17 of 20 alive: 34 renewals are not more than 34", 20, 17, false, true},
		{"10 of 20 alive", 20, 10, false, true},
		{"10 of 20 alive, switched off", 20, 10, true, false},
		{"none alive", 20, 0, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, v := evicting(t, test.instances, registry.EvictorOptions{NoSelfPreservation: test.off}, registry.Options{})
				for range 8 { // 4 minutes
					time.Sleep(30 * time.Second)
					renewEach(t, r, upTo(test.alive)...)
				}
				evicted := v.Pass()
				if got := v.SelfPreservation(); got != test.preserve {
					t.Errorf("self-preservation = %t, want %t (%+v)", got, test.preserve, r.Leases())
				}
				if test.preserve && evicted != 0 {
					t.Errorf("evicted %d under self-preservation", evicted)
				}
				if !test.preserve && evicted == 0 {
					t.Error("evicted none")
				}
			})
		})
	}
}

// TestThresholdByOwnIntervals: Eureka expects two renewals a minute of everybody.
func TestThresholdByOwnIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := evicting(t, 0, registry.EvictorOptions{}, registry.Options{})
		r.Register(leased("fast", 5, 15), false)
		r.Register(leased("slow", 120, 360), false)
		r.Register(leased("unset", 0, 0), false)
		if got, want := r.Leases().Expected, 12+0.5+2; got != want {
			t.Errorf("expected renewals = %v a minute, want %v", got, want)
		}
	})
}

func TestSelfPreservationDoesNotErode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := evicting(t, 100, registry.EvictorOptions{}, registry.Options{})
		alive := 90
		minute := func() int {
			for range 2 {
				time.Sleep(30 * time.Second)
				renewEach(t, r, upTo(alive)...)
			}
			return v.Pass()
		}
		evicted := 0
		for range 5 {
			evicted += minute()
		}
		if evicted != 10 {
			t.Fatalf("evicted %d of 10 that crashed", evicted)
		}
		// Another 10 fall silent: 80 of the 100 that were there renew. Eureka
		// would take the 90 as its measure and go on.
		alive = 80
		for range 5 {
			evicted += minute()
		}
		if evicted != 10 || !v.SelfPreservation() {
			t.Errorf("evicted %d in all, self-preservation %t (%+v); want it to hold at 10", evicted, v.SelfPreservation(), r.Leases())
		}
		// A quarter of an hour later the first 10 are history.
		for range 15 {
			evicted += minute()
		}
		if evicted != 20 {
			t.Errorf("evicted %d in all after a quarter of an hour, want 20", evicted)
		}
	})
}

// TestExpectedHoldsEachOnce: an instance that was evicted counts as expected for
// a quarter of an hour from then on, once, whatever has become of it meanwhile.
func TestExpectedHoldsEachOnce(t *testing.T) {
	key := registry.NewKey("LEASE", "i-0")
	evict := func(t *testing.T, r *registry.Registry) {
		t.Helper()
		time.Sleep(90*time.Second + time.Millisecond)
		if n := r.Evict(); n != 1 {
			t.Fatalf("evicted %d, want 1", n)
		}
	}
	register := func(r *registry.Registry) { r.Register(leased("i-0", 30, 90), false) }
	for _, test := range []struct {
		name string
		do   func(*testing.T, *registry.Registry)
		want float64 // renewals a minute; the instance makes 2
	}{
		{"evicted", func(*testing.T, *registry.Registry) {}, 2},
		{"back", func(_ *testing.T, r *registry.Registry) { register(r) }, 2},
		{"evicted again", func(t *testing.T, r *registry.Registry) { register(r); evict(t, r) }, 2},
		{"evicted a third time", func(t *testing.T, r *registry.Registry) { register(r); evict(t, r); register(r); evict(t, r) }, 2},
		{"cancelled", func(_ *testing.T, r *registry.Registry) { r.Cancel(key, false) }, 0},
		{"forgotten", func(_ *testing.T, r *registry.Registry) { time.Sleep(8 * time.Minute); r.Forget() }, 2},
		{"forgotten and back", func(_ *testing.T, r *registry.Registry) { time.Sleep(8 * time.Minute); r.Forget(); register(r) }, 2},
		{"forgotten, back and cancelled", func(_ *testing.T, r *registry.Registry) {
			time.Sleep(8 * time.Minute)
			r.Forget()
			register(r)
			r.Cancel(key, false)
		}, 0},
		{"just under a quarter of an hour", func(*testing.T, *registry.Registry) { time.Sleep(15*time.Minute - time.Millisecond) }, 2},
		{"a quarter of an hour", func(*testing.T, *registry.Registry) { time.Sleep(15 * time.Minute) }, 0},
		{"a quarter of an hour from the first of two", func(t *testing.T, r *registry.Registry) {
			register(r)
			evict(t, r)
			time.Sleep(15*time.Minute - 90*time.Second)
		}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := evicting(t, 1, registry.EvictorOptions{}, registry.Options{})
				evict(t, r)
				test.do(t, r)
				if got := r.Leases().Expected; got != test.want {
					t.Errorf("expected renewals = %v a minute, want %v", got, test.want)
				}
			})
		})
	}
}

func TestPassLimitAndOrder(t *testing.T) {
	for _, test := range []struct{ size, limit int }{
		// size - int(size × 0.85), REFERENCE 5.5.
		{1, 1},
		{3, 1},
		{20, 3},
		{100, 15},
	} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shuffled := false
				r, v := evicting(t, test.size, registry.EvictorOptions{
					NoSelfPreservation: true,
					Shuffle: func(n int, swap func(i, j int)) { // backwards
						shuffled = true
						for i := range n / 2 {
							swap(i, n-1-i)
						}
					},
				}, registry.Options{})
				time.Sleep(90*time.Second + time.Millisecond)
				if got := v.Pass(); got != test.limit {
					t.Errorf("first pass evicted %d, want %d", got, test.limit)
				}
				if test.size > test.limit && !shuffled {
					t.Error("the candidates were not shuffled")
				}
				a, _ := r.Application("LEASE")
				if len(a.Instances) != test.size-test.limit {
					t.Errorf("%d are left, want %d", len(a.Instances), test.size-test.limit)
				}
			})
		})
	}
}

// TestCompensation: what a pass comes late is not held against the leases, since
// the clients could not renew while the process stood still (REFERENCE 5.5).
func TestCompensation(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name       string
		registered time.Duration // after the first pass; the lease runs for 40 s
		second     time.Duration // the second pass, due after 60 s
		want       int
	}{
		{"on time, expires now", 20 * time.Second, 60 * time.Second, 0},
		{"on time, expired 1 ms ago", 20*time.Second - ms, 60 * time.Second, 1},
		{"20 s late, expired 20 s ago", 20 * time.Second, 80 * time.Second, 0},
		{"20 s late, expired 20 s and 1 ms ago", 20*time.Second - ms, 80 * time.Second, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, v := evicting(t, 0, registry.EvictorOptions{NoSelfPreservation: true}, registry.Options{})
				v.Pass()
				time.Sleep(test.registered)
				r.Register(leased("i-0", 5, 40), false)
				time.Sleep(test.second - test.registered)
				if got := v.Pass(); got != test.want {
					t.Errorf("evicted %d, want %d", got, test.want)
				}
			})
		})
	}
}

func TestLeaseCompat(t *testing.T) {
	for _, test := range []struct {
		name    string
		compat  registry.LeaseCompat
		renewed bool
		lives   time.Duration
	}{
		{"exact, registered", registry.Exact, false, 90 * time.Second},
		{"exact, renewed", registry.Exact, true, 90 * time.Second},
		{"netflix, registered", registry.Netflix, false, 90 * time.Second},
		{"netflix, renewed", registry.Netflix, true, 180 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := evicting(t, 1, registry.EvictorOptions{}, registry.Options{LeaseCompat: test.compat})
				if test.renewed {
					renewEach(t, r, 0)
				}
				time.Sleep(test.lives)
				if got := r.Evict(); got != 0 {
					t.Errorf("evicted after %v, want not yet", test.lives)
				}
				time.Sleep(time.Millisecond)
				if got := r.Evict(); got != 1 {
					t.Errorf("not evicted after %v and 1 ms", test.lives)
				}
			})
		})
	}
}

// TestExpiredInstanceIsNotFound: a single instance whose lease is up is 404 while
// evictions are allowed, though lists have it until the next pass (REFERENCE 1.3).
func TestExpiredInstanceIsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := evicting(t, 1, registry.EvictorOptions{NoSelfPreservation: true}, registry.Options{})
		key := registry.NewKey("LEASE", "i-0")
		v.Pass()
		time.Sleep(90 * time.Second)
		if _, ok := r.Instance(key); !ok {
			t.Error("not found while its lease runs")
		}
		time.Sleep(time.Millisecond)
		if _, ok := r.Instance(key); ok {
			t.Error("found by key after its lease")
		}
		if _, ok := r.InstanceByID("i-0"); ok {
			t.Error("found by id after its lease")
		}
		if a, ok := r.Application("LEASE"); !ok || len(a.Instances) != 1 {
			t.Error("not listed before the next pass")
		}
		renewEach(t, r, 0)
		if _, ok := r.Instance(key); !ok {
			t.Error("not found after its renewal")
		}
	})
}

func TestMeterIsSliding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := evicting(t, 1, registry.EvictorOptions{}, registry.Options{})
		for range 120 {
			time.Sleep(time.Second)
			renewEach(t, r, 0)
		}
		if got := r.Leases().Renewals; got != 60 {
			t.Errorf("renewals = %v a minute at one a second, want 60", got)
		}
		time.Sleep(30 * time.Second)
		if got := r.Leases().Renewals; got != 30 {
			t.Errorf("renewals = %v after half a minute of silence, want 30", got)
		}
		time.Sleep(30 * time.Second)
		if got := r.Leases().Renewals; got != 0 {
			t.Errorf("renewals = %v after a minute of silence, want 0", got)
		}
	})
}
