package registry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const whole = registry.Registered | registry.Overridden

// randomEntry returns an entry with small versions, so that they often meet
// equal ones, and a lease that has not expired.
func randomEntry(rnd *rand.Rand) registry.Entry {
	var e registry.Entry
	version, ldt := 1+rnd.Int64N(3), start-1-rnd.Int64N(2)
	if rnd.IntN(4) == 0 {
		e.Record = tombstone(version, ldt, 90*time.Second)
	} else {
		i := instance("ORDERS", "i-1", eureka.StatusUp, ldt)
		i.HostName = pick(rnd, []string{"host-0", "host-1"})
		if rnd.IntN(2) == 0 {
			i.Metadata = map[string]string{"zone": "1"}
		}
		e.Record = live(i, version, pick(rnd, statuses()))
	}
	if rnd.IntN(3) > 0 {
		e.Override = registry.Override{Version: 1 + rnd.Int64N(3), Set: rnd.IntN(2) == 0, Status: pick(rnd, statuses())}
	}
	e.Age = time.Duration(rnd.IntN(80)) * time.Second
	return e
}

// recordWins and overrideWins are docs/convergence.md's orders, written down again.
func recordWins(a, b *registry.Record) bool {
	switch {
	case a.Version != b.Version:
		return a.Version > b.Version
	case a.Live != b.Live:
		return a.Live
	default:
		return a.Hash > b.Hash
	}
}

func overrideWins(a, b *registry.Override) bool {
	switch {
	case a.Version != b.Version:
		return a.Version > b.Version
	case a.Set != b.Set:
		return a.Set
	default:
		return a.Hash() > b.Hash()
	}
}

// merged is the join of entries, part by part.
func merged(entries []registry.Entry) registry.Entry {
	m := entries[0]
	for _, e := range entries[1:] {
		if recordWins(&e.Record, &m.Record) {
			m.Record = e.Record
		}
		if overrideWins(&e.Override, &m.Override) {
			m.Override = e.Override
		}
		m.Age = min(m.Age, e.Age)
	}
	return m
}

func text(e registry.Entry) string { return fmt.Sprintf("%s, lease %v old", part(e), e.Age) }

func entryText(r *registry.Registry, key registry.Key) string {
	e, _, ok := r.Entry(key)
	if !ok {
		return "none"
	}
	return text(e)
}

func TestAfterIsATotalOrder(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(randomSeed(t), 0))
	for range 3000 {
		a, b := randomEntry(rnd), randomEntry(rnd)
		if got, want := a.Record.After(&b.Record), recordWins(&a.Record, &b.Record); got != want {
			t.Fatalf("%s after %s = %t, want %t", recordText(&a.Record), recordText(&b.Record), got, want)
		}
		if got, want := a.Override.After(&b.Override), overrideWins(&a.Override, &b.Override); got != want {
			t.Fatalf("%s after %s = %t, want %t", overrideText(a.Override), overrideText(b.Override), got, want)
		}
	}
}

// In any order, with duplicates, nodes end with the same.
func TestJoinIsCommutativeAndIdempotent(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	key := registry.NewKey("ORDERS", "i-1")
	for n := range 3000 * *effortFlag {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)))
		entries := make([]registry.Entry, 1+rnd.IntN(5))
		for i := range entries {
			entries[i] = randomEntry(rnd)
		}
		want := text(merged(entries))
		for range 2 {
			r, _ := newRegistry(t, newClock())
			order := append(rnd.Perm(len(entries)), rnd.IntN(len(entries)), rnd.IntN(len(entries)))
			for _, i := range order {
				r.Join(key, entries[i], whole, registry.Origin{Way: registry.ByBatch})
			}
			if got := entryText(r, key); got != want {
				t.Fatalf("round %d: joined %v in order %v:\ngot  %s\nwant %s", n, entries, order, got, want)
			}
		}
	}
}

// (a ∨ b) ∨ c = a ∨ (b ∨ c), where a node hands on what it joined.
func TestJoinIsAssociative(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	key := registry.NewKey("ORDERS", "i-1")
	for n := range 2000 * *effortFlag {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)))
		entries := make([]registry.Entry, 2+rnd.IntN(5))
		nodes := make([]*registry.Registry, len(entries))
		c := newClock()
		for i := range entries {
			entries[i] = randomEntry(rnd)
			nodes[i], _ = newRegistry(t, c)
			nodes[i].Join(key, entries[i], whole, registry.Origin{Way: registry.ByBatch})
		}
		for len(nodes) > 1 { // A random node is joined into another, and gone.
			i := rnd.IntN(len(nodes))
			from := nodes[i]
			nodes = append(nodes[:i], nodes[i+1:]...)
			into := pick(rnd, nodes)
			e, _, ok := from.Entry(key)
			if !ok {
				t.Fatalf("round %d: a node lost its entry", n)
			}
			into.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
		}
		if got, want := entryText(nodes[0], key), text(merged(entries)); got != want {
			t.Fatalf("round %d: %v\ngot  %s\nwant %s", n, entries, got, want)
		}
	}
}

// joining is a step of TestJoinByParts.
type joining struct {
	entry   registry.Entry
	carried registry.Bits
}

func (j joining) String() string { return fmt.Sprintf("carried %v: %s", j.carried, text(j.entry)) }

// join is what Join has to do for leases that have not expired.
func (j joining) join(have *registry.Entry) (*registry.Entry, registry.Outcome) {
	withRecord := j.carried&registry.Registered != 0
	withOverride := withRecord || j.carried&registry.Overridden != 0
	in := j.entry
	if have == nil {
		if !withRecord {
			return nil, registry.NotFound
		}
		return &in, registry.OK
	}
	now := *have
	now.Age = min(now.Age, in.Age)
	if withRecord && recordWins(&in.Record, &now.Record) {
		now.Record = in.Record
	}
	if withOverride && overrideWins(&in.Override, &now.Override) {
		now.Override = in.Override
	}
	switch {
	case !withRecord && recordWins(&in.Record, &now.Record),
		!withOverride && overrideWins(&in.Override, &now.Override):
		return &now, registry.NotFound
	case recordWins(&now.Record, &in.Record), overrideWins(&now.Override, &in.Override):
		return &now, registry.Conflict
	default:
		return &now, registry.OK
	}
}

// sent is what arrives: without the content where it is not carried.
func (j joining) sent() registry.Entry {
	e := j.entry
	if j.carried&registry.Registered == 0 {
		e.Record.Info = nil
	}
	return e
}

func TestJoinByParts(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	random := func(rnd *rand.Rand) joining {
		return joining{randomEntry(rnd), pick(rnd, []registry.Bits{0, registry.Overridden, registry.Registered, whole})}
	}
	checkHistories(t, 3000, 6, random, func(history []joining) error {
		r, sink := newRegistry(t, newClock())
		var have *registry.Entry
		for n, j := range history {
			var want registry.Outcome
			have, want = j.join(have)
			got, reply := r.Join(key, j.sent(), j.carried, registry.Origin{Way: registry.ByBatch})
			if got != want {
				return fmt.Errorf("step %d: outcome %v, want %v", n, got, want)
			}
			wantText := "none"
			if have != nil {
				wantText = text(*have)
			}
			if gotText := entryText(r, key); gotText != wantText {
				return fmt.Errorf("step %d:\ngot  %s\nwant %s", n, gotText, wantText)
			}
			if got == registry.Conflict && text(reply) != wantText {
				return fmt.Errorf("step %d: 409 with %s, want %s", n, text(reply), wantText)
			}
			for _, ch := range sink.take() {
				if !ch.IsReplication {
					return fmt.Errorf("step %d: Sink got %+v, which would be sent on", n, ch)
				}
			}
		}
		return nil
	})
}

func TestJoinOutcomes(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	up := instance("ORDERS", "i-1", eureka.StatusUp, start)
	entry := func(rv int64, alive bool, o registry.Override) registry.Entry {
		e := registry.Entry{Override: o}
		if alive {
			e.Record = live(up, rv, eureka.StatusUp)
		} else {
			e.Record = tombstone(rv, start, 90*time.Second)
		}
		return e
	}
	set := func(v int64) registry.Override {
		return registry.Override{Version: v, Set: true, Status: eureka.StatusOutOfService}
	}
	none := registry.Override{}
	for _, tt := range []struct {
		name    string
		ours    []registry.Entry
		in      registry.Entry
		carried registry.Bits
		want    registry.Outcome
	}{
		{"heartbeat, unknown", nil, entry(5, true, none), 0, registry.NotFound},
		{"status, unknown", nil, entry(5, true, set(6)), registry.Overridden, registry.NotFound},
		{"register, unknown", nil, entry(5, true, none), whole, registry.OK},
		{"cancel, unknown", nil, entry(5, false, none), whole, registry.OK},
		{"heartbeat, equal", []registry.Entry{entry(5, true, set(6))}, entry(5, true, set(6)), 0, registry.OK},
		{"heartbeat, newer record", []registry.Entry{entry(5, true, none)}, entry(6, true, none), 0, registry.NotFound},
		{"heartbeat, newer override", []registry.Entry{entry(5, true, set(6))}, entry(5, true, set(7)), 0, registry.NotFound},
		{"heartbeat, newer record, older override", []registry.Entry{entry(5, true, set(9))}, entry(6, true, set(7)), 0, registry.NotFound},
		{"heartbeat, older record", []registry.Entry{entry(5, true, none)}, entry(4, true, none), 0, registry.Conflict},
		{"heartbeat, older override", []registry.Entry{entry(5, true, set(6))}, entry(5, true, none), 0, registry.Conflict},
		{"heartbeat, on a newer tombstone", []registry.Entry{entry(5, false, none)}, entry(4, true, none), 0, registry.Conflict},
		{"heartbeat, on an older tombstone", []registry.Entry{entry(5, false, none)}, entry(6, true, none), 0, registry.NotFound},
		{"heartbeat, on a tombstone of the same version", []registry.Entry{entry(5, false, none)}, entry(5, true, none), 0, registry.NotFound},
		{"status, newer", []registry.Entry{entry(5, true, none)}, entry(5, true, set(6)), registry.Overridden, registry.OK},
		{"status, older", []registry.Entry{entry(5, true, set(7))}, entry(5, true, set(6)), registry.Overridden, registry.Conflict},
		{"status newer, record newer", []registry.Entry{entry(5, true, none)}, entry(6, true, set(7)), registry.Overridden, registry.NotFound},
		{"status newer, record older", []registry.Entry{entry(5, true, none)}, entry(4, true, set(7)), registry.Overridden, registry.Conflict},
		{"register, newer", []registry.Entry{entry(5, true, none)}, entry(6, true, none), whole, registry.OK},
		{"register, older", []registry.Entry{entry(5, true, none)}, entry(4, true, none), whole, registry.Conflict},
		{"register newer, override older", []registry.Entry{entry(5, true, set(9))}, entry(6, true, set(7)), whole, registry.Conflict},
		{"register, on a newer tombstone", []registry.Entry{entry(5, false, none)}, entry(4, true, none), whole, registry.Conflict},
		{"cancel, newer", []registry.Entry{entry(5, true, none)}, entry(6, false, none), whole, registry.OK},
		{"cancel, older", []registry.Entry{entry(5, true, none)}, entry(4, false, none), whole, registry.Conflict},
		{"cancel of the same version", []registry.Entry{entry(5, true, none)}, entry(5, false, none), whole, registry.Conflict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newRegistry(t, newClock())
			for _, e := range tt.ours {
				r.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
			}
			got, reply := r.Join(key, joining{tt.in, tt.carried}.sent(), tt.carried, registry.Origin{Way: registry.ByBatch})
			if got != tt.want {
				t.Errorf("outcome %v, want %v; now %s", got, tt.want, entryText(r, key))
			}
			if got == registry.Conflict && text(reply) != entryText(r, key) {
				t.Errorf("409 with %s, want ours: %s", text(reply), entryText(r, key))
			}
			if got == registry.NotFound && tt.ours == nil && r.Len() != 0 {
				t.Errorf("404, but %d entries stored", r.Len())
			}
		})
	}
}

// What a node takes, by the lease that comes with it, long after its start.
func TestJoinTakesByLease(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	up := instance("ORDERS", "i-1", eureka.StatusUp, start)
	short := instance("ORDERS", "i-1", eureka.StatusUp, start)
	short.LeaseInfo = eureka.LeaseInfo{DurationInSecs: 10, RenewalIntervalInSecs: 30}
	for _, tt := range []struct {
		name  string
		in    registry.Entry
		taken bool
	}{
		{"live, about to expire", registry.Entry{Record: live(up, 5, eureka.StatusUp), Age: 90_000 * time.Millisecond}, true},
		{"live, expired", registry.Entry{Record: live(up, 5, eureka.StatusUp), Age: 90_001 * time.Millisecond}, false},
		{"live, interval and 5 s", registry.Entry{Record: live(short, 5, eureka.StatusUp), Age: 35_000 * time.Millisecond}, true},
		{"live, past interval and 5 s", registry.Entry{Record: live(short, 5, eureka.StatusUp), Age: 35_001 * time.Millisecond}, false},
		{"tombstone, expired", registry.Entry{Record: tombstone(5, start, 90*time.Second), Age: 91 * time.Second}, true},
		{"tombstone, about to retire", registry.Entry{Record: tombstone(5, start, 90*time.Second), Age: 480_000 * time.Millisecond}, true},
		{"tombstone, retired", registry.Entry{Record: tombstone(5, start, 90*time.Second), Age: 480_001 * time.Millisecond}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			c.Add(time.Hour)
			if got, _ := r.Join(key, tt.in, whole, registry.Origin{Way: registry.ByBatch}); got != registry.OK {
				t.Errorf("outcome %v, want 200: a Register or Cancel is never 404", got)
			}
			_, _, ok := r.Entry(key)
			if ok != tt.taken {
				t.Errorf("taken = %t, want %t", ok, tt.taken)
			}
			if _, present := r.Instance(key); present != (tt.taken && tt.in.Record.Live) {
				t.Errorf("present = %t", present)
			}
		})
	}
}

// A retired tombstone is not taken over a live one either.
func TestJoinDeclinesRetiredTombstone(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	c := newClock()
	r, _ := newRegistry(t, c)
	c.Add(time.Hour)
	now := c.Now().UnixMilli()
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
	r.Join(key, registry.Entry{Record: tombstone(now+1, start, 90*time.Second), Age: 480_001 * time.Millisecond}, whole, registry.Origin{Way: registry.ByBatch})
	if _, ok := r.Instance(key); !ok {
		t.Error("a retired tombstone ended a live instance")
	}
	r.Join(key, registry.Entry{Record: tombstone(now+1, start, 90*time.Second), Age: 480_000 * time.Millisecond}, whole, registry.Origin{Way: registry.ByBatch})
	if _, ok := r.Instance(key); ok {
		t.Error("a tombstone that is not retired did not end the instance")
	}
}

// An evicted instance comes back only with a lease that has not expired.
func TestJoinOfEvicted(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name    string
		newer   bool // the peer's record is
		dead    bool
		carried registry.Bits
		age     time.Duration
		back    bool
	}{
		{"heartbeat, fresh", false, false, 0, 0, true},
		{"heartbeat, about to expire", false, false, 0, 90_000 * time.Millisecond, true},
		{"heartbeat, expired", false, false, 0, 90_001 * time.Millisecond, false},
		{"status, fresh", false, false, registry.Overridden, 0, true},
		{"status, expired", false, false, registry.Overridden, 2 * time.Minute, false},
		{"register, fresh", true, false, whole, 0, true},
		{"register, expired", true, false, whole, 90_001 * time.Millisecond, false},
		{"cancel", true, true, whole, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			c.Add(200 * time.Second)
			if n := r.Evict(); n != 1 {
				t.Fatalf("evicted %d, want 1", n)
			}
			c.Add(5 * time.Second)
			r.Delta() // What comes now is seen in the next.
			ours, evicted, ok := r.Entry(key)
			if !ok || !evicted {
				t.Fatalf("entry = %t, evicted = %t, want both", ok, evicted)
			}
			in := ours
			in.Age = tt.age
			if tt.newer {
				info := clone(ours.Record.Info)
				info.HostName = "another"
				in.Record = live(info, ours.Record.Version+1, eureka.StatusUp)
			}
			if tt.dead {
				in.Record = tombstone(ours.Record.Version+1, start, 90*time.Second)
			}
			before := r.Generation()
			if got, _ := r.Join(key, joining{in, tt.carried}.sent(), tt.carried, registry.Origin{Way: registry.ByBatch}); got != registry.OK {
				t.Errorf("outcome %v, want 200", got)
			}
			i, back := r.Instance(key)
			if back != tt.back {
				t.Errorf("back = %t, want %t", back, tt.back)
			}
			e, evicted, _ := r.Entry(key)
			if part(e) != part(in) {
				t.Errorf("entry %s, want %s", part(e), part(in))
			}
			if in.Record.Live && evicted == tt.back {
				t.Errorf("evicted = %t", evicted)
			}
			if changed := r.Generation() != before; changed != tt.back {
				t.Errorf("generation changed = %t, want %t", changed, tt.back)
			}
			if back && i.ActionType != eureka.Added {
				t.Errorf("action type %s, want ADDED: it is present again", i.ActionType)
			}
		})
	}
}

// What a join does to the delta.
func TestJoinEntersDelta(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	c := newClock()
	r, _ := newRegistry(t, c)
	info := instance("ORDERS", "i-1", eureka.StatusUp, start)
	set := registry.Override{Version: 10, Set: true, Status: eureka.StatusOutOfService}
	steps := []struct {
		name    string
		in      registry.Entry
		carried registry.Bits
		want    eureka.ActionType // "": the same as before, nothing happened
	}{
		{"new", registry.Entry{Record: live(info, 5, eureka.StatusUp)}, whole, eureka.Added},
		{"again", registry.Entry{Record: live(info, 5, eureka.StatusUp)}, whole, ""},
		{"heartbeat", registry.Entry{Record: live(info, 5, eureka.StatusUp)}, 0, ""},
		{"override", registry.Entry{Record: live(info, 5, eureka.StatusUp), Override: set}, registry.Overridden, eureka.Modified},
		{"override again", registry.Entry{Record: live(info, 5, eureka.StatusUp), Override: set}, registry.Overridden, ""},
		{"old record", registry.Entry{Record: live(info, 4, eureka.StatusUp), Override: set}, whole, ""},
		{"new record", registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start+1), 6, eureka.StatusUp), Override: set}, whole, eureka.Added},
		{"dead", registry.Entry{Record: tombstone(7, start+1, 90*time.Second), Override: set}, whole, eureka.Deleted},
		{"dead again", registry.Entry{Record: tombstone(7, start+1, 90*time.Second), Override: set}, whole, ""},
		{"live again", registry.Entry{Record: live(info, 8, eureka.StatusUp), Override: set}, whole, eureka.Added},
	}
	var last *eureka.InstanceInfo
	for _, s := range steps {
		c.Add(time.Second)
		before := r.Generation()
		r.Join(key, joining{s.in, s.carried}.sent(), s.carried, registry.Origin{Way: registry.ByBatch})
		delta := instances(r.Delta())
		if len(delta) != 1 {
			t.Fatalf("%s: %d instances in the delta, want 1", s.name, len(delta))
		}
		got := delta[0]
		if changed := r.Generation() != before; changed != (s.want != "") {
			t.Errorf("%s: generation changed = %t", s.name, changed)
		}
		if s.want == "" {
			if got.ActionType != last.ActionType || got.LastUpdatedTimestamp != last.LastUpdatedTimestamp {
				t.Errorf("%s: %s at %s, want it as before", s.name, got.ActionType, ms(got.LastUpdatedTimestamp))
			}
			continue
		}
		last = got
		if now := c.Now().UnixMilli(); got.ActionType != s.want || got.LastUpdatedTimestamp != now {
			t.Errorf("%s: %s at %s, want %s at %s", s.name, got.ActionType, ms(got.LastUpdatedTimestamp), s.want, ms(now))
		}
	}
}
