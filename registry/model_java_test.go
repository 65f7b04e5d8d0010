package registry_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// java is Eureka's AbstractInstanceRegistry and the calls of InstanceResource
// that matter, for one instance: a lease map and an override map with room for
// one key each, and the rule chain.
type java struct {
	lease    *javaInstance // nil: no lease
	override eureka.Status // "": not in the map

	// Not Eureka's: what a cancel ended, for the one rule that differs on
	// purpose where a replica registers.
	cancelled *int64
}

type javaInstance struct {
	host               string
	status, overridden eureka.Status
	ldt                int64
	metadata           map[string]string
}

// rules is PeerAwareInstanceRegistryImpl's chain, first match wins.
func (j *java) rules(i, existing *javaInstance, isReplication bool) eureka.Status {
	if i.status != eureka.StatusUp && i.status != eureka.StatusOutOfService {
		return i.status // DownOrStartingRule
	}
	if j.override != "" {
		return j.override // OverrideExistsRule
	}
	if existing != nil && !isReplication { // LeaseExistsRule
		if s := existing.status; s == eureka.StatusUp || s == eureka.StatusOutOfService {
			return s
		}
	}
	return i.status // AlwaysMatchInstanceStatusRule
}

func (j *java) register(i javaInstance, isReplication bool) {
	if isReplication && j.lease == nil && j.cancelled != nil && i.ldt <= *j.cancelled {
		return // Deliberate: the replica has not heard of the cancel.
	}
	registrant, existing := &i, (*javaInstance)(nil)
	if j.lease != nil {
		before := *j.lease
		existing = &before
		if existing.ldt > registrant.ldt {
			registrant = j.lease
		}
	}
	if registrant.overridden != eureka.StatusUnknown && j.override == "" {
		j.override = registrant.overridden
	}
	if j.override != "" {
		registrant.overridden = j.override
	}
	registrant.status = j.rules(registrant, existing, isReplication)
	j.lease = registrant
}

func (j *java) renew(t int64, overridden eureka.Status, isReplication bool) registry.Outcome {
	if j.lease == nil {
		return registry.NotFound
	}
	status := j.rules(j.lease, j.lease, isReplication)
	if status == eureka.StatusUnknown {
		return registry.NotFound
	}
	j.lease.status = status
	switch {
	case t == eureka.NoTimestamp || t == j.lease.ldt:
		return registry.OK
	case t > j.lease.ldt:
		if isReplication && overridden != "" && overridden != eureka.StatusUnknown && overridden != j.override {
			j.override = overridden
			j.lease.overridden = overridden
			// Deliberate: Eureka shows it with the next renewal only.
			j.lease.status = j.rules(j.lease, j.lease, true)
		}
		return registry.NotFound
	case isReplication:
		return registry.Conflict
	default:
		return registry.OK
	}
}

func (j *java) cancel() registry.Outcome {
	j.override = ""
	if j.lease == nil {
		return registry.NotFound
	}
	j.cancelled = new(j.lease.ldt)
	j.lease = nil
	return registry.OK
}

func (j *java) statusUpdate(s eureka.Status, t int64) registry.Outcome {
	if j.lease == nil {
		return registry.NotFound
	}
	if j.lease.status != s {
		j.override = s
		j.lease.overridden = s
		j.lease.status = s
		j.lease.ldt = max(j.lease.ldt, t)
	}
	return registry.OK
}

func (j *java) deleteStatusOverride(s eureka.Status, t int64) registry.Outcome {
	if j.lease == nil {
		return registry.NotFound
	}
	if j.override != "" {
		j.override = ""
		j.lease.overridden = eureka.StatusUnknown
		j.lease.status = s
		j.lease.ldt = max(j.lease.ldt, t)
	}
	return registry.OK
}

func (j *java) metadata(pairs map[string]string) registry.Outcome {
	if j.lease == nil {
		return registry.NotFound
	}
	again := *j.lease
	again.metadata = maps.Clone(again.metadata)
	maps.Copy(again.metadata, pairs)
	j.register(again, false)
	return registry.OK
}

type kind string

const (
	register     kind = "register"
	renew        kind = "renew"
	cancel       kind = "cancel"
	setStatus    kind = "statusUpdate"
	deleteStatus kind = "deleteStatusOverride"
	metadata     kind = "metadata"
	evict        kind = "evict"
)

// action is a step of a random history.
type action struct {
	kind          kind
	status        eureka.Status
	overridden    eureka.Status
	ldt           int64 // NoTimestamp: left out
	content       int   // which data an instance has
	pairs         map[string]string
	isReplication bool
	after         time.Duration // the clock moves by it, before
}

func (a action) String() string {
	s := fmt.Sprintf("%+d ms: %s", a.after.Milliseconds(), a.kind)
	switch a.kind {
	case register:
		s += fmt.Sprintf(" %s override=%s content=%d", a.status, a.overridden, a.content)
	case renew:
		s += fmt.Sprintf(" override=%q", a.overridden)
	case setStatus, deleteStatus:
		s += " " + string(a.status)
	case metadata:
		s += fmt.Sprintf(" %v", a.pairs)
	case cancel, evict:
	}
	switch a.kind {
	case register, renew, setStatus, deleteStatus:
		if a.ldt == eureka.NoTimestamp {
			s += " no timestamp"
		} else {
			s += " ldt=" + ms(a.ldt)
		}
	case cancel, metadata, evict:
	}
	if a.isReplication {
		s += " isReplication"
	}
	return s
}

// pastAction returns an action with a timestamp out of the past, if any.
func pastAction(rnd *rand.Rand) action {
	a := action{
		kind:       pick(rnd, []kind{register, register, register, renew, renew, cancel, setStatus, setStatus, deleteStatus, metadata}),
		status:     pick(rnd, statuses()),
		overridden: eureka.StatusUnknown,
		ldt:        start - 10 + rnd.Int64N(5),
		content:    rnd.IntN(3),
		pairs:      map[string]string{pick(rnd, []string{"zone", "marker"}): pick(rnd, []string{"0", "1"})},
		after:      time.Duration(rnd.IntN(3)) * 700 * time.Millisecond,
	}
	if rnd.IntN(4) == 0 {
		a.overridden = pick(rnd, statuses())
	}
	if rnd.IntN(4) == 0 {
		a.ldt = eureka.NoTimestamp
	}
	return a
}

// anyDoorAction is a pastAction that may come from a replica.
func anyDoorAction(rnd *rand.Rand) action {
	a := pastAction(rnd)
	a.isReplication = a.kind != metadata && rnd.IntN(2) == 0
	return a
}

// info returns the instance that a register posts.
func (a action) info() *eureka.InstanceInfo {
	i := instance("ORDERS", "i-1", a.status, a.ldt)
	i.OverriddenStatus = a.overridden
	i.HostName = fmt.Sprintf("host-%d", a.content)
	i.Metadata = map[string]string{"marker": fmt.Sprint(a.content)}
	if a.content == 0 {
		i.Metadata = nil
	}
	return i
}

// sameAsJava runs a history on a registry and on the model, and compares what
// can be seen after every step.
func sameAsJava(tb testing.TB, history []action) error {
	c := newClock()
	r, _ := newRegistry(tb, c)
	key := registry.NewKey("orders", "i-1")
	var j java
	for n, a := range history {
		c.Add(a.after)
		if a.kind == renew && a.isReplication && a.ldt != eureka.NoTimestamp && j.lease != nil &&
			j.lease.status != eureka.StatusUp && j.lease.status != eureka.StatusOutOfService {
			a.overridden = "" // Eureka would hide the override until the next register.
		}
		if e, _, ok := r.Entry(key); ok && a.kind == register && !a.isReplication && e.Record.Version <= a.ldt && a.ldt < e.Record.LastDirty {
			// A replica's versions may lag behind the time, and then its
			// timestamps look as if they were from the future.
			continue
		}
		got, want := registry.OK, registry.OK
		switch a.kind {
		case register:
			i := a.info()
			at := a.ldt
			if at == eureka.NoTimestamp {
				at = c.Now().UnixMilli()
			}
			data := maps.Clone(i.Metadata)
			if data == nil {
				data = map[string]string{}
			}
			older := j.lease != nil && at < j.lease.ldt ||
				a.isReplication && j.lease == nil && j.cancelled != nil && at <= *j.cancelled
			j.register(javaInstance{i.HostName, a.status, a.overridden, at, data}, a.isReplication)
			if stored := r.Register(i, a.isReplication); stored == older {
				return fmt.Errorf("step %d, %v: stored = %t, want %t", n, a, stored, !older)
			}
		case renew:
			want = j.renew(a.ldt, a.overridden, a.isReplication)
			var ours *eureka.InstanceInfo
			got, ours = r.Renew(key, a.ldt, a.overridden, a.isReplication)
			if got == registry.Conflict && (ours == nil || ours.LastDirtyTimestamp != j.lease.ldt) {
				return fmt.Errorf("step %d, %v: 409 with %+v, want the instance of %s", n, a, ours, ms(j.lease.ldt))
			}
		case cancel:
			want, got = j.cancel(), r.Cancel(key, a.isReplication)
		case setStatus:
			want, got = j.statusUpdate(a.status, a.ldt), r.SetStatus(key, a.status, a.ldt, a.isReplication)
		case deleteStatus:
			want, got = j.deleteStatusOverride(a.status, a.ldt), r.DeleteStatusOverride(key, a.status, a.ldt, a.isReplication)
		case metadata:
			want, got = j.metadata(a.pairs), r.SetMetadata(key, a.pairs)
		case evict:
			return fmt.Errorf("step %d: evictions differ on purpose", n)
		}
		if got != want {
			return fmt.Errorf("step %d, %v: outcome %v, want %v", n, a, got, want)
		}
		if err := equalsJava(r, key, j.lease); err != nil {
			return fmt.Errorf("step %d, %v: %w", n, a, err)
		}
	}
	return nil
}

func equalsJava(r *registry.Registry, key registry.Key, want *javaInstance) error {
	i, ok := r.Instance(key)
	if ok != (want != nil) {
		return fmt.Errorf("present = %t, want %t", ok, want != nil)
	}
	if !ok {
		return nil
	}
	got := javaInstance{i.HostName, i.Status, i.OverriddenStatus, i.LastDirtyTimestamp, maps.Clone(i.Metadata)}
	if got.metadata == nil {
		got.metadata = map[string]string{}
	}
	if !reflect.DeepEqual(got, *want) {
		return fmt.Errorf("got  %+v\nwant %+v", got, *want)
	}
	return nil
}

func TestSameAsJavaFromClients(t *testing.T) {
	t.Parallel()
	checkHistories(t, 5000, 12, pastAction, func(h []action) error { return sameAsJava(t, h) })
}

func TestSameAsJavaFromClientsAndReplicas(t *testing.T) {
	t.Parallel()
	checkHistories(t, 4000, 12, anyDoorAction, func(h []action) error { return sameAsJava(t, h) })
}

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
				r.Register(instance("ORDERS", "i-1", eureka.StatusUp, ldt), false)
				sink.take()
				c.Add(20 * time.Second)
				key := registry.NewKey("ORDERS", "i-1")
				want := tt.client
				if isReplication {
					want = tt.remote
				}
				got, ours := r.Renew(key, tt.t, "", isReplication)
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
		if got, _ := r.Renew(key, start, eureka.StatusDown, isReplication); got != registry.NotFound {
			t.Errorf("isReplication=%t: Renew of an unknown one = %v, want 404", isReplication, got)
		}
		if n := r.Len(); n != 0 {
			t.Errorf("isReplication=%t: a refused renewal left %d entries", isReplication, n)
		}
		r.Register(instance("ORDERS", "i-1", eureka.StatusUnknown, start), false)
		sink.take()
		c.Add(time.Second)
		before, _, _ := r.Entry(key)
		if got, _ := r.Renew(key, start, eureka.StatusDown, isReplication); got != registry.NotFound {
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
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, ldt), false)
			before, _, _ := r.Entry(key)
			r.Renew(key, tt.t, tt.given, tt.isReplication)
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

	if got := r.Cancel(key, true); got != registry.NotFound {
		t.Errorf("Cancel of an unknown one = %v, want 404", got)
	}
	if n := r.Len(); n != 0 {
		t.Errorf("a replica's cancel of an unknown one left %d entries, want no tombstone", n)
	}
	const ldt = start - 5000
	if !r.Register(up(ldt), true) {
		t.Error("the first register was not stored")
	}
	if got := entry().Record.Version; got != ldt {
		t.Errorf("first register has version %s, want its lastDirtyTimestamp %s", ms(got), ms(ldt))
	}
	c.Add(time.Second)
	if r.Register(up(ldt-1), true); entry().Record.Version != ldt {
		t.Errorf("an older register changed the version to %s", ms(entry().Record.Version))
	}
	r.Register(up(ldt+500), true)
	if got := entry().Record.Version; got != ldt+1 {
		t.Errorf("second register has version %s, want known + 1: %s", ms(got), ms(ldt+1))
	}
	r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, true)
	if got, want := entry().Override, (registry.Override{Version: ldt + 2, Set: true, Status: eureka.StatusDown}); got != want {
		t.Errorf("override = %+v, want %+v", got, want)
	}
	r.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, true)
	if got, want := entry().Override, (registry.Override{Version: ldt + 3, Status: eureka.StatusUp}); got != want {
		t.Errorf("override = %+v, want %+v", got, want)
	}
	if got := r.Cancel(key, true); got != registry.OK {
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
		if r.Register(up(old), true) {
			t.Errorf("a register of %s, cancelled at %s, was stored", ms(old), ms(ldt+500))
		}
		if after := part(entry()); after != before {
			t.Errorf("a refused register changed %s to %s", before, after)
		}
	}
	if !r.Register(up(ldt+501), true) {
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
	for n := range 2 { // Two nodes, one hears of it later.
		c := newClock()
		c.Add(time.Duration(n) * time.Minute)
		r, _ := newRegistry(t, c)
		i := instance("ORDERS", "i-1", eureka.StatusUp, start-5000)
		i.OverriddenStatus = eureka.StatusOutOfService
		r.Register(i, true)
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
		t.Errorf("two nodes told the same differ:\n%s\n%s", got[0], got[1])
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
			r.Register(instance("ORDERS", "i-1", tt.first, start), false)
			if tt.withAnOverride != "" {
				r.SetStatus(key, tt.withAnOverride, eureka.NoTimestamp, false)
			}
			c.Add(time.Second)
			r.Register(instance("ORDERS", "i-1", tt.then, start+1), tt.isReplication)
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
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+3_600_000), false)
			c.Add(time.Second)
			if got := r.Register(instance("ORDERS", "i-1", eureka.StatusUp, tt.ldt), tt.isReplication); got != tt.stored {
				t.Errorf("stored = %t, want %t", got, tt.stored)
			}
		})
	}
}
