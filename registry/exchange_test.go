package registry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Any one item, then what its answer asks for, makes two nodes equal; also the
// item that carries the override alone.
func TestOneExchangeMakesEqual(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	key := registry.NewKey("ORDERS", "i-1")
	for n := range 4000 * *effortFlag {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)))
		c := newClock()
		a, _ := newRegistry(t, c)
		b, _ := newRegistry(t, c)
		first := randomEntry(rnd)
		a.Join(key, first, whole, registry.Origin{Way: registry.ByBatch})
		if rnd.IntN(5) > 0 {
			b.Join(key, randomEntry(rnd), whole, registry.Origin{Way: registry.ByBatch})
		}
		was := entryText(b, key)
		e, _, _ := a.Entry(key)
		carried := pick(rnd, []registry.Bits{0, registry.Overridden, whole})
		log := []string{}
		for round, next := 0, carried; ; round++ {
			got, reply := b.Join(key, joining{e, next}.sent(), next, registry.Origin{Way: registry.ByBatch})
			log = append(log, fmt.Sprintf("carried %v: %v", next, got))
			if round > 1 {
				t.Fatalf("round %d: %v: no end", n, log)
			}
			if got == registry.NotFound {
				next = whole
				continue
			}
			if got == registry.Conflict {
				a.Join(key, reply, whole, registry.Origin{Way: registry.ByBatch})
			}
			break
		}
		ea, _, _ := a.Entry(key)
		eb, _, ok := b.Entry(key)
		if !ok || part(ea) != part(eb) {
			t.Fatalf("round %d: %s to %s: %v\nsender   %s\nreceiver %s", n, text(first), was, log, text(ea), entryText(b, key))
		}
	}
}

// Nodes with different clocks take clients' actions and each other's items,
// late, twice or never; then they exchange copies until nothing changes.
func TestNodesAgreeOnceQuiet(t *testing.T) {
	t.Parallel()
	type item struct {
		key     registry.Key
		entry   registry.Entry
		carried registry.Bits
	}
	seed := randomSeed(t)
	keys := []registry.Key{registry.NewKey("ORDERS", "i-1"), registry.NewKey("ORDERS", "i-2"), registry.NewKey("STOCK", "i-1")}
	for n := range 400 * *effortFlag {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)))
		clocks := make([]*clock, 3)
		nodes := make([]*registry.Registry, 3)
		for i := range nodes {
			clocks[i] = newClock()
			clocks[i].Add(time.Duration(rnd.IntN(4000)-2000) * time.Millisecond)
			nodes[i], _ = newRegistry(t, clocks[i])
		}
		var onTheWay []item
		for range 30 {
			for _, c := range clocks {
				c.Add(100 * time.Millisecond)
			}
			r, key, a := pick(rnd, nodes), pick(rnd, keys), pastAction(rnd)
			switch a.kind {
			case register:
				i := instance(key.App, key.ID, a.status, a.ldt)
				i.OverriddenStatus = a.overridden
				i.HostName = fmt.Sprint(a.content)
				r.Register(i, registry.Origin{})
			case renew, evict:
				r.Renew(key, a.ldt, "", registry.Origin{})
			case cancel:
				r.Cancel(key, registry.Origin{})
			case setStatus:
				r.SetStatus(key, a.status, a.ldt, registry.Origin{})
			case deleteStatus:
				r.DeleteStatusOverride(key, a.status, a.ldt, registry.Origin{})
			case metadata:
				r.SetMetadata(key, a.pairs, registry.Origin{})
			}
			if e, _, ok := r.Entry(key); ok {
				onTheWay = append(onTheWay, item{key, e, pick(rnd, []registry.Bits{0, registry.Overridden, whole})})
			}
			for len(onTheWay) > 0 && rnd.IntN(2) == 0 {
				i := rnd.IntN(len(onTheWay))
				it := onTheWay[i]
				pick(rnd, nodes).Join(it.key, joining{it.entry, it.carried}.sent(), it.carried, registry.Origin{Way: registry.ByBatch})
				if rnd.IntN(2) == 0 {
					onTheWay = append(onTheWay[:i], onTheWay[i+1:]...)
				}
			}
		}
		for quiet, rounds := false, 0; !quiet; rounds++ {
			if rounds > 3 {
				t.Fatalf("history %d: still changing after %d rounds", n, rounds)
			}
			quiet = true
			for _, from := range nodes {
				for key := range from.All() {
					e, _, _ := from.Entry(key)
					for _, to := range nodes {
						before, _, _ := to.Entry(key)
						to.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
						after, _, _ := to.Entry(key)
						quiet = quiet && part2(before) == part2(after)
					}
				}
			}
		}
		for i, r := range nodes[1:] {
			for _, key := range keys {
				a, _, okA := nodes[0].Entry(key)
				b, _, okB := r.Entry(key)
				if okA != okB || part2(a) != part2(b) {
					t.Fatalf("history %d: %v: node 0 has %s, node %d has %s", n, key, part2(a), i+1, part2(b))
				}
			}
			a, b := nodes[0].Applications(), r.Applications()
			if a.HashCode != b.HashCode || !sameInstances(instances(a), instances(b), shared) {
				t.Fatalf("history %d: lists differ: %s and %s", n, a.HashCode, b.HashCode)
			}
		}
	}
}

// part2 is part, also of no entry.
func part2(e registry.Entry) string {
	if e.Record.Version == 0 {
		return "none"
	}
	return part(e)
}

// A node that has heard of an override alone keeps it through an old register.
func TestPartsAreIndependent(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	c := newClock()
	here, _ := newRegistry(t, c)
	there, _ := newRegistry(t, c)
	here.Register(instance("ORDERS", "i-1", eureka.StatusUp, start-10), registry.Origin{})
	e, _, _ := here.Entry(key)
	there.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
	c.Add(time.Second) // Partition: an override here, later a registration there.
	here.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	c.Add(time.Second)
	there.Register(instance("ORDERS", "i-1", eureka.StatusUp, start-5), registry.Origin{})
	for range 2 {
		a, _, _ := here.Entry(key)
		b, _, _ := there.Entry(key)
		here.Join(key, b, whole, registry.Origin{Way: registry.ByBatch})
		there.Join(key, a, whole, registry.Origin{Way: registry.ByBatch})
	}
	for name, r := range map[string]*registry.Registry{"here": here, "there": there} {
		i, ok := r.Instance(key)
		if !ok || i.Status != eureka.StatusOutOfService || i.LastDirtyTimestamp != start-5 {
			t.Errorf("%s: %+v, want OUT_OF_SERVICE with the newer registration", name, i)
		}
	}
}

// The member that travels carries an entry whole.
func TestStateRoundTrip(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(randomSeed(t), 0))
	for range 500 {
		want := randomEntry(rnd)
		st := want.State(250 * time.Millisecond)
		if st.Wait != 250 {
			t.Fatalf("wait = %d ms, want 250", st.Wait)
		}
		got, err := registry.FromState(st, want.Record.Info)
		if err != nil {
			t.Fatalf("FromState of %s: %v", text(want), err)
		}
		if text(got) != text(want) {
			t.Fatalf("got  %s\nwant %s", text(got), text(want))
		}
		if want.Record.Live {
			other := clone(want.Record.Info)
			other.IPAddr = "10.9.9.9"
			if _, err := registry.FromState(st, other); err == nil {
				t.Fatal("a content without the hash that it claims was taken")
			}
		}
	}
}
