package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// three starts three nodes that have heard each other and have nothing to send.
func three(t *testing.T, opts ...func(*bus)) (*bus, []*testNode) {
	t.Helper()
	b := newBus(t)
	for _, opt := range opts {
		opt(b)
	}
	nodes := []*testNode{b.start("n1"), b.start("n2"), b.start("n3")}
	time.Sleep(3 * time.Second)
	synctest.Wait()
	for _, n := range nodes {
		if got := len(n.cluster.Peers()); got != 2 {
			t.Fatalf("%s knows %d peers, want 2", n.name, got)
		}
	}
	b.take()
	return b, nodes
}

func TestOneRegisterIsOneTaskPerPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		start := time.Now()
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(499 * time.Millisecond)
		synctest.Wait()
		if got := b.take(); len(got) != 0 {
			t.Fatalf("sent after 499 ms: %v", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		got := b.take()
		if len(got) != 2 || got[0].To == got[1].To {
			t.Fatalf("batches at 500 ms: %v, want one to each peer", got)
		}
		for _, s := range got {
			if s.From != "n1" || len(s.Items) != 1 || s.Items[0].Action != eureka.ActionRegister || s.Items[0].ID != "d-1" {
				t.Errorf("batch %+v, want one Register of d-1 from n1", s)
			}
			if w := s.Items[0].State.Wait; w != 500 {
				t.Errorf("wait = %d ms, want 500", w)
			}
			if s.Results[0].StatusCode != 200 || !s.At.Equal(start.Add(500*time.Millisecond)) {
				t.Errorf("result %d at %v, want 200 after 500 ms", s.Results[0].StatusCode, s.At.Sub(start))
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if again := b.take(); len(again) != 0 {
			t.Errorf("peers sent on: %+v", again)
		}
		for _, node := range n {
			if got := node.status("demo", "d-1"); got != eureka.StatusUp {
				t.Errorf("%s sees %q, want UP", node.name, got)
			}
			node.checkLaw()
		}
	})
}

func TestActionsDecideWhatIsSent(t *testing.T) {
	key := registry.NewKey("DEMO", "d-1")
	for _, test := range []struct {
		name string
		do   func(*registry.Registry)
		want eureka.Action
		end  eureka.Status
	}{
		{"renew", func(r *registry.Registry) { r.Renew(key, 1, "", registry.Origin{}) }, eureka.ActionHeartbeat, eureka.StatusUp},
		{"cancel", func(r *registry.Registry) { r.Cancel(key, registry.Origin{}) }, eureka.ActionCancel, ""},
		{"status", func(r *registry.Registry) {
			r.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
		}, eureka.ActionStatusUpdate, eureka.StatusOutOfService},
		{"status and its removal", func(r *registry.Registry) {
			r.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
			r.DeleteStatusOverride(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
		}, eureka.ActionDeleteStatusOverride, eureka.StatusDown},
		{"status with a greater timestamp", func(r *registry.Registry) {
			r.SetStatus(key, eureka.StatusDown, 7, registry.Origin{})
		}, eureka.ActionRegister, eureka.StatusDown},
		{"metadata", func(r *registry.Registry) { r.SetMetadata(key, map[string]string{"k": "v"}, registry.Origin{}) }, eureka.ActionRegister, eureka.StatusUp},
		{"register, cancel, register", func(r *registry.Registry) {
			r.Register(instance("DEMO", "d-1", eureka.StatusUp, 2), registry.Origin{})
			r.Cancel(key, registry.Origin{})
			r.Register(instance("DEMO", "d-1", eureka.StatusUp, 2), registry.Origin{})
		}, eureka.ActionRegister, eureka.StatusUp},
		{"register an older one after a cancel", func(r *registry.Registry) {
			r.Cancel(key, registry.Origin{})
			r.Register(instance("DEMO", "d-1", eureka.StatusStarting, 0), registry.Origin{})
		}, eureka.ActionRegister, eureka.StatusStarting},
		{"register and cancel", func(r *registry.Registry) {
			r.Register(instance("DEMO", "d-1", eureka.StatusUp, 2), registry.Origin{})
			r.Renew(key, 2, "", registry.Origin{})
			r.Cancel(key, registry.Origin{})
		}, eureka.ActionCancel, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, n := three(t)
				n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
				time.Sleep(2 * time.Second)
				b.take()
				test.do(n[0].reg)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				for _, s := range b.take() {
					if len(s.Items) != 1 || s.Items[0].Action != test.want || s.Results[0].StatusCode != 200 {
						t.Errorf("to %s: %+v -> %+v, want one %s answered 200", s.To, s.Items, s.Results, test.want)
					}
				}
				want, _, _ := n[0].reg.Entry(key)
				for _, node := range n {
					if got := node.status("DEMO", "d-1"); got != test.end {
						t.Errorf("%s sees %q, want %q", node.name, got, test.end)
					}
					got, _, _ := node.reg.Entry(key)
					if got.Record.Version != want.Record.Version || got.Record.Hash != want.Record.Hash || got.Override != want.Override {
						t.Errorf("%s holds %+v %+v, n1 %+v %+v", node.name, got.Record, got.Override, want.Record, want.Override)
					}
					node.checkLaw()
				}
			})
		})
	}
}

func TestBurstLeavesInBatchesOf250(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		for i := range 1001 {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		sizes := map[string][]int{}
		for _, s := range b.take() {
			sizes[s.To] = append(sizes[s.To], len(s.Items))
		}
		for _, to := range []string{"n2", "n3"} {
			if got := fmt.Sprint(sizes[to]); got != "[250 250 250 250 1]" && !sameSizes(sizes[to], 250, 250, 250, 250, 1) {
				t.Errorf("batches to %s: %v, want 4 x 250 and 1", to, got)
			}
		}
		for _, node := range n {
			if a, _ := node.reg.Application("DEMO"); len(a.Instances) != 1001 {
				t.Errorf("%s lists %d, want 1001", node.name, len(a.Instances))
			}
		}
	})
}

// sameSizes ignores the order: several batches are in flight at once.
func sameSizes(got []int, want ...int) bool {
	count := map[int]int{}
	for _, n := range got {
		count[n]++
	}
	for _, n := range want {
		count[n]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestFrequentRenewalsHoldNobodyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		hot := registry.NewKey("DEMO", "hot")
		n[0].reg.Register(instance("DEMO", "hot", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		b.take()
		for range 20 {
			n[0].reg.Renew(hot, 1, "", registry.Origin{})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // not at an instant at which a batch is cut
		n[0].reg.Register(instance("DEMO", "cold", eureka.StatusUp, 1), registry.Origin{})
		for range 10 {
			n[0].reg.Renew(hot, 1, "", registry.Origin{})
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		worst := map[string]int64{}
		for _, s := range b.take() {
			for _, i := range s.Items {
				worst[i.ID] = max(worst[i.ID], i.State.Wait)
			}
		}
		for _, id := range []string{"hot", "cold"} {
			if w := worst[id]; w == 0 || w > 500 {
				t.Errorf("%s waited %d ms at most, want 1..500", id, w)
			}
		}
	})
}

func TestUnknownHeartbeatBringsARegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		// n2 misses the register: the register is refused there as often as it is
		// sent, and anti-entropy can't repair that.
		b.failSync(func(string, string, []byte) error { return errLost })
		b.fail(refuse(func(from, to string) bool { return to == "n2" }, batcher.Malformed))
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		b.fail(nil)
		b.take()
		if got := n[1].status("DEMO", "d-1"); got != "" {
			t.Fatalf("n2 sees %q before the heartbeat", got)
		}
		n[0].reg.Renew(key, 1, "", registry.Origin{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		var seq []string
		for _, s := range b.take() {
			if s.To == "n2" {
				seq = append(seq, fmt.Sprint(s.Items[0].Action, " ", s.Results[0].StatusCode))
			}
		}
		if got, want := strings.Join(seq, ", "), "Heartbeat 404, Register 200"; got != want {
			t.Errorf("to n2: %s, want %s", got, want)
		}
		if got := n[1].status("DEMO", "d-1"); got != eureka.StatusUp {
			t.Errorf("n2 sees %q after the heartbeat, want UP", got)
		}
		for _, p := range n[0].cluster.Peers() {
			if want := map[string]uint64{"n2": 1, "n3": 0}[p.Name]; p.Acceptor.Dropped[acceptor.Malformed] != want {
				t.Errorf("malformed to %s: %d, want %d", p.Name, p.Acceptor.Dropped[acceptor.Malformed], want)
			}
		}
	})
}

func TestConflictIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		// n2 changes the instance and can't send that to n1. Anti-entropy can't
		// either. Then n1 sends a heartbeat.
		b.failSync(func(string, string, []byte) error { return errLost })
		b.fail(refuse(func(from, to string) bool { return from == "n2" }, batcher.Malformed))
		n[1].reg.SetMetadata(key, map[string]string{"by": "n2"}, registry.Origin{})
		n[1].reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
		time.Sleep(2 * time.Second)
		if got := n[0].status("DEMO", "d-1"); got != eureka.StatusUp {
			t.Fatalf("n1 sees %q before the heartbeat, want UP", got)
		}
		n[0].reg.Renew(key, 1, "", registry.Origin{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := n[0].status("DEMO", "d-1"); got != eureka.StatusOutOfService {
			t.Errorf("n1 sees %q after the conflict, want OUT_OF_SERVICE", got)
		}
		if i, _ := n[0].reg.Instance(key); i == nil || i.Metadata["by"] != "n2" {
			t.Errorf("n1 holds %+v, want n2's metadata", i)
		}
	})
}

func TestTombstoneWinsOverALateRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		// n1's metadata change waits for n2 while n2 receives n3's cancel.
		b.fail(refuse(func(from, to string) bool { return from == "n1" }, batcher.Timeout))
		n[0].reg.SetMetadata(key, map[string]string{"k": "v"}, registry.Origin{})
		time.Sleep(time.Second)
		n[2].reg.Cancel(key, registry.Origin{})
		time.Sleep(time.Second)
		b.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, node := range n {
			if got := node.status("DEMO", "d-1"); got != "" {
				t.Errorf("%s sees %q, want nothing", node.name, got)
			}
			node.checkLaw()
		}
	})
}

func TestNothingIsLostByFailures(t *testing.T) {
	for _, test := range []struct {
		name  string
		apply bool
		err   error
	}{
		{"busy", false, batcher.Busy},
		{"timeout", false, batcher.Timeout},
		{"absent", false, batcher.Absent},
		{"disconnected", false, batcher.Disconnected},
		{"something else", false, errLost},
		{"the reply is lost after the batch was applied", true, batcher.Timeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, n := three(t)
				b.fail(func(_, to string) (bool, error) {
					if to == "n2" {
						return test.apply, test.err
					}
					return true, nil
				})
				start := time.Now()
				for i := range 300 {
					n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if a, _ := n[2].reg.Application("DEMO"); len(a.Instances) != 300 {
					t.Errorf("n3 lists %d while n2 fails, want 300: a dead peer costs the others nothing", len(a.Instances))
				}
				n[0].reg.Cancel(registry.NewKey("DEMO", "d-0"), registry.Origin{})
				b.fail(nil)
				time.Sleep(40 * time.Second) // the longest wait, and jitter
				synctest.Wait()
				if a, _ := n[1].reg.Application("DEMO"); len(a.Instances) != 299 {
					t.Errorf("n2 lists %d %v after the failure, want 299", len(a.Instances), time.Since(start))
				}
				for _, p := range n[0].cluster.Peers() {
					if p.Acceptor.Pending() != 0 || p.Acceptor.InFlight != 0 || p.Acceptor.TotalDropped() != 0 {
						t.Errorf("pipeline to %s: %+v, want it empty and nothing dropped", p.Name, p.Acceptor)
					}
				}
				n[0].checkLaw()
			})
		})
	}
}

func TestLateJoinerLearnsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		n1 := b.start("n1")
		for i := range 600 {
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		n1.reg.Cancel(registry.NewKey("DEMO", "d-0"), registry.Origin{})
		n1.reg.SetStatus(registry.NewKey("DEMO", "d-1"), eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
		time.Sleep(10 * time.Second)
		n2 := b.start("n2")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a, _ := n2.reg.Application("DEMO"); len(a.Instances) != 599 {
			t.Errorf("n2 lists %d, want 599", len(a.Instances))
		}
		if got := n2.status("DEMO", "d-1"); got != eureka.StatusDown {
			t.Errorf("n2 sees d-1 %q, want DOWN", got)
		}
		if e, _, ok := n2.reg.Entry(registry.NewKey("DEMO", "d-0")); !ok || e.Record.Live {
			t.Errorf("n2 knows of the cancelled one: %t, live %t, want its tombstone", ok, e.Record.Live)
		}

		// A node that starts again under its name has forgotten everything.
		n2.close()
		again := b.start("n2")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a, _ := again.reg.Application("DEMO"); len(a.Instances) != 599 {
			t.Errorf("n2 lists %d after its restart, want 599", len(a.Instances))
		}
	})
}

// A snapshot may be older than any node's memory of a cancel.
func TestOldSnapshotIsNotListed(t *testing.T) {
	const lease, retired = 90 * time.Second, 480 * time.Second
	for _, tt := range []struct {
		name    string
		peerUp  time.Duration // when the node starts; 0: there is no peer
		age     time.Duration // of the lease in the snapshot
		renewed bool          // through the peer, lately
		listed  bool
	}{
		{name: "the peer was there all the time", peerUp: time.Hour, age: retired + time.Minute, listed: false},
		{name: "a lease that is not that old", peerUp: time.Hour, age: retired - time.Minute, listed: true},
		{name: "the client goes on", peerUp: time.Hour, age: retired + time.Minute, renewed: true, listed: true},
		{name: "the peer has started since", peerUp: retired, age: retired + time.Minute, listed: true},
		{name: "all start", age: retired + time.Minute, listed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				key := registry.NewKey("DEMO", "d-1")
				time.Sleep(time.Hour) // the lease began before this
				if tt.peerUp > 0 {
					n1 := b.start("n1")
					time.Sleep(tt.peerUp)
					if tt.renewed {
						n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 2), registry.Origin{})
					}
				}
				once, err := registry.New(registry.Options{})
				if err != nil {
					t.Fatal(err)
				}
				once.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
				kept, _, _ := once.Entry(key)
				kept.Age = tt.age
				b.snapshot = func(reg *registry.Registry) {
					reg.Join(key, kept, registry.Registered|registry.Overridden, registry.Origin{Way: registry.ByBatch})
				}
				n2 := b.start("n2")
				time.Sleep(time.Second)
				synctest.Wait()
				if _, listed := n2.reg.Instance(key); listed != tt.listed {
					t.Errorf("lists it: %t, want %t", listed, tt.listed)
				}
				// A node that has it lists it no longer than a lease.
				time.Sleep(lease)
				n2.reg.Evict()
				if _, listed := n2.reg.Instance(key); listed && !tt.renewed {
					t.Error("lists it after a whole lease")
				}
			})
		})
	}
}

func TestMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		n[1].vanish()
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		status := func() membership.Status {
			for _, p := range n[0].cluster.Peers() {
				if p.Name == "n2" {
					return p.Status
				}
			}
			return "gone"
		}
		if got := status(); got != membership.Reachable {
			t.Errorf("at once: %s, want reachable", got)
		}
		time.Sleep(7 * time.Second)
		if got := status(); got != membership.Unreachable {
			t.Errorf("after 7 s: %s, want unreachable", got)
		}
		n[1].comeBack()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := status(); got != membership.Reachable {
			t.Errorf("back: %s, want reachable", got)
		}
		if got := n[1].status("DEMO", "d-1"); got != eureka.StatusUp {
			t.Errorf("n2 sees %q within 2 s of its return, want UP: presence ends the wait", got)
		}
		n[1].vanish()
		time.Sleep(6 * time.Minute)
		if got := status(); got != "gone" {
			t.Errorf("after 6 minutes: %s, want gone", got)
		}
		if log := n[0].log.String(); strings.Count(log, "peer gone") != 1 {
			t.Errorf("log does not say once that the peer is gone:\n%s", log)
		}
		n[1].comeBack()
		time.Sleep(2 * time.Second)
		if got := status(); got != membership.Reachable {
			t.Errorf("back after being gone: %s, want reachable", got)
		}
		_ = b
	})
}

func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		isReady := func(n *testNode) bool {
			synctest.Wait()
			select {
			case <-n.cluster.Ready():
				return true
			default:
				return false
			}
		}
		n1 := b.start("n1")
		time.Sleep(249 * time.Millisecond)
		if isReady(n1) {
			t.Error("alone: ready after 249 ms")
		}
		time.Sleep(time.Millisecond)
		if !isReady(n1) {
			t.Error("alone: not ready after 250 ms")
		}
		n2 := b.start("n2")
		time.Sleep(250 * time.Millisecond)
		if !isReady(n2) {
			t.Error("with a peer: not ready after 250 ms, in which one of its name would have answered")
		}
	})
}

func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		for i := range 600 {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		start := time.Now()
		n[0].close()
		if d := time.Since(start); d >= 500*time.Millisecond {
			t.Errorf("stop took %v: it must not wait for the window", d)
		}
		for _, node := range n[1:] {
			if a, _ := node.reg.Application("DEMO"); len(a.Instances) != 600 {
				t.Errorf("%s lists %d after the drain, want 600", node.name, len(a.Instances))
			}
			for _, p := range node.cluster.Peers() {
				if p.Name == "n1" && p.Status != membership.Left {
					t.Errorf("%s thinks n1 is %s, want left", node.name, p.Status)
				}
			}
		}
		_ = b
	})
}

func TestShutdownCountsWhatItCannotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		b.fail(refuse(func(from, to string) bool { return to == "n2" }, batcher.Busy))
		for i := range 600 {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		start := time.Now()
		n[0].close()
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("stop took %v, want at most the drain's 5 s", d)
		}
		for _, p := range n[0].cluster.Peers() {
			if want := map[string]uint64{"n2": 600, "n3": 0}[p.Name]; p.Acceptor.Dropped[acceptor.Shutdown] != want {
				t.Errorf("dropped to %s: %d, want %d", p.Name, p.Acceptor.Dropped[acceptor.Shutdown], want)
			}
		}
		n[0].checkLaw()
	})
}

// A peer that is absent for 4.5 s of the drain gets everything in the rest of
// it: a node that stops does not count as suspended.
func TestShutdownSendsUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		b.fail(refuse(func(_, to string) bool { return to == "n2" }, batcher.Absent))
		for i := range 600 {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		back := time.AfterFunc(4500*time.Millisecond, func() { b.fail(nil) })
		defer back.Stop()
		n[0].close()
		if a, _ := n[1].reg.Application("DEMO"); len(a.Instances) != 600 {
			t.Errorf("n2 lists %d after the drain, want 600", len(a.Instances))
		}
		for _, p := range n[0].cluster.Peers() {
			if got := p.Acceptor.Dropped[acceptor.Shutdown]; got != 0 {
				t.Errorf("dropped to %s: %d, want none", p.Name, got)
			}
		}
		n[0].checkLaw()
	})
}

func TestShutdownDoesNotWaitForWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		n[1].close()
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		start := time.Now()
		n[0].close()
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("stop took %v with a peer that had left, want no drain to it", d)
		}
		if got := n[2].status("DEMO", "d-1"); got != eureka.StatusUp {
			t.Errorf("n3 sees %q, want UP: it was there to drain to", got)
		}
		n[0].checkLaw()
	})
}

// TestHeartbeatsExpireByTheLease has clients that renew every 30 s, and a batch
// window or an outage that is longer: the lease at the peer is as old as it is
// here.
func TestHeartbeatsExpireByTheLease(t *testing.T) {
	for _, tc := range []struct {
		name   string
		delay  time.Duration
		outage time.Duration
		oldest time.Duration // lease at the peer, once two minutes are over
	}{
		{"a long window", 35 * time.Second, 0, 70 * time.Second},
		{"an outage", 500 * time.Millisecond, 10 * time.Minute, 11 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				n1 := b.start("n1", func(o *cluster.Options) { o.BatchDelay = tc.delay })
				n2 := b.start("n2")
				time.Sleep(3 * time.Second)
				b.mu.Lock() // Leases must travel in batches only.
				b.onSync = func(string, string, []byte) error { return errLost }
				b.mu.Unlock()
				key := registry.NewKey("DEMO", "a")
				n1.reg.Register(instance(key.App, key.ID, eureka.StatusUp, 1), registry.Origin{})
				time.Sleep(tc.delay + time.Second)
				began := time.Now()
				if tc.outage > 0 {
					b.fail(refuse(func(string, string) bool { return true }, batcher.Timeout))
				}
				for time.Since(began) < 15*time.Minute {
					time.Sleep(30 * time.Second)
					if tc.outage > 0 && time.Since(began) > tc.outage {
						b.fail(nil)
					}
					n1.reg.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
					if there, _, ok := n2.reg.Entry(key); !ok || there.Age > tc.oldest && time.Since(began) > 2*time.Minute {
						t.Fatalf("after %v the peer's lease is %v old, want at most %v", time.Since(began), there.Age, tc.oldest)
					}
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				here, _, _ := n1.reg.Entry(key)
				if there, _, _ := n2.reg.Entry(key); tc.outage > 0 && there.Age != here.Age {
					t.Errorf("the lease is %v old at the peer, %v here", there.Age, here.Age)
				}
				if got := n1.pipeline("n2").Acceptor.Dropped[acceptor.Expired]; got != 0 {
					t.Errorf("%d heartbeats expired, want none", got)
				}
			})
		})
	}
}
