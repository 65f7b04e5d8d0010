package registry_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// A change is prepared before it has the lock. What another change did in between is
// kept, and the record has the hash of what it holds.
func TestChangedMeanwhile(t *testing.T) {
	key := registry.NewKey("DEMO", "a")
	client, java := registry.Origin{}, registry.Origin{Way: registry.ByReplication}
	first := map[string]func(*registry.Registry){
		"metadata": func(r *registry.Registry) { r.SetMetadata(key, map[string]string{"first": "1"}, client) },
		"status":   func(r *registry.Registry) { r.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, client) },
		"newer":    func(r *registry.Registry) { r.SetStatus(key, eureka.StatusOutOfService, start+5, client) },
		"register": func(r *registry.Registry) { r.Register(instance("DEMO", "a", eureka.StatusDown, start+7), client) },
		"cancel":   func(r *registry.Registry) { r.Cancel(key, client) },
	}
	second := map[string]func(*registry.Registry){
		"metadata": func(r *registry.Registry) { r.SetMetadata(key, map[string]string{"second": "2"}, client) },
		"newer":    func(r *registry.Registry) { r.SetStatus(key, eureka.StatusDown, start+6, client) },
		"removal":  func(r *registry.Registry) { r.DeleteStatusOverride(key, eureka.StatusDown, start+6, client) },
		"cancel":   func(r *registry.Registry) { r.Cancel(key, client) },
		"java's override": func(r *registry.Registry) {
			r.Renew(key, start+100, eureka.StatusOutOfService, java)
		},
	}
	for before, does := range first {
		for after, doesToo := range second {
			state := func(meanwhile bool) registry.Entry {
				c := newClock()
				calls, at := 0, 0
				var r *registry.Registry
				r, err := registry.New(registry.Options{Now: func() time.Time {
					if calls++; calls == at {
						does(r)
					}
					return c.Now()
				}})
				if err != nil {
					t.Fatal(err)
				}
				r.Register(instance("DEMO", "a", eureka.StatusUp, start), client)
				if meanwhile {
					at = calls + 1 // a change looks at the clock between its draft and the lock
					if after == "java's override" {
						at++ // a renewal comes first
					}
				} else {
					does(r)
				}
				doesToo(r)
				if meanwhile && calls < at {
					t.Fatalf("%s: nothing happened meanwhile", after)
				}
				e, _, _ := r.Entry(key)
				return e
			}
			want, got := state(false), state(true)
			if h := registry.HashRecord(&got.Record); h != got.Record.Hash {
				t.Errorf("%s while %s: hash %x, content has %x", before, after, got.Record.Hash, h)
			}
			want.Record.Info, got.Record.Info = nil, nil
			if got != want {
				t.Errorf("%s while %s: %+v\nwant %+v", before, after, got, want)
			}
		}
	}
}

// The sums are those of what the registry holds, whoever reads them meanwhile.
func TestDigestWhileItChanges(t *testing.T) {
	t.Parallel()
	const workers, rounds = 6, 400
	c := newClock()
	r, _ := newRegistry(t, c)
	peer, _ := newRegistry(t, c)
	seed := randomSeed(t)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds {
				key := registry.NewKey("APP-"+strconv.Itoa(rnd.IntN(4)), "i-"+strconv.Itoa(rnd.IntN(50)))
				if err := anything(rnd, c, r, peer, key); err != nil {
					t.Error(err)
				}
				switch rnd.IntN(4) {
				case 0:
					r.Digest()
				case 1:
					r.LeafSums(rnd.IntN(registry.DigestGroups))
				}
			}
		})
	}
	wg.Wait()
	same, _ := newRegistry(t, c)
	for v := range r.AllVersions() {
		e, evicted, _ := r.Entry(v.Key)
		e.Evicted = evicted
		same.Join(v.Key, e, whole, registry.Origin{Way: registry.BySync})
	}
	if got, want := r.Digest(), same.Digest(); got != want || got == 0 {
		t.Errorf("digest %x, a registry that joins all has %x", got, want)
	}
	var root uint64
	for g, sum := range r.GroupSums() {
		root ^= sum
		for _, leaf := range r.LeafSums(g) {
			sum ^= leaf
		}
		if sum != 0 {
			t.Errorf("group %d is not the sum of its leaves", g)
		}
	}
	if root != r.Digest() {
		t.Errorf("digest %x is not the sum of its groups, %x", r.Digest(), root)
	}
}
