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
			if stored := r.Register(i, by(a.isReplication)) == registry.OK; stored == older {
				return fmt.Errorf("step %d, %v: stored = %t, want %t", n, a, stored, !older)
			}
		case renew:
			want = j.renew(a.ldt, a.overridden, a.isReplication)
			var ours *eureka.InstanceInfo
			got, ours = r.Renew(key, a.ldt, a.overridden, by(a.isReplication))
			if got == registry.Conflict && (ours == nil || ours.LastDirtyTimestamp != j.lease.ldt) {
				return fmt.Errorf("step %d, %v: 409 with %+v, want the instance of %s", n, a, ours, ms(j.lease.ldt))
			}
		case cancel:
			want, got = j.cancel(), r.Cancel(key, by(a.isReplication))
		case setStatus:
			want, got = j.statusUpdate(a.status, a.ldt), r.SetStatus(key, a.status, a.ldt, by(a.isReplication))
		case deleteStatus:
			want, got = j.deleteStatusOverride(a.status, a.ldt), r.DeleteStatusOverride(key, a.status, a.ldt, by(a.isReplication))
		case metadata:
			want, got = j.metadata(a.pairs), r.SetMetadata(key, a.pairs, registry.Origin{})
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
