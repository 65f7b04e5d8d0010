package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// count returns how many instances of an application readers of the node see.
func (n *testNode) count(app string) int {
	a, _ := n.reg.Application(app)
	return len(a.Instances)
}

// startWithOne starts a node that is ready and lists DEMO/d-1.
func (b *bus) startWithOne(name string) {
	n := b.start(name)
	<-n.cluster.Ready()
	n.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
}

// slowAnnouncements delays the presences of a node.
func (b *bus) slowAnnouncements(of string, by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onAnnounce = func(from string) {
		if from == of {
			time.Sleep(by)
		}
	}
}

// Two nodes that start together receive each other's presence before that of
// the one that is complete.
func TestStartWaitsForAPeerThatIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.startWithOne("n1")
		b.slowAnnouncements("n1", 20*time.Millisecond)
		n2, n3 := b.start("n2"), b.start("n3")
		for _, n := range []*testNode{n2, n3} {
			<-n.cluster.Ready()
			if got := n.count("DEMO"); got != 1 {
				t.Errorf("%s is ready and lists %d, want 1", n.name, got)
			}
		}
	})
}

// Two nodes are apart, and meet when a third one starts. They can't exchange what each
// has taken meanwhile.
func TestStartAsksAllWhoHaveJustMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1, n2 := b.start("n1"), b.start("n2")
		time.Sleep(5 * time.Second)
		n2.vanish()
		time.Sleep(10 * time.Second)
		n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		n2.reg.Register(instance("DEMO", "d-2", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(time.Second)
		b.failSync(func(from, _ string, _ []byte) error {
			if from != "n3" {
				return batcher.Busy
			}
			return nil
		})
		b.fail(refuse(func(from, _ string) bool { return from != "n3" }, batcher.Busy))
		n2.comeBack()
		time.Sleep(2 * time.Second) // each has heard the other
		n3 := b.start("n3")
		<-n3.cluster.Ready()
		if got := n3.count("DEMO"); got != 2 {
			t.Errorf("n3 is ready and lists %d, want 2", got)
		}
		b.fail(nil)
		b.failSync(nil)
	})
}

// A node has received everything, and loses its connection before it serves.
func TestStartBeginsAnewAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1 := b.start("n1")
		<-n1.cluster.Ready()
		for i := range 300 { // several pages
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(2 * time.Second)
		n2 := b.start("n2")
		for n2.count("DEMO") < 300 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		n2.vanish()
		select {
		case <-n2.cluster.Ready():
			t.Fatal("n2 was ready before its connection was lost")
		default:
		}
		time.Sleep(3 * time.Second)
		for i := range 300 {
			n1.reg.Register(instance("LATER", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		b.fail(refuse(func(from, _ string) bool { return from == "n1" }, batcher.Busy))
		n2.comeBack()
		<-n2.cluster.Ready()
		if got := n2.count("LATER"); got != 300 {
			t.Errorf("n2 is ready and lists %d of those that came meanwhile, want 300", got)
		}
		b.fail(nil)
	})
}

// The first presence that a starting node receives is the goodbye of another.
func TestStartIsNotOverWithAGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1, n2 := b.start("n1"), b.start("n2")
		time.Sleep(2 * time.Second)
		n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		b.slowAnnouncements("n1", 20*time.Millisecond)
		n3 := b.start("n3")
		n2.stop()
		<-n3.cluster.Ready()
		if got := n3.count("DEMO"); got != 1 {
			t.Errorf("n3 is ready and lists %d, want 1", got)
		}
	})
}

// The only peer can't answer for a while, or at all.
func TestStartTriesAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		busy   time.Duration
		within time.Duration // of the start the node is ready
		lists  int
	}{
		{"busy for three seconds", 3 * time.Second, 4 * time.Second, 1},
		{"always busy", time.Hour, 16 * time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.startWithOne("n1")
				began := time.Now()
				b.failSync(func(string, string, []byte) error {
					if time.Since(began) < tt.busy {
						return batcher.Busy
					}
					return nil
				})
				n2 := b.start("n2")
				<-n2.cluster.Ready()
				if took := time.Since(began); took > tt.within || took < min(tt.busy, 15*time.Second) {
					t.Errorf("ready after %v, want at most %v, and not before it could sync", took, tt.within)
				}
				if got := n2.count("DEMO"); got != tt.lists {
					t.Errorf("n2 is ready and lists %d, want %d", got, tt.lists)
				}
			})
		})
	}
}

// The process is suspended while it tries. Its peer does not count as silent
// because of that.
func TestStartTriesAfterASuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.startWithOne("n1")
		began := time.Now()
		b.fail(refuse(func(string, string) bool { return true }, batcher.Absent))
		b.failSync(func(from, _ string, _ []byte) error {
			switch up := time.Since(began); {
			case from != "n2" || up > 45*time.Second:
				return nil
			case up > 10*time.Second && up < 40*time.Second:
				resume := b.halt("n2") // for longer than any request has
				time.Sleep(40*time.Second - up)
				resume()
			}
			return batcher.Busy
		})
		n2 := b.start("n2")
		<-n2.cluster.Ready()
		if got := n2.count("DEMO"); got != 1 {
			t.Errorf("n2 is ready after %v and lists %d, want 1", time.Since(began), got)
		}
	})
}

// A peer that dies sends nothing: a starting node waits for it only until it
// notices.
func TestStartDoesNotWaitForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1 := b.start("n1")
		<-n1.cluster.Ready()
		began := time.Now()
		b.failSync(func(_, to string, _ []byte) error {
			if to == "n1" {
				n1.vanish()
				return errHangs
			}
			return nil
		})
		n2 := b.start("n2")
		<-n2.cluster.Ready()
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("ready after %v, want at most 9 s: five of silence, and a request's two, twice", took)
		}
	})
}

// All nodes start at once, each from a snapshot with other entries.
func TestStartingPeersTellEachOtherAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		started := 0
		b.snapshot = func(reg *registry.Registry) {
			started++
			reg.Register(instance("DEMO", fmt.Sprint("d-", started), eureka.StatusUp, 1), registry.Origin{Way: registry.ByReplication})
		}
		nodes := []*testNode{b.start("n1"), b.start("n2"), b.start("n3")}
		for _, n := range nodes {
			<-n.cluster.Ready()
			if got := n.count("DEMO"); got != 3 {
				t.Errorf("%s is ready and lists %d, want 3", n.name, got)
			}
		}
	})
}

// suspend suspends a node from now on, with its connection cut, until the
// returned function is called.
func (n *testNode) suspend() (resume func()) {
	resume = n.bus.halt(n.name)
	n.vanish()
	return resume
}

// halt suspends nodes until the returned function is called.
func (b *bus) halt(names ...string) (resume func()) {
	release := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		b.halted[name] = release
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, name := range names {
			delete(b.halted, name)
		}
		close(release)
	}
}

// A node that resumes has no connection at first. It must not conclude that it
// has no peers.
func TestSuspensionEndsWithASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		time.Sleep(1500 * time.Millisecond)
		resume := n[0].suspend()
		time.Sleep(10 * time.Second)
		n[1].reg.Register(instance("DEMO", "meanwhile", eureka.StatusUp, 1), registry.Origin{})
		go func() {
			time.Sleep(4 * time.Second) // until its connection is back
			n[0].comeBack()
		}()
		resume()
		synctest.Wait()
		for !n[0].cluster.MayWrite() {
			time.Sleep(10 * time.Millisecond)
		}
		if got := n[0].status("DEMO", "meanwhile"); got != eureka.StatusUp {
			t.Errorf("n1 serves again and sees %q, want UP", got)
		}
	})
}

// A node that resumes pulls what has changed meanwhile before it serves, and of all else
// just the ages.
func TestSuspensionPullsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		const instances = 1000
		client := registry.Origin{}
		for i := range instances {
			n[1].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), client)
		}
		time.Sleep(3 * time.Second)
		resume := n[0].suspend()
		time.Sleep(10 * time.Second)
		b.fail(refuse(func(_, to string) bool { return to == "n1" }, batcher.Timeout)) // sync alone
		gone, changed, renewed := registry.NewKey("DEMO", "d-1"), registry.NewKey("DEMO", "d-2"), registry.NewKey("DEMO", "d-3")
		n[1].reg.Cancel(gone, client)
		n[1].reg.SetMetadata(changed, map[string]string{"new": "1"}, client)
		n[1].reg.Renew(renewed, 1, "", client)
		time.Sleep(3 * time.Second) // the others meet n2's changes
		b.mu.Lock()
		before := b.synced
		b.mu.Unlock()
		resume()
		n[0].comeBack()
		for !n[0].cluster.MayWrite() {
			time.Sleep(10 * time.Millisecond)
		}
		if _, listed := n[0].reg.Instance(gone); listed {
			t.Error("n1 serves, and lists what was cancelled")
		}
		if i, _ := n[0].reg.Instance(changed); i == nil || i.Metadata["new"] != "1" {
			t.Errorf("n1 serves, and holds %v of what has changed", i)
		}
		ours, _, _ := n[0].reg.Entry(renewed)
		if theirs, _, _ := n[1].reg.Entry(renewed); ours.Age != theirs.Age {
			t.Errorf("n1 serves, and thinks that a lease is %v old, not %v", ours.Age, theirs.Age)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if took := b.synced - before; took > 100*instances {
			t.Errorf("%d bytes for %d instances of which two have changed", took, instances)
		}
	})
}

// A node that has resumed and can't sync, although it receives presence, does
// not refuse its clients without end.
func TestSuspensionEndsWithoutASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		resume := n[0].suspend()
		time.Sleep(10 * time.Second)
		b.failSync(func(from, _ string, _ []byte) error {
			if from == "n1" {
				return batcher.Busy
			}
			return nil
		})
		n[0].comeBack()
		resume()
		time.Sleep(14 * time.Second)
		if n[0].cluster.MayWrite() {
			t.Error("n1 serves after 14 s without a sync, want it to try for 15")
		}
		time.Sleep(4 * time.Second)
		if !n[0].cluster.MayWrite() {
			t.Error("n1 is still suspended after 18 s")
		}
	})
}

// The other nodes run on without one for longer than a cancel is remembered.
func TestSuspensionLongerThanTombstones(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  bool          // nodes are suspended together, as machines may be
		late time.Duration // n3 resumes after the others
		want int
	}{
		{"one node", false, 0, 0},
		{"all nodes", true, 0, 1},
		{"all nodes, and one is the last to go on", true, 30 * time.Second, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, n := three(t)
				n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
				time.Sleep(2 * time.Second)
				var resume func()
				if tt.all {
					others, last := n[0].bus.halt("n1", "n2"), n[0].bus.halt("n3")
					resume = func() {
						others()
						time.Sleep(tt.late)
						last()
					}
				} else {
					resume = n[2].suspend()
					n[1].reg.Cancel(registry.NewKey("DEMO", "d-1"), registry.Origin{})
				}
				for range 20 {
					time.Sleep(time.Minute)
					if !tt.all {
						n[0].reg.Evict()
						n[1].reg.Evict()
					}
				}
				n[2].comeBack()
				resume()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if !n[2].cluster.MayWrite() {
					t.Fatal("n3 is still suspended")
				}
				if got := n[2].count("DEMO"); got != tt.want {
					t.Errorf("n3 lists %d, want %d", got, tt.want)
				}
			})
		})
	}
}

// A starting node takes entries that all peers have evicted as evicted: readers
// don't see them, and the digests are equal, so that repair has nothing to do.
func TestEvictedAreHandedOverAsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		for i := range 1000 {
			n[0].reg.Register(instance("DEAD", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(100 * time.Second)
		for _, node := range n {
			if got := node.reg.Evict(); got != 1000 {
				t.Fatalf("%s evicted %d, want 1000", node.name, got)
			}
		}
		n[2].close()
		time.Sleep(time.Second)
		again := b.start("n3")
		<-again.cluster.Ready()
		if got := again.count("DEAD"); got != 0 {
			t.Errorf("n3 lists %d of the evicted instances", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a, b := n[0].reg.Digest(), again.reg.Digest(); a != b {
			t.Errorf("digests %016x and %016x, want equal", a, b)
		}
		b.mu.Lock()
		b.synced = 0
		b.mu.Unlock()
		time.Sleep(time.Minute)
		b.mu.Lock()
		if b.synced != 0 {
			t.Errorf("%d bytes of sync in an idle minute, want none", b.synced)
		}
		b.mu.Unlock()
		// A client that comes back is listed everywhere.
		n[1].reg.Register(instance("DEAD", "d-1", eureka.StatusUp, 2), registry.Origin{})
		time.Sleep(2 * time.Second)
		if got := again.count("DEAD"); got != 1 {
			t.Errorf("n3 lists %d, want only the one that came back", got)
		}
	})
}

// A node of an earlier version does not know the mark, and gets no evicted
// entry.
func TestEvictedAreNotHandedToWhoDoesNotAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		n[0].reg.Register(instance("DEAD", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(100 * time.Second)
		n[0].reg.Evict()
		for _, ask := range []string{`{"ask":"page"}`, `{"ask":"unknown","keys":[["DEAD","d-1"]]}`} {
			for _, takes := range []bool{false, true} {
				if takes {
					ask = strings.TrimSuffix(ask, "}") + `,"evicted":true}`
				}
				body, err := n[1].Sync(t.Context(), "n1", []byte(ask))
				if err != nil {
					t.Fatalf("%s: %v", ask, err)
				}
				if got := strings.Contains(string(body), `"d-1"`); got != takes {
					t.Errorf("%s: %s: holds the evicted one: %t, want %t", ask, body, got, takes)
				}
			}
		}
	})
}

// Leaves that stay different, because one side declines their entries, must not
// delay the repair of others.
func TestRepairTakesAllLeavesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		const dead, live = 3_000, 200
		// n1 alone has these, and their leases have run out: n3 declines them.
		b.fail(refuse(func(string, string) bool { return true }, batcher.Malformed))
		b.failSync(func(string, string, []byte) error { return batcher.Busy })
		for i := range dead {
			n[0].reg.Register(instance("DEAD", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(100 * time.Second)
		for i := range live {
			n[0].reg.Register(instance("LIVE", fmt.Sprint("l-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(5 * time.Second)
		b.fail(nil)
		b.failSync(nil)
		time.Sleep(time.Minute)
		for _, node := range n[1:] {
			if got := node.count("DEAD"); got != 0 {
				t.Errorf("%s lists %d whose leases had ended before it received them", node.name, got)
			}
			if got := node.count("LIVE"); got != live {
				t.Errorf("%s lists %d of %d after a minute", node.name, got, live)
			}
		}
	})
}

// A page must get through a slow line within a request's time-out.
func TestPagesFitASlowLine(t *testing.T) {
	const line = 256 << 10 // bytes a second: 2 Mbit/s
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1 := b.start("n1")
		<-n1.cluster.Ready()
		for i := range 2000 {
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		b.mu.Lock()
		b.line = line
		b.mu.Unlock()
		n2 := b.start("n2", func(o *cluster.Options) { o.BatchDelay = time.Hour })
		<-n2.cluster.Ready()
		if got := n2.count("DEMO"); got != 2000 {
			t.Errorf("n2 is ready and lists %d, want 2000", got)
		}
	})
}

// A batch that a node would send after a suspension was rendered before it: the
// leases in it look younger than they are.
func TestStalledNodeSendsNoBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		resume := n[0].suspend()
		n[0].comeBack() // its pipelines run, before its Run resumes
		time.Sleep(8 * time.Second)
		b.take()
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(5 * time.Second)
		if n[0].cluster.MayWrite() {
			t.Fatal("not suspended")
		}
		for _, s := range b.take() {
			if s.From == "n1" {
				t.Errorf("n1 sent a batch of %d tasks to %s while it was suspended", len(s.Items), s.To)
			}
		}
		resume()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, node := range n {
			if got := node.status("DEMO", "d-1"); got != eureka.StatusUp {
				t.Errorf("%s sees %q after n1 resumed, want UP", node.name, got)
			}
			node.checkLaw()
		}
	})
}

// A node's first presences can be lost: brokers that have just met don't know
// yet who listens where.
func TestStartSaysItAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.startWithOne("n1")
		time.Sleep(100 * time.Millisecond) // n1 has just announced itself, and will not for a while
		b.mu.Lock()
		b.deaf = true
		b.mu.Unlock()
		n2 := b.start("n2")
		time.Sleep(120 * time.Millisecond)
		b.mu.Lock()
		b.deaf = false
		b.mu.Unlock()
		<-n2.cluster.Ready()
		if got := n2.count("DEMO"); got != 1 {
			t.Errorf("n2 is ready and lists %d, want 1", got)
		}
	})
}

// A peer that has sent only the rest of the entries does not prove that an
// instance is unknown: no instance is evicted because of it.
func TestResumedSyncIsNoWitness(t *testing.T) {
	const lease, retired = 90 * time.Second, 480 * time.Second
	for _, breaks := range []bool{false, true} {
		t.Run(fmt.Sprint("it breaks off: ", breaks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, n := three(t)
				time.Sleep(time.Hour)
				for i := range 500 {
					n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
				}
				time.Sleep(10 * time.Second)
				old, err := registry.New(registry.Options{})
				if err != nil {
					t.Fatal(err)
				}
				key := registry.NewKey("OLD", "o-1")
				old.Register(instance("OLD", "o-1", eureka.StatusUp, 1), registry.Origin{})
				kept, _, _ := old.Entry(key)
				kept.Age = retired + lease
				b.snapshot = func(reg *registry.Registry) {
					reg.Join(key, kept, registry.Registered|registry.Overridden, registry.Origin{Way: registry.ByBatch})
				}
				pages, began := 0, time.Now()
				b.failSync(func(from, _ string, body []byte) error {
					if from != "n4" || !strings.Contains(string(body), `"page"`) {
						return nil
					}
					if time.Since(began) < 100*time.Millisecond {
						return errLost // until it has received all three presences
					}
					if pages++; breaks && pages == 2 {
						return errLost
					}
					return nil
				})
				n4 := b.start("n4")
				<-n4.cluster.Ready()
				if pages < 2 {
					t.Fatalf("%d pages, want several", pages)
				}
				if got := n4.count("OLD") == 1; got != breaks {
					t.Errorf("n4 is ready and lists the old one: %t, want %t", got, breaks)
				}
			})
		})
	}
}

// Entries that stay unequal count as divergent, also in leaves that had no turn
// in the last round.
func TestDivergentCountsAllLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const instances = 3_000
		b, n := three(t)
		b.fail(refuse(func(string, string) bool { return true }, batcher.Malformed))
		b.failSync(func(from, _ string, _ []byte) error {
			if from != "n1" {
				return errLost // no node fetches what it is not sent
			}
			return nil
		})
		for i := range instances {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(60 * time.Second)
		for _, p := range n[0].cluster.Peers() {
			if p.Divergent != instances {
				t.Errorf("n1 counts %d divergent from %s, want %d", p.Divergent, p.Name, instances)
			}
		}
	})
}

// A node that has stopped refuses a request at once.
func TestStoppedNodeRefusesSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		n[0].stop()
		n[0].done <- <-n[0].done // Run has returned
		refused := false
		n[0].cluster.HandleSync(repair.Request{
			From: "n2", Body: []byte(`{"ask":"sums"}`),
			Respond: func([]byte) error { t.Error("it answers"); return nil },
			Fail:    func(int, string) error { refused = true; return nil },
		})
		if !refused {
			t.Error("not refused: the asker waits until it gives up")
		}
	})
}
