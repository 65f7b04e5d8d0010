package registry_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestEntries returns each entry once, also those that readers don't see, and what they see
// in order.
func TestEntries(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	want := make(map[registry.Key]registry.Entry)
	for i := range 2000 {
		key := registry.NewKey(fmt.Sprint("APP", i%7), fmt.Sprint("i-", i))
		r.Register(instance(key.App, key.ID, eureka.StatusUp, c.ms.Load()), registry.Origin{})
		if i%5 == 0 {
			r.Cancel(key, registry.Origin{})
		}
		want[key], _, _ = r.Entry(key)
	}
	got := make(map[registry.Key]registry.Entry)
	var seen []registry.Key
	for run := range r.Entries() {
		for _, k := range run {
			got[k.Key] = k.Entry
			if k.Entry.Record.Live {
				seen = append(seen, k.Key)
			}
		}
	}
	if !maps.Equal(got, want) || len(seen) != 1600 {
		t.Errorf("%d entries, %d of them live, want %d and 1600, as Entry has them", len(got), len(seen), len(want))
	}
	if !slices.IsSortedFunc(seen, func(a, b registry.Key) int {
		return slices.Compare([]string{a.App, a.ID}, []string{b.App, b.ID})
	}) {
		t.Error("what readers see is not in order")
	}
	for range r.Entries() {
		break
	}
}

// TestEntriesThatChange change between the runs, to and from what readers see: none is left
// out.
func TestEntriesThatChange(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	var keys []registry.Key
	for i := range 3000 {
		keys = append(keys, registry.NewKey("APP", fmt.Sprintf("i-%04d", i)))
		r.Register(instance("APP", keys[i].ID, eureka.StatusUp, c.ms.Load()), registry.Origin{})
		if i%2 == 0 {
			r.Cancel(keys[i], registry.Origin{})
		}
	}
	got, n := make(map[registry.Key]bool), 0
	for run := range r.Entries() {
		for _, k := range run {
			got[k.Key] = true
		}
		for range 500 { // from the end: what was not seen yet changes places, and at last what was
			n++
			if key := keys[len(keys)-n%len(keys)-1]; n%2 == 0 {
				r.Cancel(key, registry.Origin{})
			} else {
				r.Register(instance("APP", key.ID, eureka.StatusUp, c.ms.Load()), registry.Origin{})
			}
		}
	}
	if len(got) != len(keys) {
		t.Errorf("%d entries, want %d", len(got), len(keys))
	}
}
