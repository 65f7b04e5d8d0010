package cluster_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// A node that starts before its broker knows less than its peers until it has
// caught up. A node that starts after it must not take it for complete.
func TestStartWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.startWithOne("n1")
		b.unlinked["n2"] = true
		n2 := b.start("n2")
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			if n2.cluster.MayRead() {
				t.Fatal("n2 serves lists without a connection")
			}
			if s := n2.cluster.Status(); s.Ready || s.Text != "syncing: not connected to a broker" {
				t.Fatalf("n2 is %+v", s)
			}
		}
		if !n2.cluster.MayWrite() {
			t.Error("n2 takes no registrations")
		}
		n2.comeBack()
		n3 := b.start("n3")
		for _, n := range []*testNode{n2, n3} {
			<-n.cluster.Ready()
			if got := n.count("DEMO"); got != 1 {
				t.Errorf("%s is ready and lists %d, want 1", n.name, got)
			}
		}
	})
}

// A node that never gets a connection finally serves what it has, and reports
// that it is degraded. No node that starts later takes it for complete.
func TestStartWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.unlinked["n1"] = true
		n1 := b.start("n1")
		time.Sleep(59 * time.Second)
		if n1.cluster.MayRead() {
			t.Error("n1 serves lists after 59 s")
		}
		time.Sleep(2 * time.Second)
		if s := n1.cluster.Status(); !s.Reads || !strings.HasPrefix(s.Text, "degraded: not connected to a broker") {
			t.Errorf("n1 is %+v after 61 s, want it degraded and serving", s)
		}
		b.startWithOne("n2")
		n1.comeBack()
		n3 := b.start("n3")
		<-n3.cluster.Ready()
		if got := n3.count("DEMO"); got != 1 {
			t.Errorf("n3 is ready and lists %d, want 1", got)
		}
		time.Sleep(10 * time.Second)
		if s := n1.cluster.Status(); s.Text != "ready" || n1.count("DEMO") != 1 {
			t.Errorf("n1 is %+v and lists %d, want it ready with 1", s, n1.count("DEMO"))
		}
	})
}

// A large registry over a slow line loses a page after 16 s. Only that page is
// asked for again.
func TestLostPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const instances = 2000
		b := newBus(t)
		n1 := b.start("n1")
		<-n1.cluster.Ready()
		for i := range instances {
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		b.mu.Lock()
		b.line = 72 << 10 // a page takes nearly two seconds
		b.mu.Unlock()
		began, lost, pages := time.Now(), 0, 0
		b.failSync(func(_, _ string, body []byte) error {
			if !strings.Contains(string(body), `"page"`) {
				return nil
			}
			pages++
			if time.Since(began) > 16*time.Second && lost == 0 {
				lost++
				return errHangs
			}
			return nil
		})
		n2 := b.start("n2", func(o *cluster.Options) { o.BatchDelay = time.Hour })
		<-n2.cluster.Ready()
		if got := n2.count("DEMO"); got != instances || lost != 1 {
			t.Errorf("n2 is ready and lists %d of %d; %d pages were lost, want 1", got, instances, lost)
		}
		if most := int(time.Since(began)/(1500*time.Millisecond)) + 1; pages > most {
			t.Errorf("%d pages were asked for in %v: some twice", pages, time.Since(began))
		}
	})
}

// A node that has just resumed may be taken for complete before it notices: its last
// presence says so. It is asked, and what it answers is not enough.
func TestSuspendedNodeIsNoCompleteSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1, n2 := b.start("n1"), b.start("n2")
		time.Sleep(3 * time.Second)
		goOn := b.halt("n1")
		defer goOn()
		time.Sleep(6 * time.Second)
		b.fail(refuse(func(_, to string) bool { return to == "n1" }, batcher.Timeout))
		n2.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		n3 := b.start("n3", func(o *cluster.Options) { o.Rand = func() float64 { return 0 } }) // n1 first
		said := *n1.announced.Load()
		said.Time = time.Now().UnixMilli()
		n3.cluster.HandlePresence(said)
		<-n3.cluster.Ready()
		if got := n3.count("DEMO"); got != 1 {
			t.Errorf("n3 is ready and lists %d, want the one that n2 knows", got)
		}
	})
}

// Nodes that start together from equal snapshots pull nothing.
func TestEqualNodesPullNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		same, err := registry.New(registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			same.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		b.snapshot = func(reg *registry.Registry) {
			for v := range same.AllVersions() {
				entry, _, _ := same.Entry(v.Key)
				reg.Restore(v.Key, entry, 0)
			}
		}
		var pages atomic.Int64
		b.failSync(func(_, _ string, body []byte) error {
			pages.Add(int64(strings.Count(string(body), `"page"`)))
			return nil
		})
		began := time.Now()
		nodes := []*testNode{b.start("n1"), b.start("n2"), b.start("n3")}
		for _, n := range nodes {
			<-n.cluster.Ready()
			if got := n.count("DEMO"); got != 100 {
				t.Errorf("%s is ready and lists %d, want 100", n.name, got)
			}
		}
		if took := time.Since(began); pages.Load() > 0 || took > 500*time.Millisecond {
			t.Errorf("%d pages were asked for, and all were ready after %v; want none, and half a second", pages.Load(), took)
		}
	})
}

// The wall clock runs while a machine is suspended, the monotonic one does not.
func TestSuspendedMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var slept atomic.Int64
		n1 := b.start("n1")
		time.Sleep(time.Second)
		n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		n2 := b.start("n2", func(o *cluster.Options) {
			begun := time.Now()
			o.Clock = cluster.Clock{
				Wall:    time.Now,
				Elapsed: func() time.Duration { return time.Since(begun) - time.Duration(slept.Load()) },
			}
		})
		<-n2.cluster.Ready()
		time.Sleep(2 * time.Second)
		goOn := b.halt("n2")
		time.Sleep(1500 * time.Millisecond)
		n2.vanish()
		suspended := time.Now()
		n1.reg.Cancel(registry.NewKey("DEMO", "d-1"), registry.Origin{})
		for range 20 {
			time.Sleep(time.Minute)
			n1.reg.Forget()
		}
		slept.Store(time.Since(suspended).Nanoseconds())
		if n2.cluster.MayWrite() || n2.cluster.MayRead() {
			t.Error("n2 takes writes, or serves lists, when it wakes")
		}
		n2.comeBack()
		goOn()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !n2.cluster.MayWrite() {
			t.Fatal("n2 takes no writes five seconds after it woke")
		}
		for _, n := range []*testNode{n1, n2} {
			if got := n.count("DEMO"); got != 0 {
				t.Errorf("%s lists %d, want the cancel to hold", n.name, got)
			}
		}
	})
}

// One leaf of the digest is larger than a message: ids of characters that JSON
// escapes with six bytes.
func TestLeafLargerThanAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rows = 40
		b, n := three(t, func(b *bus) { b.payload.Store(64 << 10) })
		b.fail(refuse(func(_, to string) bool { return to == "n2" }, batcher.Malformed))
		b.failSync(func(string, string, []byte) error { return errLost })
		leaf, found := registry.Leaf(registry.NewKey("DEMO", "0")), 0
		for i := 0; found < rows; i++ {
			id := fmt.Sprint(i, strings.Repeat("<", 900))
			if registry.Leaf(registry.NewKey("DEMO", id)) == leaf {
				n[0].reg.Register(instance("DEMO", id, eureka.StatusUp, 1), registry.Origin{})
				found++
			}
		}
		time.Sleep(5 * time.Second)
		b.fail(nil)
		b.failSync(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := n[1].count("DEMO"); got != rows {
			t.Errorf("n2 lists %d of %d", got, rows)
		}
		checkEqual(t, n...)
	})
}

// A request that fails costs the round its own entries, not all that follow.
func TestRoundGoesOnAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		b.fail(refuse(func(_, to string) bool { return to == "n2" }, batcher.Malformed))
		b.failSync(func(string, string, []byte) error { return errLost })
		for i := range 1200 {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(5 * time.Second)
		fetches := 0
		b.failSync(func(from, _ string, body []byte) error {
			if from != "n2" {
				return errLost // n2 has to fetch what it lacks
			}
			if strings.Contains(string(body), `"unknown"`) {
				if fetches++; fetches%3 == 1 {
					return errLost
				}
			}
			return nil
		})
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if got := n[1].count("DEMO"); got < 500 {
			t.Errorf("n2 lists %d of 1200 after %d requests, of which each third failed", got, fetches)
		}
	})
}

// Everything that can be sent within the drain's bound is sent, also after the
// four seconds after which a node without ticks counts as suspended.
func TestDrainSendsAllItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1 := b.start("n1", func(o *cluster.Options) { o.BatchSize = 10 })
		b.start("n2")
		time.Sleep(3 * time.Second)
		b.fail(func(string, string) (bool, error) {
			time.Sleep(680 * time.Millisecond)
			return true, nil
		})
		for i := range 280 { // seven times four batches
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		began := time.Now()
		n1.close()
		if took := time.Since(began); took < 4500*time.Millisecond {
			t.Errorf("the drain took %v: the test shows nothing", took)
		}
		for _, p := range n1.cluster.Peers() {
			if got := p.Acceptor.Dropped[acceptor.Shutdown]; got != 0 {
				t.Errorf("%d changes were dropped", got)
			}
		}
		if got := b.nodes["n2"].count("DEMO"); got != 280 {
			t.Errorf("n2 lists %d, want 280", got)
		}
	})
}

// Of two services with default leases, the one that was killed is gone
// everywhere within 150 seconds.
func TestKilledServiceIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		evictors := make([]*registry.Evictor, len(n))
		for i, node := range n {
			var err error
			if evictors[i], err = registry.NewEvictor(node.reg, registry.EvictorOptions{}); err != nil {
				t.Fatal(err)
			}
			go func() {
				tick := time.NewTicker(registry.DefaultEvictionInterval)
				defer tick.Stop()
				for {
					select {
					case <-t.Context().Done():
						return
					case <-tick.C:
						evictors[i].Run(t.Context(), node.cluster, node.cluster.MayEvict)
					}
				}
			}()
		}
		for _, app := range []string{"LIVES", "KILLED"} {
			n[0].reg.Register(instance(app, "a", eureka.StatusUp, 1), registry.Origin{})
		}
		for range 4 { // both renew
			time.Sleep(30 * time.Second)
			for _, app := range []string{"LIVES", "KILLED"} {
				n[0].reg.Renew(registry.NewKey(app, "a"), 1, "", registry.Origin{})
			}
		}
		for range 5 {
			time.Sleep(30 * time.Second)
			n[0].reg.Renew(registry.NewKey("LIVES", "a"), 1, "", registry.Origin{})
		}
		for _, node := range n {
			if killed, lives := node.count("KILLED"), node.count("LIVES"); killed != 0 || lives != 1 {
				t.Errorf("%s lists %d of the killed service after 150 s, and %d of the other", node.name, killed, lives)
			}
		}
	})
}
