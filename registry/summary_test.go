package registry_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestSummaryCopiesNothing: the page of a node costs what it shows, and not what the
// node holds, also where all leases have been renewed since they were registered.
func TestSummaryCopiesNothing(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	r, err := registry.New(registry.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	const many = 2000
	for i := range many {
		id := "i-" + strconv.Itoa(i)
		r.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: "h", App: "A", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
		}, registry.Origin{})
	}
	now = now.Add(10 * time.Second)
	for i := range many {
		r.Renew(registry.NewKey("A", "i-"+strconv.Itoa(i)), eureka.NoTimestamp, "", registry.Origin{})
	}
	apps, hash := r.Summary(10)
	if len(apps) != 1 || apps[0].Total != many || len(apps[0].Instances) != 10 || hash != "UP_2000_" {
		t.Fatalf("got %+v, %s", apps, hash)
	}
	if n := testing.AllocsPerRun(5, func() { r.Summary(10) }); n > 20 {
		t.Errorf("%v allocations for 10 of %d instances", n, many)
	}
	if state, ok := r.Lease(registry.NewKey("A", "i-7")); !ok || state.Silent != 0 || state.Left != 90*time.Second {
		t.Errorf("lease: %+v, %v", state, ok)
	}
	if over, total := r.Overdue(3); len(over) != 0 || total != 0 {
		t.Errorf("overdue: %v, %d", over, total)
	}
	now = now.Add(91 * time.Second)
	if over, total := r.Overdue(3); len(over) != 3 || total != many || over[0].Silent != 91*time.Second || over[0].Left != -time.Second {
		t.Errorf("overdue: %+v, %d", over, total)
	}
	if _, ok := r.Lease(registry.NewKey("A", "none")); ok {
		t.Error("a lease of nobody")
	}
}

// The counts of applications are those of their instances, after each change.
func TestCountsByApp(t *testing.T) {
	t.Parallel()
	cr := newCrowd(t, randomSeed(t))
	for n := range 600 {
		what := cr.step()
		cr.c.Add(time.Duration(cr.rnd.IntN(5000)) * time.Millisecond)
		if n%10 == 0 {
			cr.r.Evict()
		}
		list := cr.r.Applications()
		limit := cr.rnd.IntN(len(list.Applications) + 2)
		first, all, apps := cr.r.CountsByApp(limit)
		if apps != len(list.Applications) || len(first) != min(limit, apps) || all.HashCode() != list.HashCode {
			t.Fatalf("step %d, %s: %d of %d applications, %s; want %d of %d, %s", n, what, len(first), apps, all.HashCode(),
				min(limit, len(list.Applications)), len(list.Applications), list.HashCode)
		}
		for i, app := range first {
			if want := recount(list.Applications[i].Instances); app.Counts.HashCode() != want || app.Name != list.Applications[i].Name {
				t.Fatalf("step %d, %s: %s has %s, want %s of %s",
					n, what, app.Name, app.Counts.HashCode(), want, list.Applications[i].Name)
			}
		}
	}
}
