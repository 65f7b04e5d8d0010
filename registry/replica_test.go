package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// The table of the heartbeat decision, for both kinds of callers.
func TestRenewDecision(t *testing.T) {
	t.Parallel()
	const ldt = start - 1000
	for _, tt := range []struct {
		name           string
		t              int64
		client, remote registry.Outcome
	}{
		{"equal", ldt, registry.OK, registry.OK},
		{"caller newer", ldt + 1, registry.NotFound, registry.NotFound},
		{"caller older", ldt - 1, registry.OK, registry.Conflict},
		{"no timestamp", eureka.NoTimestamp, registry.OK, registry.OK},
	} {
		for _, isReplication := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/isReplication=%t", tt.name, isReplication), func(t *testing.T) {
				c := newClock()
				r, sink := newRegistry(t, c)
				r.Register(instance("ORDERS", "i-1", eureka.StatusUp, ldt), registry.Origin{})
				sink.take()
				c.Add(20 * time.Second)
				key := registry.NewKey("ORDERS", "i-1")
				want := tt.client
				if isReplication {
					want = tt.remote
				}
				got, ours := r.Renew(key, tt.t, "", by(isReplication))
				if got != want {
					t.Errorf("Renew = %v, want %v", got, want)
				}
				if got == registry.Conflict && (ours == nil || ours.ID() != "i-1" || ours.LastDirtyTimestamp != ldt) {
					t.Errorf("409 with %+v, want our instance", ours)
				}
				e, _, _ := r.Entry(key)
				if e.Age != 0 {
					t.Errorf("lease is %v old, want it renewed whatever the answer", e.Age)
				}
				for _, ch := range sink.take() {
					if want := (registry.Change{Key: key, Bits: registry.Renewed, IsReplication: isReplication}); ch != want {
						t.Errorf("Sink got %+v, want %+v", ch, want)
					}
				}
			})
		}
	}
}

func TestRenewRefused(t *testing.T) {
	t.Parallel()
	for _, isReplication := range []bool{false, true} {
		c := newClock()
		r, sink := newRegistry(t, c)
		key := registry.NewKey("ORDERS", "i-1")
		if got, _ := r.Renew(key, start, eureka.StatusDown, by(isReplication)); got != registry.NotFound {
			t.Errorf("isReplication=%t: Renew of an unknown one = %v, want 404", isReplication, got)
		}
		if n := r.Len(); n != 0 {
			t.Errorf("isReplication=%t: a refused renewal left %d entries", isReplication, n)
		}
		r.Register(instance("ORDERS", "i-1", eureka.StatusUnknown, start), registry.Origin{})
		sink.take()
		c.Add(time.Second)
		before, _, _ := r.Entry(key)
		if got, _ := r.Renew(key, start, eureka.StatusDown, by(isReplication)); got != registry.NotFound {
			t.Errorf("isReplication=%t: Renew with status UNKNOWN = %v, want 404", isReplication, got)
		}
		after, _, _ := r.Entry(key)
		if part(before) != part(after) || after.Age != time.Second {
			t.Errorf("isReplication=%t: a 404 for UNKNOWN changed %v to %v, lease %v old", isReplication, part(before), part(after), after.Age)
		}
		if got := sink.take(); len(got) != 0 {
			t.Errorf("isReplication=%t: Sink got %v, want nothing", isReplication, got)
		}
	}
}

// A replica's heartbeat that is newer brings its override along.
func TestRenewWithOverrideOfReplica(t *testing.T) {
	t.Parallel()
	const ldt = start - 1000
	for _, tt := range []struct {
		name          string
		isReplication bool
		t             int64
		given         eureka.Status
		want          eureka.Status // overriddenStatus
	}{
		{"newer replica", true, ldt + 1, eureka.StatusOutOfService, eureka.StatusOutOfService},
		{"newer replica, UNKNOWN", true, ldt + 1, eureka.StatusUnknown, eureka.StatusUnknown},
		{"newer replica, none", true, ldt + 1, "", eureka.StatusUnknown},
		{"equal replica", true, ldt, eureka.StatusOutOfService, eureka.StatusUnknown},
		{"older replica", true, ldt - 1, eureka.StatusOutOfService, eureka.StatusUnknown},
		{"newer client", false, ldt + 1, eureka.StatusOutOfService, eureka.StatusUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			key := registry.NewKey("ORDERS", "i-1")
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, ldt), registry.Origin{})
			before, _, _ := r.Entry(key)
			r.Renew(key, tt.t, tt.given, by(tt.isReplication))
			i, _ := r.Instance(key)
			if i.OverriddenStatus != tt.want {
				t.Errorf("overriddenStatus = %v, want %v", i.OverriddenStatus, tt.want)
			}
			after, _, _ := r.Entry(key)
			if tt.want == eureka.StatusUnknown {
				if part(before) != part(after) {
					t.Errorf("entry changed from %s to %s", part(before), part(after))
				}
				return
			}
			want := registry.Override{Version: before.Record.Version + 1, Set: true, Status: tt.want}
			if after.Override != want {
				t.Errorf("override = %+v, want known + 1: %+v", after.Override, want)
			}
			if i.Status != tt.want {
				t.Errorf("status = %v, want the override at once", i.Status)
			}
		})
	}
}

// What a Java peer says gets a version that every node would give it.
func TestVersionsFromReplicas(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	c := newClock()
	r, sink := newRegistry(t, c)
	entry := func() registry.Entry {
		t.Helper()
		e, _, ok := r.Entry(key)
		if !ok {
			t.Fatal("no entry")
		}
		return e
	}
	up := func(ldt int64) *eureka.InstanceInfo { return instance("ORDERS", "i-1", eureka.StatusUp, ldt) }

	if got := r.Cancel(key, registry.Origin{Way: registry.ByReplication}); got != registry.NotFound {
		t.Errorf("Cancel of an unknown one = %v, want 404", got)
	}
	if n := r.Len(); n != 0 {
		t.Errorf("a replica's cancel of an unknown one left %d entries, want no tombstone", n)
	}
	const ldt = start - 5000
	if r.Register(up(ldt), registry.Origin{Way: registry.ByReplication}) != registry.OK {
		t.Error("the first register was not stored")
	}
	if got := entry().Record.Version; got != ldt {
		t.Errorf("first register has version %s, want its lastDirtyTimestamp %s", ms(got), ms(ldt))
	}
	c.Add(time.Second)
	if r.Register(up(ldt-1), registry.Origin{Way: registry.ByReplication}); entry().Record.Version != ldt {
		t.Errorf("an older register changed the version to %s", ms(entry().Record.Version))
	}
	r.Register(up(ldt+500), registry.Origin{Way: registry.ByReplication})
	if got := entry().Record.Version; got != ldt+1 {
		t.Errorf("second register has version %s, want known + 1: %s", ms(got), ms(ldt+1))
	}
	r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{Way: registry.ByReplication})
	if got, want := entry().Override, (registry.Override{Version: ldt + 2, Set: true, Status: eureka.StatusDown}); got != want {
		t.Errorf("override = %+v, want %+v", got, want)
	}
	r.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{Way: registry.ByReplication})
	if got, want := entry().Override, (registry.Override{Version: ldt + 3, Status: eureka.StatusUp}); got != want {
		t.Errorf("override = %+v, want %+v", got, want)
	}
	if got := r.Cancel(key, registry.Origin{Way: registry.ByReplication}); got != registry.OK {
		t.Errorf("Cancel = %v, want 200", got)
	}
	if e := entry(); e.Record.Live || e.Record.Version != ldt+4 || e.Record.LastDirty != ldt+500 || e.Override.Set || e.Override.Version != ldt+4 {
		t.Errorf("after the cancel: %s, want dead, %s in both parts", part(e), ms(ldt+4))
	}
	for _, ch := range sink.take() {
		if !ch.IsReplication {
			t.Errorf("Sink got %+v, want everything marked isReplication", ch)
		}
	}

	before := part(entry())
	for _, old := range []int64{ldt, ldt + 500} {
		if r.Register(up(old), registry.Origin{Way: registry.ByReplication}) == registry.OK {
			t.Errorf("a register of %s, cancelled at %s, was stored", ms(old), ms(ldt+500))
		}
		if after := part(entry()); after != before {
			t.Errorf("a refused register changed %s to %s", before, after)
		}
	}
	if r.Register(up(ldt+501), registry.Origin{Way: registry.ByReplication}) != registry.OK {
		t.Error("a register newer than the cancelled one was refused")
	}
	if e := entry(); !e.Record.Live || e.Record.Version != ldt+5 {
		t.Errorf("after it: %s, want live, %s", part(e), ms(ldt+5))
	}
}

// An override that comes with a replica's first register lies below it.
func TestFirstRegisterOfReplicaWithOverride(t *testing.T) {
	t.Parallel()
	var got []string
	for n := range 2 { // Two nodes, one receives it later.
		c := newClock()
		c.Add(time.Duration(n) * time.Minute)
		r, _ := newRegistry(t, c)
		i := instance("ORDERS", "i-1", eureka.StatusUp, start-5000)
		i.OverriddenStatus = eureka.StatusOutOfService
		r.Register(i, registry.Origin{Way: registry.ByReplication})
		e, _, _ := r.Entry(registry.NewKey("ORDERS", "i-1"))
		if !e.Override.Set || e.Override.Status != eureka.StatusOutOfService || e.Override.Version >= e.Record.Version {
			t.Errorf("entry %s, want the override below the record", part(e))
		}
		if e.Record.Version < start-5000 {
			t.Errorf("record's version %d, want the lastDirtyTimestamp %d: nothing was known", e.Record.Version, start-5000)
		}
		got = append(got, part(e))
	}
	if got[0] != got[1] {
		t.Errorf("two nodes that received the same differ:\n%s\n%s", got[0], got[1])
	}
}

// Where a replica registers, the stored status has no say (rule 4).
func TestReplicaNeedsNoRuleFour(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		isReplication  bool
		first, then    eureka.Status
		want           eureka.Status
		withAnOverride eureka.Status
	}{
		{false, eureka.StatusUp, eureka.StatusOutOfService, eureka.StatusUp, ""},
		{false, eureka.StatusOutOfService, eureka.StatusUp, eureka.StatusOutOfService, ""},
		{false, eureka.StatusDown, eureka.StatusUp, eureka.StatusUp, ""},
		{false, eureka.StatusUp, eureka.StatusDown, eureka.StatusDown, ""},
		{true, eureka.StatusUp, eureka.StatusOutOfService, eureka.StatusOutOfService, ""},
		{true, eureka.StatusOutOfService, eureka.StatusUp, eureka.StatusUp, ""},
		{true, eureka.StatusUp, eureka.StatusStarting, eureka.StatusStarting, ""},
		{true, eureka.StatusUp, eureka.StatusUp, eureka.StatusOutOfService, eureka.StatusOutOfService},
		{true, eureka.StatusUp, eureka.StatusDown, eureka.StatusDown, eureka.StatusOutOfService},
	} {
		t.Run(fmt.Sprintf("isReplication=%t/%s, then %s%s", tt.isReplication, tt.first, tt.then, tt.withAnOverride), func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			key := registry.NewKey("ORDERS", "i-1")
			r.Register(instance("ORDERS", "i-1", tt.first, start), registry.Origin{})
			if tt.withAnOverride != "" {
				r.SetStatus(key, tt.withAnOverride, eureka.NoTimestamp, registry.Origin{})
			}
			c.Add(time.Second)
			r.Register(instance("ORDERS", "i-1", tt.then, start+1), by(tt.isReplication))
			if i, ok := r.Instance(key); !ok || i.Status != tt.want {
				t.Errorf("instance %+v, want status %s", i, tt.want)
			}
		})
	}
}

// Timestamps from the future differ on purpose: a client's counts as the time
// it was accepted at, a replica's is taken as it is.
func TestTimestampsFromTheFuture(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		ldt           int64 // the second register's, a second after the first
		isReplication bool
		stored        bool
	}{
		{"client, before the first was accepted", start - 1, false, false},
		{"client, when it was accepted", start, false, true},
		{"client, later", start + 1000, false, true},
		{"replica, later", start + 1000, true, false},
		{"replica, just before", start + 3_599_999, true, false},
		{"replica, equal", start + 3_600_000, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+3_600_000), registry.Origin{})
			c.Add(time.Second)
			if got := r.Register(instance("ORDERS", "i-1", eureka.StatusUp, tt.ldt), by(tt.isReplication)) == registry.OK; got != tt.stored {
				t.Errorf("stored = %t, want %t", got, tt.stored)
			}
		})
	}
}

// The time at which a timestamp from the future was accepted is the same for all nodes,
// as far as they know it, and stays for as long as the instance has that timestamp.
// Else what the client registers after its clock was put right would be older.
func TestTimeOfAcceptance(t *testing.T) {
	t.Parallel()
	const ahead = start + 3_600_000
	key := registry.NewKey("ORDERS", "i-1")
	first := instance("ORDERS", "i-1", eureka.StatusUp, ahead)
	copied := func(t *testing.T, from, to *registry.Registry) {
		entry, _, ok := from.Entry(key)
		if !ok {
			t.Fatal("no entry")
		}
		to.Join(key, entry, registry.Registered, registry.Origin{Way: registry.ByBatch})
	}
	tests := []struct {
		name string
		do   func(*testing.T, *clock, *registry.Registry) // 20 s pass
	}{
		{"from the client, then metadata", func(_ *testing.T, c *clock, r *registry.Registry) {
			r.Register(first, registry.Origin{})
			c.Add(20 * time.Second)
			r.SetMetadata(key, map[string]string{"zone": "z-2"}, registry.Origin{})
		}},
		{"from the client, then an override and metadata", func(_ *testing.T, c *clock, r *registry.Registry) {
			r.Register(first, registry.Origin{})
			c.Add(20 * time.Second)
			r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
			r.SetMetadata(key, map[string]string{"zone": "z-2"}, registry.Origin{})
		}},
		{"from the client, over a version of a peer whose clock is ahead", func(_ *testing.T, c *clock, r *registry.Registry) {
			old := instance("ORDERS", "i-1", eureka.StatusUp, start-1000)
			r.Join(key, registry.Entry{Record: live(old, start+60_000, eureka.StatusUp)}, registry.Registered, registry.Origin{Way: registry.ByBatch})
			r.Register(first, registry.Origin{})
			c.Add(20 * time.Second)
		}},
		{"from a peer, later", func(t *testing.T, c *clock, r *registry.Registry) {
			peer, _ := newRegistry(t, c)
			peer.Register(first, registry.Origin{})
			c.Add(20 * time.Second)
			copied(t, peer, r)
		}},
		{"from a peer, then its metadata above an override", func(t *testing.T, c *clock, r *registry.Registry) {
			peer, _ := newRegistry(t, c)
			peer.Register(first, registry.Origin{})
			copied(t, peer, r)
			c.Add(20 * time.Second)
			peer.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
			peer.SetMetadata(key, map[string]string{"zone": "z-2"}, registry.Origin{})
			copied(t, peer, r)
		}},
		{"from a snapshot", func(t *testing.T, c *clock, r *registry.Registry) {
			before, _ := newRegistry(t, c)
			before.Register(first, registry.Origin{})
			entry, _, _ := before.Entry(key)
			c.Add(20 * time.Second)
			r.Restore(key, entry, 20*time.Second)
		}},
	}
	for _, tt := range tests {
		for _, later := range []struct {
			ldt  int64
			want registry.Outcome
		}{{start - 1, registry.Kept}, {start + 1, registry.OK}} {
			t.Run(fmt.Sprintf("%s, registers %+d", tt.name, later.ldt-start), func(t *testing.T) {
				c := newClock()
				r, _ := newRegistry(t, c)
				tt.do(t, c, r)
				if _, _, ok := r.Entry(key); !ok {
					t.Fatal("no entry")
				}
				if got := r.Register(instance("ORDERS", "i-1", eureka.StatusUp, later.ldt), registry.Origin{}); got != later.want {
					t.Errorf("outcome %v, want %v", got, later.want)
				}
			})
		}
	}
}
