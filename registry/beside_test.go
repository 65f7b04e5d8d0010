package registry_test

import (
	"maps"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestPresent tells listed instances from those that were cancelled and those that were
// never there.
func TestPresent(t *testing.T) {
	r, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		i := instance("ORDERS", id, eureka.StatusUp, 1)
		r.Register(i, registry.Origin{})
	}
	r.Cancel(registry.NewKey("ORDERS", "b"), registry.Origin{})
	keys := []registry.Key{
		registry.NewKey("ORDERS", "a"), registry.NewKey("ORDERS", "b"), registry.NewKey("ORDERS", "c"), registry.NewKey("USERS", "a"),
	}
	want := registry.Keys{keys[0]: {}}
	if got := r.Present(keys); !maps.Equal(got, want) {
		t.Errorf("present: got %v, want %v", got, want)
	}
	delta, counts, present := r.DeltaBeside(keys[2:], keys[:2])
	if !maps.Equal(present, want) {
		t.Errorf("present beside the delta: got %v, want %v", present, want)
	}
	if got := counts.HashCode(); got != "UP_1_" || delta.HashCode != got {
		t.Errorf("counts %q, hash code %q, want UP_1_", got, delta.HashCode)
	}
	if len(delta.Applications) != 1 || len(delta.Applications[0].Instances) != 2 {
		t.Errorf("delta: %+v, want the instance and the cancel", delta)
	}
}
