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
	n.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), false)
}

// slowAnnouncements has what a node says of itself arrive late.
func (b *bus) slowAnnouncements(of string, by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onAnnounce = func(from string) {
		if from == of {
			time.Sleep(by)
		}
	}
}

// Two nodes that start together hear each other before the one that knows all.
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

// The first that a starting node hears is the goodbye of another.
func TestStartIsNotOverWithAGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1, n2 := b.start("n1"), b.start("n2")
		time.Sleep(2 * time.Second)
		n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), false)
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

// The one peer that there is can't answer for a while, or at all.
func TestStartTriesAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		busy   time.Duration
		within time.Duration // of the start the node is ready
		lists  int
	}{
		{"busy for three seconds", 3 * time.Second, 4 * time.Second, 1},
		{"busy for ever", time.Hour, 16 * time.Second, 0},
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

// The process is stopped while it tries: that says nothing of its peer.
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
				goOn := b.halt("n2") // for longer than any request has
				time.Sleep(40*time.Second - up)
				goOn()
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

// A peer that dies has nothing to tell: nobody waits for it for longer than it
// takes to notice.
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

// All nodes start at once, each with a snapshot that holds something else.
func TestStartingPeersTellEachOtherAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		started := 0
		b.snapshot = func(reg *registry.Registry) {
			started++
			reg.Register(instance("DEMO", fmt.Sprint("d-", started), eureka.StatusUp, 1), true)
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

// stand suspends a node from now on, cut off like a process whose
// connection is gone, until the function that it returns is called.
func (n *testNode) stand() (goOn func()) {
	goOn = n.bus.halt(n.name)
	n.vanish()
	return goOn
}

// halt suspends nodes until the function that it returns is called.
func (b *bus) halt(names ...string) (goOn func()) {
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

// A node that goes on has no connection at first: it must not take that for
// having nobody to ask.
func TestSuspensionEndsWithASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		time.Sleep(1500 * time.Millisecond)
		goOn := n[0].stand()
		time.Sleep(10 * time.Second)
		n[1].reg.Register(instance("DEMO", "meanwhile", eureka.StatusUp, 1), false)
		go func() {
			time.Sleep(4 * time.Second) // its connection takes as long to be back
			n[0].comeBack()
		}()
		goOn()
		synctest.Wait()
		for !n[0].cluster.MayWrite() {
			time.Sleep(10 * time.Millisecond)
		}
		if got := n[0].status("DEMO", "meanwhile"); got != eureka.StatusUp {
			t.Errorf("n1 serves again and sees %q, want UP", got)
		}
	})
}

// A node that went on and can't sync, though it hears its peers, does not refuse
// its clients for ever.
func TestSuspensionEndsWithoutASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		goOn := n[0].stand()
		time.Sleep(10 * time.Second)
		b.failSync(func(from, _ string, _ []byte) error {
			if from == "n1" {
				return batcher.Busy
			}
			return nil
		})
		n[0].comeBack()
		goOn()
		time.Sleep(14 * time.Second)
		if n[0].cluster.MayWrite() {
			t.Error("n1 serves after 14 s without a sync, want it to try for 15")
		}
		time.Sleep(4 * time.Second)
		if !n[0].cluster.MayWrite() {
			t.Error("n1 is stalled after 18 s")
		}
	})
}

// The world without a node goes on for longer than a cancel is remembered.
func TestSuspensionLongerThanTombstones(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  bool          // nodes are suspended together, as machines may be
		late time.Duration // goes n3 on after the others
		want int
	}{
		{"one node", false, 0, 0},
		{"all nodes", true, 0, 1},
		{"all nodes, and one is the last to go on", true, 30 * time.Second, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, n := three(t)
				n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), false)
				time.Sleep(2 * time.Second)
				var goOn func()
				if tt.all {
					others, last := n[0].bus.halt("n1", "n2"), n[0].bus.halt("n3")
					goOn = func() {
						others()
						time.Sleep(tt.late)
						last()
					}
				} else {
					goOn = n[2].stand()
					n[1].reg.Cancel(registry.NewKey("DEMO", "d-1"), false)
				}
				for range 20 {
					time.Sleep(time.Minute)
					if !tt.all {
						n[0].reg.Evict()
						n[1].reg.Evict()
					}
				}
				n[2].comeBack()
				goOn()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if !n[2].cluster.MayWrite() {
					t.Fatal("n3 is stalled still")
				}
				if got := n[2].count("DEMO"); got != tt.want {
					t.Errorf("n3 lists %d, want %d", got, tt.want)
				}
			})
		})
	}
}

// What all have evicted a node that starts takes as evicted: readers don't see
// it, and the digests are equal, so that repair has nothing to do.
func TestEvictedAreHandedOverAsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		for i := range 1000 {
			n[0].reg.Register(instance("DEAD", fmt.Sprint("d-", i), eureka.StatusUp, 1), false)
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
			t.Errorf("n3 lists %d of the dead", got)
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
		n[1].reg.Register(instance("DEAD", "d-1", eureka.StatusUp, 2), false)
		time.Sleep(2 * time.Second)
		if got := again.count("DEAD"); got != 1 {
			t.Errorf("n3 lists %d, want the one that came back", got)
		}
	})
}

// A node of an earlier version does not know the mark: it gets no evicted entry.
func TestEvictedAreNotHandedToWhoDoesNotAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		n[0].reg.Register(instance("DEAD", "d-1", eureka.StatusUp, 1), false)
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

// What stays different in many leaves, because one side declines it, must not
// keep what is missing in others from being repaired.
func TestRepairTakesAllLeavesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		const dead, live = 3_000, 200
		// n1 alone has these, and their leases have run out: n3 declines them.
		b.fail(refuse(func(string, string) bool { return true }, batcher.Malformed))
		b.failSync(func(string, string, []byte) error { return batcher.Busy })
		for i := range dead {
			n[0].reg.Register(instance("DEAD", fmt.Sprint("d-", i), eureka.StatusUp, 1), false)
		}
		time.Sleep(100 * time.Second)
		for i := range live {
			n[0].reg.Register(instance("LIVE", fmt.Sprint("l-", i), eureka.StatusUp, 1), false)
		}
		time.Sleep(5 * time.Second)
		b.fail(nil)
		b.failSync(nil)
		time.Sleep(time.Minute)
		for _, node := range n[1:] {
			if got := node.count("DEAD"); got != 0 {
				t.Errorf("%s lists %d whose leases had run out before it heard of them", node.name, got)
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
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), false)
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

// What a node would send when it goes on was rendered before it was suspended: the
// leases in it look younger than they are.
func TestStalledNodeSendsNoBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		goOn := n[0].stand()
		n[0].comeBack() // its pipelines run, as all that goes on before its Run does
		time.Sleep(8 * time.Second)
		b.take()
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), false)
		time.Sleep(5 * time.Second)
		if n[0].cluster.MayWrite() {
			t.Fatal("not stalled")
		}
		for _, s := range b.take() {
			if s.From == "n1" {
				t.Errorf("n1 sent a batch of %d tasks to %s while it was stalled", len(s.Items), s.To)
			}
		}
		goOn()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, node := range n {
			if got := node.status("DEMO", "d-1"); got != eureka.StatusUp {
				t.Errorf("%s sees %q after n1 went on, want UP", node.name, got)
			}
			node.checkLaw()
		}
	})
}

// What a node says in its first moments can be lost: brokers that have just met
// don't know yet who listens where.
func TestStartSaysItAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.startWithOne("n1")
		time.Sleep(100 * time.Millisecond) // n1 has just said that it is there, and will not for a while
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

// A peer that has told only the rest of what there is is no witness for what it was
// not asked: nobody is evicted on its word.
func TestResumedSyncIsNoWitness(t *testing.T) {
	const lease, retired = 90 * time.Second, 480 * time.Second
	for _, breaks := range []bool{false, true} {
		t.Run(fmt.Sprint("it breaks off: ", breaks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, n := three(t)
				time.Sleep(time.Hour)
				for i := range 500 {
					n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), false)
				}
				time.Sleep(10 * time.Second)
				old, err := registry.New(registry.Options{})
				if err != nil {
					t.Fatal(err)
				}
				key := registry.NewKey("OLD", "o-1")
				old.Register(instance("OLD", "o-1", eureka.StatusUp, 1), false)
				kept, _, _ := old.Entry(key)
				kept.Age = retired + lease
				b.snapshot = func(reg *registry.Registry) { reg.Join(key, kept, registry.Registered|registry.Overridden) }
				pages, began := 0, time.Now()
				b.failSync(func(from, _ string, body []byte) error {
					if from != "n4" || !strings.Contains(string(body), `"page"`) {
						return nil
					}
					if time.Since(began) < 100*time.Millisecond {
						return errLost // until it has heard all three
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

// What stays unequal counts as divergent, also in leaves that had no turn in the
// last round.
func TestDivergentCountsAllLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const instances = 3_000
		b, n := three(t)
		b.fail(refuse(func(string, string) bool { return true }, batcher.Malformed))
		b.failSync(func(from, _ string, _ []byte) error {
			if from != "n1" {
				return errLost // nobody fetches what it is not sent
			}
			return nil
		})
		for i := range instances {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), false)
		}
		time.Sleep(60 * time.Second)
		for _, p := range n[0].cluster.Peers() {
			if p.Divergent != instances {
				t.Errorf("n1 counts %d divergent from %s, want %d", p.Divergent, p.Name, instances)
			}
		}
	})
}

// A node that has stopped answers at once that it does not answer.
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
