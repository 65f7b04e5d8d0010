package registry_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestPartsFollowChanges compares lists from shared parts with lists made as a whole, but
// for renewals, after each step of random histories of clients and of peers.
func TestPartsFollowChanges(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	show := func(i *eureka.InstanceInfo) string {
		return fmt.Sprint(i.App, "/", i.ID(), " ", i.Status, " ", i.OverriddenStatus, " ", i.ActionType, " ",
			i.LastDirtyTimestamp, " ", i.LastUpdatedTimestamp, "\n")
	}
	parts := func(l registry.List) string {
		var b strings.Builder
		for _, p := range l.Parts {
			for i := range p.Instances() {
				b.WriteString(show(i))
			}
		}
		return b.String() + l.HashCode
	}
	whole := func(l eureka.Applications) string {
		var b strings.Builder
		for _, i := range instances(l) {
			b.WriteString(show(i))
		}
		return b.String() + l.HashCode
	}
	for history := range 30 {
		rnd := rand.New(rand.NewPCG(seed, uint64(history)))
		c := newClock()
		r, _ := newRegistry(t, c)
		peer, _ := newRegistry(t, c)
		apps, ids := 1+rnd.IntN(6), 1+rnd.IntN(200)
		for step := range 1500 {
			c.Add(time.Duration(rnd.IntN(1500)) * time.Millisecond)
			key := registry.NewKey(fmt.Sprint("APP", rnd.IntN(apps)), fmt.Sprint("i-", rnd.IntN(ids)))
			at := r
			if rnd.IntN(2) == 0 {
				at = peer
			}
			switch n := rnd.IntN(100); {
			case n < 40:
				at.Register(instance(key.App, key.ID, pick(rnd, statuses()), c.ms.Load()), by(rnd.IntN(4) == 0))
			case n < 55:
				at.Cancel(key, registry.Origin{})
			case n < 65:
				at.SetStatus(key, pick(rnd, statuses()), eureka.NoTimestamp, registry.Origin{})
			case n < 72:
				at.DeleteStatusOverride(key, pick(rnd, statuses()), eureka.NoTimestamp, registry.Origin{})
			case n < 80:
				at.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
			case n < 83:
				at.Evict()
			case n < 85:
				at.SweepDelta()
			case n < 86:
				c.Add(time.Duration(rnd.IntN(300)) * time.Second)
			}
			if e, _, ok := peer.Entry(key); ok && rnd.IntN(2) == 0 {
				r.Join(key, e, carriedAtRandom(rnd), registry.Origin{Way: registry.ByBatch})
			}
			if got, want := parts(r.List(time.Hour)), whole(r.Applications()); got != want {
				t.Fatalf("history %d, step %d: the list differs: %s", history, step, difference(got, want))
			}
			if got, want := parts(r.Changes(time.Hour)), whole(r.Delta()); got != want {
				t.Fatalf("history %d, step %d: the delta differs: %s", history, step, difference(got, want))
			}
		}
	}
}

func carriedAtRandom(rnd *rand.Rand) registry.Bits {
	return pick(rnd, []registry.Bits{registry.Registered | registry.Overridden, registry.Overridden, 0})
}
