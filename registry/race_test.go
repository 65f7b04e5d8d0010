package registry_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Everything at once, from many goroutines; then what must hold, holds.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	const (
		workers = 12
		rounds  = 600
		ids     = 30
	)
	c := newClock()
	r, sink := newRegistry(t, c)
	peer, _ := newRegistry(t, c)
	seed := randomSeed(t)
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds {
				key := registry.NewKey("APP-"+strconv.Itoa(rnd.IntN(4)), "i-"+strconv.Itoa(rnd.IntN(ids)))
				if err := anything(rnd, c, r, peer, key); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if err := checkLists(r); err != nil {
		t.Error(err)
	}
	entries := 0
	present := instances(r.Applications())
	for a := range 4 {
		for i := range ids {
			key := registry.NewKey("APP-"+strconv.Itoa(a), "i-"+strconv.Itoa(i))
			e, evicted, ok := r.Entry(key)
			if !ok {
				continue
			}
			entries++
			if got, want := registry.HashRecord(&e.Record), e.Record.Hash; got != want {
				t.Errorf("%v: hash %x, content has %x", key, want, got)
			}
			seen, there := r.Instance(key)
			if there != (e.Record.Live && !evicted) {
				t.Errorf("%v: present = %t, live = %t, evicted = %t", key, there, e.Record.Live, evicted)
			}
			if there {
				present = present[1:]
				if want := registry.Visible(&e.Record, &e.Override); seen.Status != want {
					t.Errorf("%v: status %s, want %s", key, seen.Status, want)
				}
			}
		}
	}
	if n := r.Len(); n != entries {
		t.Errorf("Len = %d, counted %d", n, entries)
	}
	if len(present) != 0 {
		t.Errorf("%d listed beyond those with an entry", len(present))
	}
	if len(sink.take()) == 0 {
		t.Error("the Sink got nothing")
	}
}

// anything does one call of any kind, and checks what can be checked meanwhile.
func anything(rnd *rand.Rand, c *clock, r, peer *registry.Registry, key registry.Key) error {
	replicated := rnd.IntN(3) == 0
	switch rnd.IntN(16) {
	case 0, 1:
		i := instance(key.App, key.ID, pick(rnd, statuses()), c.Now().UnixMilli()-rnd.Int64N(3))
		i.VIPAddress = new("v" + strconv.Itoa(rnd.IntN(3)))
		r.Register(i, by(replicated))
	case 2:
		r.Renew(key, pick(rnd, []int64{start, c.Now().UnixMilli(), eureka.NoTimestamp}), eureka.StatusDown, by(replicated))
	case 3:
		r.Cancel(key, by(replicated))
	case 4:
		r.SetStatus(key, pick(rnd, statuses()), eureka.NoTimestamp, by(replicated))
	case 5:
		r.DeleteStatusOverride(key, pick(rnd, statuses()), eureka.NoTimestamp, by(replicated))
	case 6:
		r.SetMetadata(key, map[string]string{"zone": strconv.Itoa(rnd.IntN(3))}, registry.Origin{})
	case 7, 8:
		peer.Register(instance(key.App, key.ID, pick(rnd, statuses()), c.Now().UnixMilli()), registry.Origin{})
		if e, _, ok := peer.Entry(key); ok {
			carried := pick(rnd, []registry.Bits{0, registry.Overridden, whole})
			if out, ours := r.Join(key, joining{e, carried}.sent(), carried, registry.Origin{Way: registry.ByBatch}); out == registry.Conflict {
				peer.Join(key, ours, whole, registry.Origin{Way: registry.ByBatch})
			}
		}
	case 9:
		as := r.Applications()
		if got := recount(instances(as)); got != as.HashCode {
			return fmt.Errorf("a list with hash code %q, counted %q", as.HashCode, got)
		}
		return checkOrder(as)
	case 10:
		r.Delta()
		r.Generation()
	case 11:
		if a, ok := r.Application(key.App); ok && len(a.Instances) == 0 {
			return fmt.Errorf("application %s without instances", key.App)
		}
		as := r.VIP("v1")
		if got := recount(instances(as)); got != as.HashCode {
			return fmt.Errorf("a vip's list with hash code %q, counted %q", as.HashCode, got)
		}
		r.SVIP("v1")
	case 12:
		if i, ok := r.Instance(key); ok && (i.ID() != key.ID || i.App != key.App) {
			return fmt.Errorf("instance %s/%s for %v", i.App, i.ID(), key)
		}
		r.InstanceByID(key.ID)
		r.Len()
	case 13:
		c.Add(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		r.Evict()
	case 14:
		r.SweepDelta()
	case 15:
		for k, bits := range r.All() {
			if bits != registry.Registered && bits != registry.Cancelled {
				return fmt.Errorf("All gives {%v} for %v", bits, k)
			}
			r.Entry(k)
		}
	}
	return nil
}
