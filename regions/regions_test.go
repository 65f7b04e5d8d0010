package regions_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const all = ^regions.Selection(0)

// TestFetches begins with a whole list, and goes on with deltas.
func TestFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east := newRemote(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e1", "USERS/e2")
		s, local := run(t, world{"east": east}, regions.Options{}, "east"), newRegistry(t)
		put(local, eureka.StatusDown, "ORDERS/l1")
		digest := local.Digest()
		check := func(asked, want string) {
			t.Helper()
			if got := east.asked(); got != asked {
				t.Errorf("asked for %q, want %q", got, asked)
			}
			if got := shown(s.Applications(all, local)); got != want {
				t.Errorf("shown %q, want %q", got, want)
			}
		}
		check("apps/", "ORDERS/e1=UP ORDERS/l1=DOWN USERS/e2=UP DOWN_1_UP_2_")
		put(east.reg, eureka.StatusStarting, "ORDERS/e3")
		east.reg.Cancel(registry.NewKey("USERS", "e2"), registry.Origin{})
		pass(29 * time.Second)
		check("", "ORDERS/e1=UP ORDERS/l1=DOWN USERS/e2=UP DOWN_1_UP_2_")
		pass(2 * time.Second)
		check("apps/delta", "ORDERS/e1=UP ORDERS/e3=STARTING ORDERS/l1=DOWN DOWN_1_STARTING_1_UP_1_")
		east.reg.Cancel(registry.NewKey("ORDERS", "e1"), registry.Origin{})
		east.reg.Cancel(registry.NewKey("ORDERS", "e3"), registry.Origin{})
		pass(30 * time.Second)
		check("apps/delta", "ORDERS/l1=DOWN DOWN_1_")
		put(east.reg, eureka.StatusUp, "ORDERS/e4")
		pass(30 * time.Second)
		check("apps/delta", "ORDERS/e4=UP ORDERS/l1=DOWN DOWN_1_UP_1_")
		if !east.logins["me:secret"] || len(east.logins) != 1 {
			t.Errorf("logins: %v", east.logins)
		}
		if local.Len() != 1 || local.Digest() != digest || local.Leases().Expected != 1 {
			t.Error("the registry knows of other regions")
		}
	})
}

// TestMismatch fetches all when a delta does not lead to the hash code that it has.
func TestMismatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east := newRemote(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e1")
		s, local := run(t, world{"east": east}, regions.Options{}, "east"), newRegistry(t)
		east.asked()
		put(east.reg, eureka.StatusUp, "ORDERS/e2")
		east.set(func(r *remote) {
			r.change = func(path string, a *eureka.Applications) {
				if path == "apps/delta" {
					a.Applications = nil // the change was missed
				}
			}
		})
		pass(30 * time.Second)
		if got := east.asked(); got != "apps/delta apps/" {
			t.Errorf("asked for %q", got)
		}
		if got := shown(s.Applications(all, local)); got != "ORDERS/e1=UP ORDERS/e2=UP UP_2_" {
			t.Errorf("shown %q", got)
		}
		// A whole list that fails leaves what was there, not what the delta made of it.
		east.set(func(r *remote) {
			r.change = func(path string, a *eureka.Applications) {
				if path == "apps/delta" {
					a.HashCode = "UP_77_"
				}
			}
			r.status = func(path string) int {
				if path == "apps/" {
					return 500
				}
				return 0
			}
		})
		put(east.reg, eureka.StatusUp, "ORDERS/e3")
		pass(30 * time.Second)
		if got := shown(s.Applications(all, local)); got != "ORDERS/e1=UP ORDERS/e2=UP UP_2_" {
			t.Errorf("after a failure: shown %q", got)
		}
		for outcome, want := range map[string]int{"full": 2, "mismatch": 2, "delta": 0, "refused": 0, "failed": 1} {
			if got := s.fetches(t, "east", outcome); got != want {
				t.Errorf("%s: %d requests, want %d", outcome, got, want)
			}
		}
	})
}

// TestNoDeltas fetches all where a server has switched deltas off.
func TestNoDeltas(t *testing.T) {
	for _, code := range []int{403, 404} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				east := newRemote(t)
				east.status = func(path string) int {
					if path == "apps/delta" {
						return code
					}
					return 0
				}
				s, local := run(t, world{"east": east}, regions.Options{}, "east"), newRegistry(t)
				put(east.reg, eureka.StatusUp, "ORDERS/e1")
				pass(30 * time.Second)
				if got := shown(s.Applications(all, local)); got != "ORDERS/e1=UP UP_1_" {
					t.Errorf("shown %q", got)
				}
				if got := s.fetches(t, "east", "refused"); got != 1 {
					t.Errorf("%d refused, want 1", got)
				}
			})
		})
	}
}

// TestOutage keeps the last data while a region is away.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east := newRemote(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e1")
		s, local := run(t, world{"east": east}, regions.Options{}, "east"), newRegistry(t)
		if is := s.Status()[0]; !is.Loaded || is.Trouble != "" || is.Instances != 1 || is.URL != "http://east/eureka/" {
			t.Errorf("status: %+v", is)
		}
		east.set(func(r *remote) { r.down = true })
		pass(time.Hour)
		is := s.Status()[0]
		if !is.Loaded || is.Age < 59*time.Minute || !strings.Contains(is.Trouble, "refused") {
			t.Errorf("after an hour: %+v", is)
		}
		if got := shown(s.Applications(all, local)); got != "ORDERS/e1=UP UP_1_" {
			t.Errorf("after an hour: shown %q", got)
		}
		if n := strings.Count(s.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1", n)
		}
		put(east.reg, eureka.StatusUp, "ORDERS/e2")
		east.set(func(r *remote) { r.down = false })
		pass(30 * time.Second)
		if got := shown(s.Applications(all, local)); got != "ORDERS/e1=UP ORDERS/e2=UP UP_2_" {
			t.Errorf("back again: shown %q", got)
		}
		if is := s.Status()[0]; is.Trouble != "" || is.Age > 30*time.Second {
			t.Errorf("back again: %+v", is)
		}
		if strings.Contains(s.log.String()+is.Trouble, "secret") {
			t.Error("the password is shown")
		}
		const want = `
			# HELP registryd_regions_instances Instances of the region that readers may see.
			# TYPE registryd_regions_instances gauge
			registryd_regions_instances{region="east"} 2
		`
		if err := testutil.GatherAndCompare(s.metrics, strings.NewReader(want), "registryd_regions_instances"); err != nil {
			t.Error(err)
		}
	})
}

// TestFirstFetch tries a region that was never fetched after 1, 2, 4, 8 and 16 s, then
// at each interval, and refuses readers that name it meanwhile.
func TestFirstFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newRemote(t), newRemote(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e1")
		west.status = func(string) int { return 403 }
		s := run(t, world{"east": east, "west": west}, regions.Options{}, "east", "west")
		select {
		case <-s.Tried():
		default:
			t.Error("both were tried, and Tried is open")
		}
		for _, tt := range []struct {
			names string
			sel   regions.Selection
			ok    bool
		}{
			{"", 3, true},
			{",", 3, true},
			{"east", 1, true},
			{"EAST", 1, true},
			{"nowhere", 0, true},
			{"nowhere,east", 1, true},
			{"west", 2, false},
			{"east,west", 3, false},
			{"west,nowhere", 2, false},
		} {
			if sel, ok := s.Select(tt.names); sel != tt.sel || ok != tt.ok {
				t.Errorf("%q: got %b, %v, want %b, %v", tt.names, sel, ok, tt.sel, tt.ok)
			}
		}
		west.asked()
		for i, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			pass(wait*time.Second - time.Millisecond)
			if got := west.asked(); got != "" {
				t.Errorf("try %d: asked for %q too early", i, got)
			}
			pass(time.Millisecond)
			if got := west.asked(); got != "apps/" {
				t.Errorf("try %d: asked for %q", i, got)
			}
		}
		west.set(func(r *remote) { r.status = nil })
		pass(30 * time.Second)
		if sel, ok := s.Select("west,east"); sel != 3 || !ok {
			t.Errorf("after the first fetch: %b, %v", sel, ok)
		}
	})
}

// TestApps shows only the applications that are listed for a region, everywhere.
func TestApps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east := newRemote(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e1", "USERS/e2")
		s, local := run(t, world{"east": east}, regions.Options{
			Regions: []regions.Region{{Name: "east", URL: "http://east/eureka", Apps: []string{"Users"}}},
		}), newRegistry(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e3")
		pass(30 * time.Second)
		if got := east.asked(); got != "apps/ apps/delta" { // the hash code is that of all
			t.Errorf("asked for %q", got)
		}
		if got := shown(s.Applications(all, local)); got != "USERS/e2=UP UP_1_" {
			t.Errorf("shown %q", got)
		}
		if got := changed(s.Delta(all, local, false)); got != "USERS/e2=UP,ADDED UP_1_" {
			t.Errorf("delta %q", got)
		}
		if got := shown(s.VIP(all, local, "orders")); got != "" {
			t.Errorf("vip %q", got)
		}
		if _, ok := s.Application("ORDERS"); ok {
			t.Error("the application is found")
		}
		if _, ok := s.Instance(registry.NewKey("ORDERS", "e1")); ok {
			t.Error("the instance is found")
		}
		if _, ok := s.InstanceByID("e1"); ok {
			t.Error("the instance is found by its id")
		}
		if _, ok := s.Application("users"); !ok {
			t.Error("an application that is listed is not found")
		}
	})
}

// TestLocalGoesFirst has one instance in three places: the local one is shown, then that
// of the first region.
func TestLocalGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newRemote(t), newRemote(t)
		put(west.reg, eureka.StatusOutOfService, "ORDERS/x", "ORDERS/w")
		put(east.reg, eureka.StatusDown, "ORDERS/x")
		s, local := run(t, world{"east": east, "west": west}, regions.Options{}, "east", "west"), newRegistry(t)
		put(local, eureka.StatusUp, "ORDERS/x")
		key := registry.NewKey("ORDERS", "x")
		check := func(what, lists, delta string) {
			t.Helper()
			if got := shown(s.Applications(all, local)); got != lists {
				t.Errorf("%s: shown %q, want %q", what, got, lists)
			}
			if got := shown(s.VIP(all, local, "orders")); got != lists {
				t.Errorf("%s: vip %q, want %q", what, got, lists)
			}
			if got := shown(s.SVIP(all, local, "orders")); got != lists {
				t.Errorf("%s: svip %q, want %q", what, got, lists)
			}
			if got := changed(s.Delta(all, local, false)); got != delta {
				t.Errorf("%s: delta %q, want %q", what, got, delta)
			}
		}
		check("at first", "ORDERS/w=OUT_OF_SERVICE ORDERS/x=UP OUT_OF_SERVICE_1_UP_1_",
			"ORDERS/x=UP,ADDED ORDERS/w=OUT_OF_SERVICE,ADDED OUT_OF_SERVICE_1_UP_1_")
		local.Cancel(key, registry.Origin{})
		check("cancelled here", "ORDERS/w=OUT_OF_SERVICE ORDERS/x=DOWN DOWN_1_OUT_OF_SERVICE_1_",
			"ORDERS/x=DOWN,ADDED ORDERS/w=OUT_OF_SERVICE,ADDED DOWN_1_OUT_OF_SERVICE_1_")
		east.reg.Cancel(key, registry.Origin{})
		pass(30 * time.Second)
		check("cancelled in the east", "ORDERS/w=OUT_OF_SERVICE ORDERS/x=OUT_OF_SERVICE OUT_OF_SERVICE_2_",
			"ORDERS/x=OUT_OF_SERVICE,ADDED ORDERS/w=OUT_OF_SERVICE,ADDED OUT_OF_SERVICE_2_")
		west.reg.Cancel(key, registry.Origin{})
		pass(30 * time.Second)
		check("cancelled everywhere", "ORDERS/w=OUT_OF_SERVICE OUT_OF_SERVICE_1_",
			"ORDERS/x=UP,DELETED ORDERS/w=OUT_OF_SERVICE,ADDED OUT_OF_SERVICE_1_")
	})
}

// TestSingleReads finds what the first region has.
func TestSingleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newRemote(t), newRemote(t)
		put(east.reg, eureka.StatusDown, "ORDERS/e", "USERS/x")
		put(west.reg, eureka.StatusUp, "ORDERS/w", "ORDERS/x", "ABACUS/x")
		for _, off := range []bool{false, true} {
			s := run(t, world{"east": east, "west": west}, regions.Options{NoFallback: off}, "east", "west")
			app, ok := s.Application("orders")
			if ok == off || !off && (len(app.Instances) != 1 || app.Instances[0].ID() != "e") {
				t.Errorf("off %v: application %+v, %v", off, app, ok)
			}
			// Eureka looks in the first region that has the application, and nowhere else.
			w, ok := s.Instance(registry.NewKey("orders", "w"))
			if ok == off || !off && w.Status != eureka.StatusUp {
				t.Errorf("off %v: instance %+v, %v", off, w, ok)
			}
			x, ok := s.InstanceByID("x")
			if ok == off || !off && x.App != "USERS" {
				t.Errorf("off %v: by id %+v, %v", off, x, ok)
			}
			if _, ok := s.InstanceByID("nobody"); ok {
				t.Errorf("off %v: an unknown instance is found", off)
			}
			if sel, ok := s.Select("east"); sel != 1 || !ok {
				t.Errorf("off %v: east is %b, %v", off, sel, ok)
			}
			if got := s.Default(); (got == 0) != off {
				t.Errorf("off %v: by default %b", off, got)
			}
		}
	})
}

// follower holds what a client holds: a whole list, then what deltas make of it.
type follower map[registry.Key]*eureka.InstanceInfo

func (f follower) apply(a eureka.Applications) {
	for _, app := range a.Applications {
		for _, i := range app.Instances {
			if key := registry.NewKey(app.Name, i.ID()); i.ActionType == eureka.Deleted {
				delete(f, key)
			} else {
				f[key] = i
			}
		}
	}
}

// differs compares what a client holds with a list.
func (f follower) differs(list eureka.Applications) string {
	other := make(follower)
	other.apply(list)
	for key, i := range other {
		if is := f[key]; is == nil || is.Status != i.Status || is.HostName != i.HostName || is.LastDirtyTimestamp != i.LastDirtyTimestamp {
			return fmt.Sprintf("%s: has %+v, listed %+v", key, is, i)
		}
	}
	if len(f) != len(other) {
		return fmt.Sprintf("has %d instances, listed %d", len(f), len(other))
	}
	return ""
}

// TestFollowersNeedNoList makes random changes here and in two regions that share ids. A
// client that reads a list once and then deltas, at most as late as the retention allows,
// has the list at any time, and its hash code.
func TestFollowersNeedNoList(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { follow(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func follow(t *testing.T, rnd *rand.Rand) {
	east, west, local := newRemote(t), newRemote(t), newRegistry(t)
	sides := []*registry.Registry{east.reg, west.reg, local}
	statuses := []eureka.Status{eureka.StatusUp, eureka.StatusDown, eureka.StatusOutOfService}
	dirty := int64(0)
	step := func() {
		reg, app, id := sides[rnd.IntN(3)], []string{"ORDERS", "USERS"}[rnd.IntN(2)], fmt.Sprint("i", rnd.IntN(6))
		key := registry.NewKey(app, id)
		switch rnd.IntN(5) {
		case 0, 1:
			dirty++
			i := instance(app, id, statuses[rnd.IntN(3)], dirty)
			i.HostName = fmt.Sprint("host", dirty)
			reg.Register(i, registry.Origin{})
		case 2:
			reg.Cancel(key, registry.Origin{})
		case 3:
			reg.SetStatus(key, statuses[rnd.IntN(3)], eureka.NoTimestamp, registry.Origin{})
		default:
			reg.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
		}
	}
	s := run(t, world{"east": east, "west": west}, regions.Options{}, "east", "west")
	// Now and then a region's deltas are wrong, so that it is fetched whole.
	theirs := rand.New(rand.NewPCG(rnd.Uint64(), 2)) // the fetcher's goroutine draws from it
	west.set(func(r *remote) {
		r.change = func(path string, a *eureka.Applications) {
			if path == "apps/delta" && theirs.IntN(4) == 0 {
				a.HashCode = "UP_77_"
			}
		}
	})
	client := make(follower)
	client.apply(s.Applications(s.Default(), local))
	read := time.Now()
	for range 300 {
		for range rnd.IntN(4) {
			step()
		}
		pass(time.Duration(rnd.IntN(50)) * time.Second)
		local.SweepDelta()
		if rnd.IntN(3) > 0 && time.Since(read) < 100*time.Second {
			continue // it misses a turn
		}
		read = time.Now()
		delta := s.Delta(s.Default(), local, false)
		client.apply(delta)
		list := s.Applications(s.Default(), local)
		if delta.HashCode != list.HashCode {
			t.Fatalf("hash code of the delta %q, of the list %q", delta.HashCode, list.HashCode)
		}
		counts := list.StatusCounts()
		if got := counts.HashCode(); got != list.HashCode {
			t.Fatalf("hash code %q, but the list has %q", list.HashCode, got)
		}
		if d := client.differs(list); d != "" {
			t.Fatal(d)
		}
	}
}

// TestRetention takes a change out of deltas after three minutes, also while the region
// is away.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east := newRemote(t)
		put(east.reg, eureka.StatusUp, "ORDERS/e1")
		s, local := run(t, world{"east": east}, regions.Options{}, "east"), newRegistry(t)
		east.set(func(r *remote) { r.down = true })
		before := s.Generation()
		pass(180 * time.Second)
		if got := changed(s.Delta(all, local, false)); got != "ORDERS/e1=UP,ADDED UP_1_" {
			t.Errorf("after 180 s: delta %q", got)
		}
		if s.Generation() != before {
			t.Error("the generation changes with nothing else")
		}
		pass(30 * time.Second)
		if got := changed(s.Delta(all, local, false)); got != "UP_1_" {
			t.Errorf("after 210 s: delta %q", got)
		}
		if s.Generation() == before {
			t.Error("the generation stays: a cached delta would, too")
		}
	})
}

// TestVersions counts the deltas for readers that name regions by themselves.
func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, local := run(t, world{"east": newRemote(t)}, regions.Options{}, "east"), newRegistry(t)
		for i, want := range []struct {
			sel     regions.Selection
			named   bool
			version string
		}{{1, false, "1"}, {1, true, "1"}, {1, true, "2"}, {0, true, "3"}} {
			if got := s.Delta(want.sel, local, want.named).Version; got != want.version {
				t.Errorf("delta %d: version %s, want %s", i, got, want.version)
			}
		}
		if got := s.Applications(1, local).Version; got != "1" {
			t.Errorf("list: version %s", got)
		}
		if got := s.VIP(1, local, "none").Version; got != "-1" {
			t.Errorf("vip: version %s", got)
		}
	})
}

func TestCheck(t *testing.T) {
	east := regions.Region{Name: "east", URL: "http://me:secret@east/eureka"}
	for name, tt := range map[string]struct {
		opts regions.Options
		want string
	}{
		"right":         {regions.Options{Regions: []regions.Region{east}}, ""},
		"no name":       {regions.Options{Regions: []regions.Region{{URL: east.URL}}}, `region ""`},
		"upper case":    {regions.Options{Regions: []regions.Region{{Name: "East", URL: east.URL}}}, `region "East"`},
		"comma":         {regions.Options{Regions: []regions.Region{{Name: "a,b", URL: east.URL}}}, `region "a,b"`},
		"global":        {regions.Options{Regions: []regions.Region{{Name: "global", URL: east.URL}}}, "region global"},
		"local-only":    {regions.Options{Regions: []regions.Region{{Name: "local-only", URL: east.URL}}}, "region local-only"},
		"twice":         {regions.Options{Regions: []regions.Region{east, east}}, "listed twice"},
		"URL":           {regions.Options{Regions: []regions.Region{{Name: "east", URL: "ftp://me:secret@east"}}}, `"east": url`},
		"too many":      {regions.Options{Regions: make([]regions.Region, 65)}, "more than 64"},
		"interval":      {regions.Options{Interval: time.Millisecond}, "region interval"},
		"retention":     {regions.Options{Retention: -time.Second}, "retention"},
		"negative wait": {regions.Options{Interval: -time.Second}, "region interval"},
	} {
		err := tt.opts.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the password is shown: %v", name, err)
		}
	}
}
