package consumer_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

func statuses() []eureka.Status {
	return []eureka.Status{
		eureka.StatusUp, eureka.StatusDown, eureka.StatusStarting, eureka.StatusOutOfService, eureka.StatusUnknown,
	}
}

// randomEntry returns an entry of key with small versions, so that they often
// meet equal ones.
func randomEntry(rnd *rand.Rand, key registry.Key) registry.Entry {
	var e registry.Entry
	if v := 1 + rnd.Int64N(3); rnd.IntN(4) == 0 {
		e.Record = tombstone(v)
	} else {
		info := instance(key.App, key.ID, pick(rnd, statuses()), start-1-rnd.Int64N(2))
		info.HostName = pick(rnd, []string{"host-0", "host-1"})
		e.Record = live(info, v)
	}
	if rnd.IntN(3) > 0 {
		e.Override = registry.Override{Version: 1 + rnd.Int64N(3), Set: rnd.IntN(2) == 0, Status: pick(rnd, statuses())}
	}
	e.Age = time.Duration(rnd.IntN(80)) * time.Second
	return e
}

// Batches of several origins, in any order, with duplicates and through lanes of
// whatever sender, end with the same: the greatest parts of all.
func TestOrderOfBatchesIsHarmless(t *testing.T) {
	seed := randomSeed(t)
	const rounds, origins, receivers = 60, 3, 3
	keys := []registry.Key{registry.NewKey("ORDERS", "a"), registry.NewKey("ORDERS", "b"), registry.NewKey("USERS", "a")}
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(seed, uint64(round)))
		known := make(map[registry.Key][]registry.Entry)
		type sent struct {
			from string
			body []byte
		}
		var batches []sent
		for o := range origins {
			from := fmt.Sprintf("origin-%d", o)
			for range 1 + rnd.IntN(4) {
				var list eureka.ReplicationList
				for range 1 + rnd.IntN(4) {
					key := pick(rnd, keys)
					e := randomEntry(rnd, key)
					known[key] = append(known[key], e)
					action := register
					if !e.Record.Live {
						action = cancel
					}
					list = append(list, item(action, key, e))
				}
				batches = append(batches, sent{from, eureka.AppendReplicationList(nil, list)})
			}
		}
		for r := range receivers {
			n := newOpenNode(t, consumer.Options{Queue: 1000})
			order := append(rnd.Perm(len(batches)), rnd.Perm(len(batches))[:rnd.IntN(len(batches))]...)
			rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			answers := make([]<-chan answer, len(order))
			for i, b := range order {
				var req consumer.Request
				req, answers[i] = request(batches[b].from, batches[b].body)
				n.Deliver(req)
			}
			n.Close()
			for i := range answers {
				if len(answers[i]) != 1 || (<-answers[i]).code != 0 {
					t.Fatalf("round %d, receiver %d: batch %d is refused", round, r, i)
				}
			}
			for key, entries := range known {
				if got, want := stored(n.reg, key), text(merged(entries...)); got != want {
					t.Fatalf("round %d, receiver %d, %v, order %v:\ngot  %s\nwant %s", round, r, key, order, got, want)
				}
			}
		}
	}
}

// origin is a node that clients talk to and that sends what they do to its
// peers, as simply as can be: the slots of CONVERGENCE.md and no clock.
type origin struct {
	*node
	name  string
	slots map[string]map[registry.Key]registry.Bits // by peer
}

// Changed adds a client's action to the slot of each peer.
func (o *origin) Changed(c registry.Change) {
	if c.IsReplication {
		return
	}
	for _, slots := range o.slots {
		slots[c.Key] = slots[c.Key].Merge(c.Bits)
	}
}

// flight is a batch under way.
type flight struct {
	from, to string
	keys     []registry.Key
	bits     []registry.Bits
	body     []byte
}

// cut renders the slots of a peer, all of them, in random order.
func (o *origin) cut(rnd *rand.Rand, to string) (flight, bool) {
	f := flight{from: o.name, to: to}
	for key := range o.slots[to] {
		f.keys = append(f.keys, key)
	}
	slices.SortFunc(f.keys, func(a, b registry.Key) int { return strings.Compare(a.String(), b.String()) })
	rnd.Shuffle(len(f.keys), func(i, j int) { f.keys[i], f.keys[j] = f.keys[j], f.keys[i] })
	var list eureka.ReplicationList
	for _, key := range f.keys {
		bits := o.slots[to][key]
		f.bits = append(f.bits, bits)
		e, _, _ := o.reg.Entry(key)
		action := heartbeat
		switch {
		case !e.Record.Live:
			action = cancel
		case bits&(registry.Registered|registry.Cancelled) != 0:
			action = register
		case bits&registry.Overridden != 0:
			action = overrideAction(&e)
		}
		list = append(list, item(action, key, e))
	}
	clear(o.slots[to])
	f.body = eureka.AppendReplicationList(nil, list)
	return f, len(list) > 0
}

// settle acts on the results of a batch.
func (o *origin) settle(t *testing.T, f flight, list []eureka.Result) {
	t.Helper()
	for i, res := range list {
		key := f.keys[i]
		switch res.StatusCode {
		case 200:
		case 404:
			o.slots[f.to][key] = o.slots[f.to][key].Merge(registry.Registered)
		case 409:
			if res.State == nil {
				t.Fatalf("%s -> %s: a conflict without a copy", f.from, f.to)
			}
			e, err := registry.FromState(res.State, res.ResponseEntity)
			if err != nil {
				t.Fatalf("%s -> %s: copy: %v", f.from, f.to, err)
			}
			o.reg.Join(key, e, whole)
		default:
			t.Fatalf("%s -> %s: %v: %d", f.from, f.to, key, res.StatusCode)
		}
	}
}

// lost puts what a batch stood for back into its slots.
func (o *origin) lost(f flight) {
	for i, key := range f.keys {
		o.slots[f.to][key] = f.bits[i].Merge(o.slots[f.to][key])
	}
}

// act lets a client do something at random.
func (o *origin) act(rnd *rand.Rand, key registry.Key) {
	ldt := pick(rnd, []int64{start, start + 1, start + 2, eureka.NoTimestamp})
	status := pick(rnd, statuses())
	switch rnd.IntN(12) {
	case 0, 1:
		info := instance(key.App, key.ID, status, start+rnd.Int64N(3))
		info.HostName = fmt.Sprintf("host-%d", rnd.IntN(3))
		if rnd.IntN(5) == 0 {
			info.OverriddenStatus = eureka.StatusOutOfService
		}
		o.reg.Register(info, false)
	case 2:
		o.reg.Cancel(key, false)
	case 3, 4, 5:
		o.reg.SetStatus(key, status, ldt, false)
	case 6, 7:
		o.reg.DeleteStatusOverride(key, status, ldt, false)
	case 8:
		o.reg.SetMetadata(key, map[string]string{"zone": fmt.Sprint(rnd.IntN(4))})
	default:
		o.reg.Renew(key, ldt, "", false)
	}
}

// Nodes that clients change at the same time, whose batches are lost, late,
// doubled and out of order, agree once every batch has been answered. Overrides
// travel alone here, as StatusUpdate and DeleteStatusOverride.
func TestNodesAgree(t *testing.T) {
	seed := randomSeed(t)
	for round := range 80 {
		runNodes(t, rand.New(rand.NewPCG(seed, uint64(round))), round)
	}
}

func runNodes(t *testing.T, rnd *rand.Rand, round int) {
	t.Helper()
	keys := []registry.Key{registry.NewKey("ORDERS", "a"), registry.NewKey("ORDERS", "b"), registry.NewKey("USERS", "a")}
	names := []string{"node-1", "node-2", "node-3"}
	nodes := make(map[string]*origin)
	for i, name := range names {
		o := &origin{name: name, slots: make(map[string]map[registry.Key]registry.Bits)}
		for _, peer := range names {
			if peer != name {
				o.slots[peer] = make(map[registry.Key]registry.Bits)
			}
		}
		o.node = &node{clock: new(clock)}
		o.clock.ms.Store(start + int64(i)*rnd.Int64N(3000)) // Clocks differ.
		var err error
		if o.reg, err = registry.New(registry.Options{Sink: o, Now: o.clock.Now}); err != nil {
			t.Fatal(err)
		}
		if o.Consumer, err = consumer.New(o.reg, consumer.Options{}); err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		nodes[name] = o
	}
	var under, past []flight
	deliver := func(f flight, replyLost bool) {
		a := nodes[f.to].ask(t, f.from, f.body)
		if replyLost {
			nodes[f.from].lost(f)
			return
		}
		nodes[f.from].settle(t, f, results(t, a, len(f.keys)))
	}
	cut := func(from, to string) {
		if f, some := nodes[from].cut(rnd, to); some {
			under, past = append(under, f), append(past, f)
		}
	}
	for range 150 {
		switch from := pick(rnd, names); rnd.IntN(8) {
		case 0, 1:
			nodes[from].act(rnd, pick(rnd, keys))
		case 2, 3, 4:
			if to := pick(rnd, names); to != from {
				cut(from, to)
			}
		case 5, 6:
			if len(under) > 0 {
				i := rnd.IntN(len(under))
				f := under[i]
				under = slices.Delete(under, i, i+1)
				switch rnd.IntN(4) {
				case 0: // Lost on its way.
					nodes[f.from].lost(f)
				default:
					deliver(f, rnd.IntN(4) == 0)
				}
			}
		default: // An old batch once more; nobody waits for its reply.
			if len(past) > 0 {
				f := pick(rnd, past)
				nodes[f.to].ask(t, f.from, f.body)
			}
		}
		for _, o := range nodes {
			o.clock.Add(time.Duration(rnd.IntN(3)) * time.Millisecond)
		}
	}
	for turn := 0; ; turn++ {
		for _, from := range names {
			for _, to := range names {
				if from != to {
					cut(from, to)
				}
			}
		}
		if len(under) == 0 {
			break
		}
		if turn == 20 {
			t.Fatalf("round %d: still something to send after %d turns", round, turn)
		}
		for _, f := range under {
			deliver(f, false)
		}
		under = nil
	}
	same := func(when string) {
		first := nodes[names[0]]
		for _, name := range names[1:] {
			o := nodes[name]
			for _, key := range keys {
				a, _, _ := first.reg.Entry(key)
				b, _, _ := o.reg.Entry(key)
				if parts(a) != parts(b) {
					t.Fatalf("round %d, %s: %v:\n%s %s\n%s %s", round, when, key, first.name, parts(a), o.name, parts(b))
				}
			}
			if a, b := first.reg.Applications().HashCode, o.reg.Applications().HashCode; a != b {
				t.Fatalf("round %d, %s: hash code %s on %s, %s on %s", round, when, a, first.name, b, o.name)
			}
		}
	}
	same("at rest")
	for _, i := range rnd.Perm(len(past)) {
		nodes[past[i].to].ask(t, past[i].from, past[i].body)
	}
	same("after all batches once more")
}
