package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/race"
	"github.com/registryd/registryd/registry"
)

// TestRepairCost measures the bytes that anti-entropy sends between two nodes
// of n instances: when they are equal, and when 1% of the instances differ. Run
// it with -v for the figures.
func TestRepairCost(t *testing.T) {
	sizes := []int{1_000, 10_000}
	if !race.Enabled {
		sizes = append(sizes, 100_000)
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				a, z := b.start("a"), b.start("z")
				time.Sleep(3 * time.Second)
				id := func(i int) string { return fmt.Sprintf("host-%d.example.org:orders:8080", i) }
				for i := range n {
					a.reg.Register(instance("ORDERS", id(i), eureka.StatusUp, 1), registry.Origin{})
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if a.reg.Digest() != z.reg.Digest() {
					t.Fatal("not equal before the measurement")
				}
				synced := func(since time.Duration) int {
					time.Sleep(since)
					synctest.Wait()
					b.mu.Lock()
					defer b.mu.Unlock()
					out := b.synced
					b.synced = 0
					return out
				}
				synced(0)
				equal := synced(time.Minute)

				// 1% of the instances change, half of them at each node, as if another
				// peer had sent the change: no batch carries it.
				for i := range n / 100 {
					changed := instance("ORDERS", id(i*100), eureka.StatusUp, 2)
					changed.Metadata = map[string]string{"k": "v"}
					[]*testNode{a, z}[i%2].reg.Register(changed, registry.Origin{Way: registry.ByReplication})
				}
				if a.reg.Digest() == z.reg.Digest() {
					t.Fatal("equal, though they have changed")
				}
				b.take()
				asked := synced(time.Minute)
				pushed, tasks := 0, 0
				for _, s := range b.take() {
					pushed += len(eureka.AppendReplicationList(nil, s.Items)) + len(eureka.AppendReplicationListResponse(nil, s.Results))
					tasks += len(s.Items)
				}
				if a.reg.Digest() != z.reg.Digest() {
					t.Error("not equal after the repair")
				}
				t.Logf("%d instances: equal: %d bytes a minute beside presence; 1%% different: %d bytes of sync, and %d tasks in batches of %d bytes",
					n, equal, asked, tasks, pushed)
				if equal != 0 {
					t.Errorf("equal nodes sent %d bytes in a minute, want none", equal)
				}
				// The cost is not in proportion to the equal instances: a full list of
				// versions alone would be n × 120 bytes, and each node asks.
				if most := 2 * (200_000 + n/100*40*200); asked > most {
					t.Errorf("%d bytes of sync for %d differences, want at most %d", asked, n/100, most)
				}
			})
		})
	}
}
