package bridge

import (
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestJudge goes through the table "Java peers" of docs/convergence.md.
func TestJudge(t *testing.T) {
	const version = 1_700_000_000_000
	ours := func(change func(*registry.Entry)) *registry.Entry {
		e := &registry.Entry{
			Record: registry.Record{
				Version: version, Live: true, LastDirty: 500, Base: eureka.StatusUp, Duration: 90 * time.Second,
				Info: &eureka.InstanceInfo{LeaseInfo: eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90}},
			},
			Override: registry.Override{Status: eureka.StatusUnknown},
		}
		if change != nil {
			change(e)
		}
		return e
	}
	theirs := func(ldt int64, change func(*eureka.InstanceInfo)) *eureka.InstanceInfo {
		i := &eureka.InstanceInfo{
			Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown, LastDirtyTimestamp: ldt,
			LeaseInfo: eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
		}
		if change != nil {
			change(i)
		}
		return i
	}
	dead := func(e *registry.Entry) { e.Record.Live, e.Record.Info = false, nil }
	aged := func(d time.Duration) func(*registry.Entry) { return func(e *registry.Entry) { e.Age = d } }
	updated := func(at int64) func(*eureka.InstanceInfo) {
		return func(i *eureka.InstanceInfo) { i.Status, i.LastUpdatedTimestamp = eureka.StatusDown, at }
	}
	const fresh, over = 10 * time.Second, 91 * time.Second
	for _, test := range []struct {
		name string
		is   sides
		want verdict
	}{
		{"unknown here", sides{theirs: theirs(1, nil), age: fresh}, adopt},
		{"unknown here, expired there", sides{theirs: theirs(1, nil), age: over}, ignore},
		{"same", sides{ours: ours(nil), theirs: theirs(500, nil), age: fresh}, equal},
		{"same, silent for long", sides{ours: ours(nil), theirs: theirs(500, nil), age: over}, equal},
		{"older there", sides{ours: ours(nil), theirs: theirs(499, nil)}, override},
		{"newer there", sides{ours: ours(nil), theirs: theirs(501, nil)}, adopt},
		{"another status, later there", sides{ours: ours(nil), theirs: theirs(500, updated(version+1))}, adopt},
		{"another status, later here", sides{ours: ours(nil), theirs: theirs(500, updated(version-1))}, override},
		{"another status, override later here", sides{ours: ours(func(e *registry.Entry) {
			e.Override = registry.Override{Version: version + 9, Set: true, Status: eureka.StatusOutOfService}
		}), theirs: theirs(500, updated(version+5))}, override},
		{"another override", sides{ours: ours(nil), theirs: theirs(500, func(i *eureka.InstanceInfo) {
			i.OverriddenStatus = eureka.StatusUp
		})}, override},
		{"other metadata", sides{ours: ours(nil), theirs: theirs(500, func(i *eureka.InstanceInfo) {
			i.Metadata = map[string]string{"a": "b"}
		})}, override},
		{"cancelled here", sides{ours: ours(dead), theirs: theirs(500, nil), age: fresh}, cancelThere},
		{"cancelled here, expired there", sides{ours: ours(dead), theirs: theirs(500, nil), age: over}, cancelThere},
		{"cancelled here, registered there since", sides{ours: ours(dead), theirs: theirs(501, nil), age: fresh}, adopt},
		{"cancelled here, registered there since, and expired", sides{ours: ours(dead), theirs: theirs(501, nil), age: over}, ignore},
		{"evicted here", sides{ours: ours(nil), evicted: true, theirs: theirs(500, nil), age: fresh}, lease},
		{"evicted here, older there", sides{ours: ours(nil), evicted: true, theirs: theirs(499, nil), age: fresh}, lease},
		{"evicted here, newer there", sides{ours: ours(nil), evicted: true, theirs: theirs(501, nil), age: fresh}, adopt},
		{"evicted here, expired there", sides{ours: ours(nil), evicted: true, theirs: theirs(501, nil), age: over}, ignore},
		{"missing there", sides{ours: ours(aged(fresh))}, register},
		{"missing there, never listed", sides{ours: ours(aged(80 * time.Second))}, register},
		{"missing there, expired here", sides{ours: ours(aged(over))}, ignore},
		{"gone there, renewed here", sides{ours: ours(aged(35 * time.Second)), listed: true}, register},
		{"gone there, not renewed", sides{ours: ours(aged(36 * time.Second)), listed: true}, cancelHere},
		{"cancelled on both", sides{ours: ours(dead)}, equal},
		{"evicted here, missing there", sides{ours: ours(nil), evicted: true}, equal},
	} {
		if got := test.is.judge(); got != test.want {
			t.Errorf("%s: verdict %d, want %d", test.name, got, test.want)
		}
	}
}
