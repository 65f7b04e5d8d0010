package registry_test

import (
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestAdopt makes an instance what a Java peer's list shows of it, whatever it was.
func TestAdopt(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	shows := func(status, override eureka.Status, ldt int64) *eureka.InstanceInfo {
		i := instance("ORDERS", "i-1", status, ldt)
		i.OverriddenStatus = override
		return i
	}
	const up, down, out, unknown = eureka.StatusUp, eureka.StatusDown, eureka.StatusOutOfService, eureka.StatusUnknown
	for _, tt := range []struct {
		name   string
		before func(*registry.Registry)
		theirs *eureka.InstanceInfo
		want   registry.Outcome
		status string // that readers see, with the override
	}{
		{"unknown", func(*registry.Registry) {}, shows(down, unknown, start), registry.OK, "DOWN/UNKNOWN"},
		{"unknown, with an override", func(*registry.Registry) {}, shows(out, out, start), registry.OK, "OUT_OF_SERVICE/OUT_OF_SERVICE"},
		{"another status", nil, shows(down, unknown, start), registry.OK, "DOWN/UNKNOWN"},
		{"an override", nil, shows(out, out, start), registry.OK, "OUT_OF_SERVICE/OUT_OF_SERVICE"},
		{"another override", func(r *registry.Registry) {
			r.Register(shows(up, unknown, start), registry.Origin{})
			r.SetStatus(key, down, eureka.NoTimestamp, registry.Origin{})
		}, shows(out, out, start), registry.OK, "OUT_OF_SERVICE/OUT_OF_SERVICE"},
		{"no override any more", func(r *registry.Registry) {
			r.Register(shows(up, unknown, start), registry.Origin{})
			r.SetStatus(key, out, eureka.NoTimestamp, registry.Origin{})
		}, shows(up, unknown, start), registry.OK, "UP/UNKNOWN"},
		{
			"older", func(r *registry.Registry) { r.Register(shows(up, unknown, start+1), registry.Origin{}) },
			shows(down, down, start), registry.Kept, "UP/UNKNOWN",
		},
		{"cancelled", func(r *registry.Registry) {
			r.Register(shows(up, unknown, start), registry.Origin{})
			r.Cancel(key, registry.Origin{})
		}, shows(up, unknown, start), registry.Kept, ""},
		{"cancelled, registered since", func(r *registry.Registry) {
			r.Register(shows(up, unknown, start), registry.Origin{})
			r.Cancel(key, registry.Origin{})
		}, shows(up, out, start+1), registry.OK, "OUT_OF_SERVICE/OUT_OF_SERVICE"},
		{"evicted", func(r *registry.Registry) { r.Evict() }, shows(up, unknown, start), registry.OK, "UP/UNKNOWN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			r, sink := newRegistry(t, c)
			if tt.before == nil {
				r.Register(shows(up, unknown, start), registry.Origin{})
			} else {
				tt.before(r)
			}
			before, _, _ := r.Entry(key)
			sink.take()
			c.Add(time.Second)
			if got := r.Adopt(tt.theirs, registry.Origin{Way: registry.ByList}); got != tt.want {
				t.Errorf("outcome %d, want %d", got, tt.want)
			}
			got := ""
			if i, ok := r.Instance(key); ok {
				got = string(i.Status) + "/" + string(i.OverriddenStatus)
			}
			if got != tt.status {
				t.Errorf("readers see %q, want %q", got, tt.status)
			}
			for _, ch := range sink.take() {
				if !ch.IsReplication {
					t.Errorf("change %+v would be sent on", ch)
				}
			}
			after, _, _ := r.Entry(key)
			if wins := after.Record.After(&before.Record); wins != (tt.want == registry.OK) {
				t.Errorf("the record is later: %t", wins)
			}
			if before.Override.After(&after.Override) {
				t.Error("the override went back")
			}
		})
	}
}

// TestFutureTimestamps takes a timestamp from the future as Java does, if asked to.
func TestFutureTimestamps(t *testing.T) {
	t.Parallel()
	for _, java := range []bool{false, true} {
		c := newClock()
		r, err := registry.New(registry.Options{Now: c.Now, FutureTimestamps: java})
		if err != nil {
			t.Fatal(err)
		}
		r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+time.Hour.Milliseconds()), registry.Origin{})
		c.Add(time.Minute)
		want := registry.OK
		if java {
			want = registry.Kept
		}
		if got := r.Register(instance("ORDERS", "i-1", eureka.StatusDown, start+time.Minute.Milliseconds()), registry.Origin{}); got != want {
			t.Errorf("FutureTimestamps %t: outcome %d, want %d", java, got, want)
		}
	}
}
