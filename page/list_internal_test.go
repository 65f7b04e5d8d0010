package page

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestListAfterRandomChanges: after any changes, few or many at once, the list holds what
// the registry's list has, in natural order, and its sums are right.
func TestListAfterRandomChanges(t *testing.T) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	l := newList(reg)
	change := func() {
		app, id := fmt.Sprint("APP-", random.IntN(12)), fmt.Sprint("i-", random.IntN(60))
		key := registry.NewKey(app, id)
		switch random.IntN(5) {
		case 0:
			reg.Cancel(key, registry.Origin{})
		case 1:
			reg.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
		case 2:
			reg.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{})
		default:
			reg.Register(&eureka.InstanceInfo{
				InstanceID: &id, HostName: "h", App: app, IPAddr: "192.0.2.1", Status: eureka.StatusUp,
				OverriddenStatus: eureka.StatusUnknown, DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
				Metadata: map[string]string{"zone": fmt.Sprint("z", random.IntN(3))}, LastDirtyTimestamp: 1,
			}, registry.Origin{})
		}
	}
	for round := range 300 {
		for range 1 + random.IntN([]int{3, 200}[round%2]) {
			change()
		}
		var want, troubled []string
		statuses, zones := map[eureka.Status]int{}, map[string]int{}
		for _, app := range reg.Applications().Applications {
			for _, i := range app.Instances {
				text := app.Name + "/" + i.ID() + " " + string(i.Status)
				want = append(want, text)
				if i.Status != eureka.StatusUp {
					troubled = append(troubled, text)
				}
				statuses[i.Status]++
				zones[i.Metadata["zone"]]++
			}
		}
		slices.SortFunc(want, compareNatural)
		slices.SortFunc(troubled, compareNatural)
		l.mu.Lock()
		l.refresh()
		got, gotTroubled := texts(l.all), texts(l.troubled)
		sums, gotZones := fmt.Sprint(l.statuses), fmt.Sprint(l.zones)
		l.mu.Unlock()
		if !slices.Equal(got, want) || !slices.Equal(gotTroubled, troubled) {
			t.Fatalf("round %d: the list is\n%q, want\n%q", round, got, want)
		}
		if sums != fmt.Sprint(statuses) || gotZones != fmt.Sprint(zones) {
			t.Fatalf("round %d: sums %s and %s, want %v and %v", round, sums, gotZones, statuses, zones)
		}
	}
}

func texts(all []*eureka.InstanceInfo) (out []string) {
	for _, i := range all {
		out = append(out, i.App+"/"+i.ID()+" "+string(i.Status))
	}
	return out
}
