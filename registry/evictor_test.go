package registry_test

import (
	"context"
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
		r.Register(leased(fmt.Sprint("i-", i), 30, 90), registry.Origin{})
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
		if got, _ := r.Renew(registry.NewKey("LEASE", fmt.Sprint("i-", i)), 1, "", registry.Origin{}); got != registry.OK {
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

// peersOf is an Asker that knows nothing, and counts.
type peersOf struct{ asked int }

func (*peersOf) EvictOutlived(context.Context)             {}
func (p *peersOf) AskAges(context.Context, []registry.Key) { p.asked++ }

// pass makes one pass, with nobody to ask.
func pass(t *testing.T, v *registry.Evictor) int {
	t.Helper()
	return v.Run(t.Context(), new(peersOf), func() bool { return true })
}

// A pass is made only by a node that may, and may still after it has asked.
func TestRunAsksWhetherItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := evicting(t, 1, registry.EvictorOptions{}, registry.Options{})
		time.Sleep(2 * time.Minute)
		for _, test := range []struct {
			answers        []bool
			asked, evicted int
		}{{[]bool{false}, 0, 0}, {[]bool{true, false}, 1, 0}, {[]bool{true, true}, 1, 1}} {
			peers, calls := new(peersOf), 0
			got := v.Run(t.Context(), peers, func() bool { calls++; return test.answers[calls-1] })
			if got != test.evicted || peers.asked != test.asked || calls != len(test.answers) {
				t.Errorf("may %v: evicted %d, asked %d times, may %d times; want %d, %d, %d",
					test.answers, got, peers.asked, calls, test.evicted, test.asked, len(test.answers))
			}
		}
		if got := r.Len(); got != 1 {
			t.Errorf("%d entries, want 1", got)
		}
	})
}

// Expected values are counted by hand: nothing is evicted while at least 10 leases
// are expected, at least Min of them are missing, and no more than int(0.85 × expected)
// are left.
func TestSelfPreservation(t *testing.T) {
	for _, test := range []struct {
		name      string
		instances int
		alive     int // those that go on renewing
		opts      registry.EvictorOptions
		preserve  bool
	}{
		{"18 of 20 alive: more than 17", 20, 18, registry.EvictorOptions{}, false},
		{"17 of 20 alive: not more than 17", 20, 17, registry.EvictorOptions{}, true},
		{"10 of 20 alive", 20, 10, registry.EvictorOptions{}, true},
		{"10 of 20 alive, switched off", 20, 10, registry.EvictorOptions{SelfPreservation: registry.SelfPreservation{NoSelfPreservation: true}}, false},
		{"none of 20 alive", 20, 0, registry.EvictorOptions{}, true},
		{"1 of 2 alive", 2, 1, registry.EvictorOptions{}, false},
		{"none of 6 alive", 6, 0, registry.EvictorOptions{}, false},
		{"none of 9 alive", 9, 0, registry.EvictorOptions{}, false},
		{"none of 10 alive", 10, 0, registry.EvictorOptions{}, true},
		{"8 of 10 alive: not more than 8, but two are missing", 10, 8, registry.EvictorOptions{}, false},
		{"7 of 10 alive", 10, 7, registry.EvictorOptions{}, true},
		{"8 of 10 alive, two are enough", 10, 8, registry.EvictorOptions{SelfPreservation: registry.SelfPreservation{Min: 2}}, true},
		{"7 of 10 alive, four are needed", 10, 7, registry.EvictorOptions{SelfPreservation: registry.SelfPreservation{Min: 4}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, v := evicting(t, test.instances, test.opts, registry.Options{})
				for range 8 { // 4 minutes
					time.Sleep(30 * time.Second)
					renewEach(t, r, upTo(test.alive)...)
				}
				evicted := pass(t, v)
				if got := v.SelfPreservation(); got != test.preserve {
					t.Errorf("self-preservation = %t, want %t (%+v)", got, test.preserve, r.Leases())
				}
				if (evicted == 0) != test.preserve {
					t.Errorf("evicted %d, self-preservation wanted: %t", evicted, test.preserve)
				}
			})
		})
	}
}

// One dead instance of a handful is gone at its lease's end and one pass, however
// many there are; the default pass comes twice a minute.
func TestOneDeadOfFew(t *testing.T) {
	for n := 1; n <= 12; n++ {
		synctest.Test(t, func(t *testing.T) {
			r, v := evicting(t, n, registry.EvictorOptions{}, registry.Options{})
			for second := range 125 { // 90 for the lease, 30 for the pass, 5 to be
				time.Sleep(time.Second)
				renewEach(t, r, upTo(n-1)...)
				if second%30 == 29 {
					pass(t, v)
				}
			}
			a, _ := r.Application("LEASE")
			if len(a.Instances) != n-1 {
				t.Errorf("of %d instances, one dead: %d are listed, want %d", n, len(a.Instances), n-1)
			}
		})
	}
}

// An outage shows before the first lease expires, so that no pass takes some of
// those for dead that only can't be heard.
func TestOutageIsSeenBeforeLeasesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := evicting(t, 30, registry.EvictorOptions{}, registry.Options{})
		for range 3 { // one renewal a second, each instance twice a minute
			for i := range 30 {
				time.Sleep(time.Second)
				renewEach(t, r, i)
			}
		}
		time.Sleep(52 * time.Second) // from now on nobody is heard; the first lease ends after 61 s
		for range 20 {
			time.Sleep(10 * time.Second)
			if n := pass(t, v); n > 0 {
				t.Fatalf("evicted %d: %+v", n, r.Leases())
			}
		}
		if !v.SelfPreservation() {
			t.Error("no self-preservation")
		}
	})
}

// What an instance says of its own interval gives it no weight, and hammering none
// either: neither holds others back from eviction, nor gets them evicted.
func TestSelfPreservationByHearsay(t *testing.T) {
	for _, test := range []struct {
		name             string
		duration, dead   int
		hammer, preserve bool
	}{
		{name: "fast ones that never renew, with endless leases", duration: 1 << 30, dead: 2},
		{name: "fast ones that renew all the time", duration: 90, dead: 50, hammer: true, preserve: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, v := evicting(t, 100, registry.EvictorOptions{}, registry.Options{})
				for i := range 10 {
					r.Register(leased(fmt.Sprint("fast-", i), 1, test.duration), registry.Origin{})
				}
				for range 120 {
					time.Sleep(time.Second)
					renewEach(t, r, upTo(100-test.dead)...)
					for i := range 10 {
						for range 20 {
							if test.hammer {
								r.Renew(registry.NewKey("LEASE", fmt.Sprint("fast-", i)), 1, "", registry.Origin{})
							}
						}
					}
				}
				if n := pass(t, v); v.SelfPreservation() != test.preserve || (n == 0) != test.preserve {
					t.Errorf("evicted %d, self-preservation %t, want %t (%+v)", n, v.SelfPreservation(), test.preserve, r.Leases())
				}
			})
		})
	}
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
			return pass(t, v)
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
	register := func(r *registry.Registry) { r.Register(leased("i-0", 30, 90), registry.Origin{}) }
	for _, test := range []struct {
		name string
		do   func(*testing.T, *registry.Registry)
		want int
	}{
		{"evicted", func(*testing.T, *registry.Registry) {}, 1},
		{"back", func(_ *testing.T, r *registry.Registry) { register(r) }, 1},
		{"evicted again", func(t *testing.T, r *registry.Registry) { register(r); evict(t, r) }, 1},
		{"evicted a third time", func(t *testing.T, r *registry.Registry) { register(r); evict(t, r); register(r); evict(t, r) }, 1},
		{"cancelled", func(_ *testing.T, r *registry.Registry) { r.Cancel(key, registry.Origin{}) }, 0},
		{"forgotten", func(_ *testing.T, r *registry.Registry) { time.Sleep(8 * time.Minute); r.Forget() }, 1},
		{"forgotten and back", func(_ *testing.T, r *registry.Registry) { time.Sleep(8 * time.Minute); r.Forget(); register(r) }, 1},
		{"forgotten, back and cancelled", func(_ *testing.T, r *registry.Registry) {
			time.Sleep(8 * time.Minute)
			r.Forget()
			register(r)
			r.Cancel(key, registry.Origin{})
		}, 0},
		{"just under a quarter of an hour", func(*testing.T, *registry.Registry) { time.Sleep(15*time.Minute - time.Millisecond) }, 1},
		{"a quarter of an hour", func(*testing.T, *registry.Registry) { time.Sleep(15 * time.Minute) }, 0},
		{"a quarter of an hour from the first of two", func(t *testing.T, r *registry.Registry) {
			register(r)
			evict(t, r)
			time.Sleep(15*time.Minute - 90*time.Second)
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := evicting(t, 1, registry.EvictorOptions{}, registry.Options{})
				evict(t, r)
				test.do(t, r)
				if got := r.Leases().Expected; got != test.want {
					t.Errorf("expected leases = %d, want %d", got, test.want)
				}
			})
		})
	}
}

// What was evicted is remembered for as many instances as there is room for.
func TestExpectedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := evicting(t, 0, registry.EvictorOptions{}, registry.Options{MaxInstances: 3})
		for round := range 2 {
			for i := range 3 {
				r.Register(leased(fmt.Sprint("i-", round, "-", i), 1, 1), registry.Origin{})
			}
			time.Sleep(320 * time.Second) // two terms of 6 s and five minutes
			if n := r.Evict(); n != 3 || r.Len() != 0 {
				t.Fatalf("evicted %d, %d entries are left, want 3 and 0", n, r.Len())
			}
		}
		if got := r.Leases().Expected; got != 3 {
			t.Errorf("%d leases are expected, want 3", got)
		}
	})
}

func TestPassLimitAndOrder(t *testing.T) {
	for _, test := range []struct{ size, limit int }{
		// size - int(size × 0.85).
		{1, 1},
		{3, 1},
		{20, 3},
		{100, 15},
	} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shuffled := false
				r, v := evicting(t, test.size, registry.EvictorOptions{
					SelfPreservation: registry.SelfPreservation{NoSelfPreservation: true},
					Shuffle: func(n int, swap func(i, j int)) { // backwards
						shuffled = true
						for i := range n / 2 {
							swap(i, n-1-i)
						}
					},
				}, registry.Options{})
				time.Sleep(90*time.Second + time.Millisecond)
				if got := pass(t, v); got != test.limit {
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
// the clients could not renew while the process was suspended.
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
				r, v := evicting(t, 0, registry.EvictorOptions{SelfPreservation: registry.SelfPreservation{NoSelfPreservation: true}, Interval: time.Minute}, registry.Options{})
				pass(t, v)
				time.Sleep(test.registered)
				r.Register(leased("i-0", 5, 40), registry.Origin{})
				time.Sleep(test.second - test.registered)
				if got := pass(t, v); got != test.want {
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

// With netflix a peer's heartbeat doubles a lease too. The age of the registration
// itself, which comes by several ways and each time looks a little younger or
// older, does not.
func TestNetflixLeaseOfPeers(t *testing.T) {
	for _, test := range []struct {
		name    string
		at, age time.Duration // of the heartbeat, after the join
		lives   time.Duration // from the join on
	}{
		{"the registration itself", time.Second, 990 * time.Millisecond, 90*time.Second + 10*time.Millisecond},
		{"half an interval later", 15 * time.Second, 0, 195 * time.Second},
		{"late", time.Minute, 30 * time.Second, 210 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := evicting(t, 0, registry.EvictorOptions{}, registry.Options{LeaseCompat: registry.Netflix})
				e := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start), 5, eureka.StatusUp)}
				key := registry.NewKey("ORDERS", "i-1")
				r.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
				time.Sleep(test.at)
				e.Age = test.age
				r.Join(key, joining{e, 0}.sent(), 0, registry.Origin{Way: registry.ByBatch})
				time.Sleep(test.lives - test.at)
				if n := len(r.Expired(0)); n != 0 {
					t.Errorf("expired after %v", test.lives)
				}
				time.Sleep(time.Millisecond)
				if n := len(r.Expired(0)); n != 1 {
					t.Errorf("not expired after %v and 1 ms", test.lives)
				}
			})
		})
	}
}

// TestExpiredInstanceIsNotFound: a single instance whose lease is up is 404 while
// evictions are allowed, though lists have it until the next pass.
func TestExpiredInstanceIsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := evicting(t, 1, registry.EvictorOptions{SelfPreservation: registry.SelfPreservation{NoSelfPreservation: true}}, registry.Options{})
		key := registry.NewKey("LEASE", "i-0")
		pass(t, v)
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

// New rules count from the next pass on, and wrong ones change nothing.
func TestSetRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := evicting(t, 20, registry.EvictorOptions{}, registry.Options{})
		time.Sleep(4 * time.Minute)
		if pass(t, v); !v.SelfPreservation() {
			t.Fatal("20 of 20 are missing, and no self-preservation")
		}
		for _, wrong := range []registry.SelfPreservation{{Threshold: 1.1}, {Threshold: -1}, {Min: -1}} {
			if err := v.SetRules(wrong); err == nil {
				t.Errorf("%+v is taken", wrong)
			}
		}
		if got := v.Rules(); got.NoSelfPreservation || got.Threshold != registry.DefaultRenewalThreshold {
			t.Errorf("rules %+v, want the first ones", got)
		}
		if err := v.SetRules(registry.SelfPreservation{NoSelfPreservation: true, Threshold: 0.5}); err != nil {
			t.Fatal(err)
		}
		if !v.SelfPreservation() {
			t.Error("self-preservation ended without a pass")
		}
		if evicted := pass(t, v); evicted != 10 || v.SelfPreservation() {
			t.Errorf("evicted %d, self-preservation %t; want half of 20, and none", evicted, v.SelfPreservation())
		}
	})
}
