package cluster_test

import (
	"fmt"
	"strings"
	"sync/atomic"
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
					n[0].reg.Register(instance("OLD", fmt.Sprint("o-", i), eureka.StatusUp, 1), registry.Origin{})
				}
				time.Sleep(2 * time.Second)
				minutes := func(count int) {
					for range count {
						for range 2 {
							for i := range 100 {
								n[0].reg.Renew(registry.NewKey("NEW", fmt.Sprint("n-", i)), 1, "", registry.Origin{})
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
						n[0].reg.Cancel(registry.NewKey("OLD", fmt.Sprint("o-", i)), registry.Origin{})
						n[0].reg.Register(instance("NEW", fmt.Sprint("n-", i), eureka.StatusUp, 1), registry.Origin{})
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
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		n[2].vanish()
		time.Sleep(60 * time.Second)
		n[0].reg.Renew(key, 1, "", registry.Origin{})
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
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		n[2].vanish()
		time.Sleep(60 * time.Second)
		for _, node := range n[:2] {
			renewed, _, _ := node.reg.Entry(key)
			renewed.Age = 0
			node.reg.Join(key, renewed, 0, registry.Origin{Way: registry.ByBatch})
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
		n1.reg.Register(info, registry.Origin{})
		for range 100 {
			time.Sleep(1300 * time.Millisecond)
			n1.reg.Renew(registry.NewKey("DEMO", "d-1"), eureka.NoTimestamp, "", registry.Origin{})
		}
		if got := n1.pipeline(n2.name).Acceptor.Dropped[acceptor.Expired]; got != 0 {
			t.Errorf("%d heartbeats expired, want none", got)
		}
	})
}

// A snapshot is older than any node's memory of a cancel, and no node has been up for
// all that time: one after the other has started again. Each knows what its source
// knew, so what that one does not know is not listed. What the source keeps beyond
// its time is on no page, and is not taken for unknown.
func TestKnowledgeOutlivesItsNodes(t *testing.T) {
	const age = 20 * time.Minute // of the lease in the snapshot
	for _, tt := range []struct {
		name   string
		kept   bool            // by the first node, in self-preservation
		lost   bool            // a page, on its way to the second node
		heir   func(*testNode) // what happens to the second node, when the first has gone
		listed bool
	}{
		{name: "its source was there all the time"},
		{name: "its source was there, and a page was lost", lost: true, listed: true},
		{name: "its source keeps the instance", kept: true, listed: true},
		{name: "it was suspended, and alone then", heir: func(n *testNode) {
			goOn := n.bus.halt(n.name)
			time.Sleep(10 * time.Second)
			goOn()
			time.Sleep(20 * time.Second)
		}, listed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				key := registry.NewKey("DEMO", "d-1")
				old := func(reg *registry.Registry) {
					once, err := registry.New(registry.Options{})
					if err != nil {
						t.Fatal(err)
					}
					once.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
					kept, _, _ := once.Entry(key)
					kept.Age = age
					reg.Join(key, kept, registry.Registered|registry.Overridden, registry.Origin{Way: registry.ByBatch})
				}
				if tt.kept {
					b.snapshot = func(reg *registry.Registry) {
						reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
					}
				}
				n1 := b.start("n1")
				time.Sleep(time.Hour)
				for i := range 30 {
					n1.reg.Register(instance("MORE", fmt.Sprint("m-", i), eureka.StatusUp, 1), registry.Origin{})
				}
				b.snapshot = nil
				var pages atomic.Int64
				b.failSync(func(from, _ string, body []byte) error {
					if from == "n2" && strings.Contains(string(body), `"page"`) {
						pages.Add(1)
					}
					if tt.lost && pages.Load() == 2 {
						return errLost
					}
					return nil
				})
				b.payload.Store(4 << 10)
				n2 := b.start("n2")
				<-n2.cluster.Ready()
				if b.payload.Store(1 << 20); pages.Load() < 3 {
					t.Fatalf("n2 has asked for %d pages, want three at least", pages.Load())
				}
				time.Sleep(time.Second)
				n1.close()
				time.Sleep(10 * time.Second)
				if tt.heir != nil {
					tt.heir(n2)
				}
				b.snapshot = old
				n3 := b.start("n3")
				<-n3.cluster.Ready()
				time.Sleep(time.Second)
				n3.cluster.EvictOutlived(t.Context())
				synctest.Wait()
				if _, listed := n3.reg.Instance(key); listed != tt.listed {
					t.Errorf("lists it: %t, want %t", listed, tt.listed)
				}
			})
		})
	}
}

// A node that starts again lists what its source keeps beyond its time, as before.
func TestSnapshotOfPreserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		key := registry.NewKey("DEMO", "d-1")
		n1 := b.start("n1")
		<-n1.cluster.Ready()
		n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(time.Hour)
		b.snapshot = func(reg *registry.Registry) {
			kept, _, _ := n1.reg.Entry(key)
			reg.Restore(key, kept, time.Second)
		}
		n2 := b.start("n2")
		<-n2.cluster.Ready()
		time.Sleep(time.Second)
		n2.cluster.EvictOutlived(t.Context())
		for _, n := range []*testNode{n1, n2} {
			if _, listed := n.reg.Instance(key); !listed {
				t.Errorf("%s does not list it", n.name)
			}
		}
	})
}
