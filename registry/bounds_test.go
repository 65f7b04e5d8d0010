package registry_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// What a peer sends that is out of bounds changes nothing, by whatever way it comes.
func TestJoinBounds(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	latest := start + day.Milliseconds()
	long := strings.Repeat("x", registry.MaxName)
	for _, tt := range []struct {
		name    string
		key     registry.Key
		rv, ov  int64
		carried registry.Bits
		want    string // part of why; "": it is taken
	}{
		{name: "a day ahead", rv: latest, ov: latest, carried: whole},
		{name: "record over a day ahead", rv: latest + 1, carried: whole, want: "registryd.rv: "},
		{name: "record at the end of time", rv: math.MaxInt64, carried: whole, want: "registryd.rv: 9223372036854775807"},
		{name: "override over a day ahead", rv: 9, ov: latest + 1, carried: whole, want: "registryd.ov: "},
		{name: "override alone at the end of time", rv: 9, ov: math.MaxInt64, carried: registry.Overridden, want: "registryd.ov: "},
		{name: "heartbeat at the end of time", rv: math.MaxInt64, want: "registryd.rv: "},
		{name: "names of 1 KiB", key: registry.Key{App: strings.ToUpper(long), ID: long}, rv: 9, carried: whole},
		{name: "application of more", key: registry.Key{App: long + "x", ID: "i"}, rv: 9, carried: whole, want: "appName: 1025 bytes"},
		{name: "id of more", key: registry.Key{App: "A", ID: long + "x"}, rv: 9, carried: whole, want: "id: 1025 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.key == (registry.Key{}) {
				tt.key = registry.NewKey("ORDERS", "i-1")
			}
			c := newClock()
			r, sink := newRegistry(t, c)
			r.Join(tt.key, registry.Entry{Record: live(instance(tt.key.App, tt.key.ID, eureka.StatusUp, start), 5, eureka.StatusUp)}, whole, registry.Origin{Way: registry.ByBatch})
			before, _, _ := r.Entry(tt.key)
			sink.take()
			in := registry.Entry{
				Record:   live(instance(tt.key.App, tt.key.ID, eureka.StatusDown, start), tt.rv, eureka.StatusDown),
				Override: registry.Override{Version: tt.ov, Set: tt.ov > 0, Status: eureka.StatusOutOfService},
			}
			got, _ := r.Join(tt.key, in, tt.carried, registry.Origin{Way: registry.ByBatch})
			if refused := got == registry.Refused; refused != (tt.want != "") {
				t.Fatalf("outcome %v, refused wanted: %t", got, tt.want != "")
			}
			if tt.want == "" {
				return
			}
			if err := r.Refuses(tt.key, &in); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("refused for %v, want %q", err, tt.want)
			}
			after, _, _ := r.Entry(tt.key)
			if part(after) != part(before) || len(sink.take()) > 0 {
				t.Errorf("changed from %s to %s", part(before), part(after))
			}
			if out := r.Restore(tt.key, in, time.Hour); out != registry.Refused {
				t.Errorf("restored with outcome %v, want refused", out)
			}
		})
	}
}

// A Java peer's timestamp at the end of time leaves versions that other nodes take, and
// room for a cancel.
func TestFutureOfJavaPeer(t *testing.T) {
	t.Parallel()
	for _, ldt := range []int64{253_402_300_799_999, math.MaxInt64} {
		c := newClock()
		r, _ := newRegistry(t, c)
		peer, _ := newRegistry(t, c)
		key := registry.NewKey("ORDERS", "i-1")
		r.Register(instance("ORDERS", "i-1", eureka.StatusUp, ldt), registry.Origin{Way: registry.ByReplication})
		for _, do := range []func(){
			func() {},
			func() {
				r.SetStatus(key, eureka.StatusDown, math.MaxInt64, registry.Origin{Way: registry.ByReplication})
			},
			func() { r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{}) },
			func() { r.Cancel(key, registry.Origin{}) },
		} {
			do()
			e, _, _ := r.Entry(key)
			if out, _ := peer.Join(key, e, whole, registry.Origin{Way: registry.ByBatch}); out != registry.OK {
				t.Errorf("timestamp %d: a peer answers %v to %s", ldt, out, part(e))
			}
		}
		if _, listed := peer.Instance(key); listed {
			t.Errorf("timestamp %d: listed after its cancel", ldt)
		}
	}
}

// The number of entries is bounded for clients and peers. Who is there already goes on.
func TestMaxInstances(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, err := registry.New(registry.Options{Now: c.Now, MaxInstances: 3})
	if err != nil {
		t.Fatal(err)
	}
	id := func(i int) string { return fmt.Sprint("i-", i) }
	for i := range 3 {
		if got := r.Register(instance("ORDERS", id(i), eureka.StatusUp, start), registry.Origin{}); got != registry.OK {
			t.Fatalf("register %d: outcome %v", i, got)
		}
	}
	r.Cancel(registry.NewKey("ORDERS", id(2)), registry.Origin{}) // it is remembered
	other, _ := newRegistry(t, c)
	other.Register(instance("ORDERS", id(3), eureka.StatusUp, start), registry.Origin{})
	e, _, _ := other.Entry(registry.NewKey("ORDERS", id(3)))
	full := func(want bool) {
		t.Helper()
		if got := r.Register(instance("ORDERS", id(3), eureka.StatusUp, start), registry.Origin{}); (got == registry.Full) != want {
			t.Errorf("one more: outcome %v, full wanted: %t", got, want)
		}
	}
	full(true)
	if got, _ := r.Join(registry.NewKey("ORDERS", id(3)), e, whole, registry.Origin{Way: registry.ByBatch}); got != registry.Refused || r.Refuses(registry.NewKey("ORDERS", id(3)), &e) == nil {
		t.Errorf("one more of a peer: outcome %v, want refused", got)
	}
	if r.Len() != 3 {
		t.Errorf("%d entries, want 3", r.Len())
	}
	for i := range 3 {
		if got := r.Register(instance("ORDERS", id(i), eureka.StatusUp, start+1), registry.Origin{}); got != registry.OK {
			t.Errorf("known %d again: outcome %v", i, got)
		}
	}
	r.Cancel(registry.NewKey("ORDERS", id(2)), registry.Origin{})
	c.Add(481 * time.Second)
	r.Forget()
	full(false)
}

// Names are bounded at registration.
func TestRegisterBounds(t *testing.T) {
	t.Parallel()
	r, sink := newRegistry(t, newClock())
	long := strings.Repeat("x", registry.MaxName)
	for _, tt := range []struct {
		app, id string
		want    registry.Outcome
	}{{long, long, registry.OK}, {long + "x", "i", registry.Refused}, {"A", long + "x", registry.Refused}} {
		before := r.Len()
		sink.take()
		if got := r.Register(instance(tt.app, tt.id, eureka.StatusUp, start), registry.Origin{}); got != tt.want {
			t.Errorf("names of %d and %d bytes: outcome %v, want %v", len(tt.app), len(tt.id), got, tt.want)
		}
		if changed := r.Len() != before || len(sink.take()) > 0; changed != (tt.want == registry.OK) {
			t.Errorf("names of %d and %d bytes: changed %t", len(tt.app), len(tt.id), changed)
		}
	}
}
