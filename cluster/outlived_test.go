package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// pass does what node does twice a minute.
func (n *testNode) pass(e *registry.Evictor) {
	e.Run(n.bus.t.Context(), n.cluster, func() bool { return true })
}

// A node was cut off for longer than its peers remember a cancel. It is in
// self-preservation, and without help would stay so: instances that were
// cancelled meanwhile count as missing renewals, and no peer has a tombstone to
// send any more.
func TestSelfPreservationDoesNotOutliveTombstones(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cut   time.Duration
		heard bool // the peers know the instances too, and preserve them
		lists int
	}{
		{name: "tombstones are forgotten", cut: 20 * time.Minute, lists: 0},
		{name: "tombstones are there still", cut: 4 * time.Minute, lists: 0},
		{name: "the peers have not heard a cancel either", cut: 20 * time.Minute, heard: true, lists: 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, n := three(t)
				evictors := make([]*registry.Evictor, len(n))
				for i, node := range n {
					var err error
					if evictors[i], err = registry.NewEvictor(node.reg, registry.EvictorOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 100 {
					n[0].reg.Register(instance("OLD", fmt.Sprint("o-", i), eureka.StatusUp, 1), false)
				}
				time.Sleep(2 * time.Second)
				minutes := func(count int) {
					for range count {
						for range 2 {
							for i := range 100 {
								n[0].reg.Renew(registry.NewKey("NEW", fmt.Sprint("n-", i)), 1, "", false)
							}
							time.Sleep(29 * time.Second)
						}
						for i, node := range n {
							node.pass(evictors[i])
						}
						time.Sleep(2 * time.Second)
					}
				}
				n[2].vanish()
				if !tt.heard {
					for i := range 100 {
						n[0].reg.Cancel(registry.NewKey("OLD", fmt.Sprint("o-", i)), false)
						n[0].reg.Register(instance("NEW", fmt.Sprint("n-", i), eureka.StatusUp, 1), false)
					}
				}
				minutes(int(tt.cut / time.Minute))
				if got := n[2].count("OLD"); got != 100 {
					t.Fatalf("n3 lists %d while it is cut off, want 100: it preserves them", got)
				}
				n[2].comeBack()
				minutes(3)
				for _, node := range n {
					if got := node.count("OLD"); got != tt.lists {
						t.Errorf("%s lists %d, want %d", node.name, got, tt.lists)
					}
				}
				if !tt.heard {
					minutes(2)
					if evictors[2].SelfPreservation() {
						t.Error("n3 is still in self-preservation")
					}
				}
			})
		})
	}
}

// A node that can reach its peers again asks them before it evicts, including
// those that it still believes to be unreachable.
func TestAgesAreAskedOfWhoWasSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), false)
		time.Sleep(2 * time.Second)
		n[2].vanish()
		time.Sleep(60 * time.Second)
		n[0].reg.Renew(key, 1, "", false)
		time.Sleep(30 * time.Second)
		for _, p := range n[2].cluster.Peers() {
			if p.Status != membership.Unreachable {
				t.Fatalf("n3 finds %s %s, want it unreachable", p.Name, p.Status)
			}
		}
		n[2].comeBack()
		n[2].cluster.AskAges(t.Context(), []registry.Key{key})
		if entry, _, _ := n[2].reg.Entry(key); entry.Age > 31*time.Second {
			t.Errorf("n3 knows a lease renewed %v ago, want 30 s", entry.Age)
		}
	})
}

// A node that was cut off evicts an instance. Its peers have heard of a renewal that
// none of them took, so that none sends it.
func TestNodesThatMeetAskForWhatTheyEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), false)
		time.Sleep(2 * time.Second)
		n[2].vanish()
		time.Sleep(60 * time.Second)
		for _, node := range n[:2] {
			renewed, _, _ := node.reg.Entry(key)
			renewed.Age = 0
			node.reg.Join(key, renewed, 0)
		}
		time.Sleep(60 * time.Second)
		if evicted := n[2].reg.Evict(); evicted != 1 {
			t.Fatalf("n3 evicts %d while it is cut off, want 1", evicted)
		}
		n[2].comeBack()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := n[2].status("DEMO", "d-1"); got != eureka.StatusUp {
			t.Errorf("n3 sees the instance as %q after it has met its peers, want UP", got)
		}
	})
}

// A heartbeat is worth sending for as long as its lease lives, which is longer than
// the duration where a client renews once in a duration.
func TestHeartbeatsOfShortLeasesDoNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1 := b.start("n1", func(o *cluster.Options) { o.BatchDelay = 2500 * time.Millisecond })
		n2 := b.start("n2")
		time.Sleep(3 * time.Second)
		info := instance("DEMO", "d-1", eureka.StatusUp, 1)
		info.LeaseInfo.RenewalIntervalInSecs, info.LeaseInfo.DurationInSecs = 1, 1
		n1.reg.Register(info, false)
		for range 100 {
			time.Sleep(1300 * time.Millisecond)
			n1.reg.Renew(registry.NewKey("DEMO", "d-1"), eureka.NoTimestamp, "", false)
		}
		if got := n1.pipeline(n2.name).Acceptor.Dropped[acceptor.Expired]; got != 0 {
			t.Errorf("%d heartbeats expired, want none", got)
		}
	})
}
