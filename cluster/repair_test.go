package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// checkEqual checks that all nodes hold the same records and overrides.
func checkEqual(t *testing.T, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes[1:] {
		if got, want := n.reg.Digest(), nodes[0].reg.Digest(); got != want {
			t.Errorf("digest of %s is %016x, of %s %016x", n.name, got, nodes[0].name, want)
		}
	}
	for _, n := range nodes {
		n.checkLaw()
		for _, p := range n.cluster.Peers() {
			if p.Divergent != 0 {
				t.Errorf("%s counts %d divergent from %s, want 0", n.name, p.Divergent, p.Name)
			}
		}
	}
}

func TestAntiEntropyMendsWhatBatchesMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		for i := range 300 {
			n[i%3].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(5 * time.Second)
		// No batch of n1 reaches n2, and the tasks are given up.
		b.fail(refuse(func(from, to string) bool { return from == "n1" && to == "n2" }, batcher.Malformed))
		b.failSync(func(string, string, []byte) error { return errLost })
		n[0].reg.Cancel(registry.NewKey("DEMO", "d-0"), registry.Origin{})
		n[0].reg.SetStatus(registry.NewKey("DEMO", "d-1"), eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
		n[0].reg.SetMetadata(registry.NewKey("DEMO", "d-2"), map[string]string{"k": "v"}, registry.Origin{})
		n[0].reg.Register(instance("DEMO", "new", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(5 * time.Second)
		if n[0].reg.Digest() == n[1].reg.Digest() {
			t.Fatal("n1 and n2 are equal before the repair")
		}
		b.mu.Lock()
		b.onRequest, b.onSync, b.synced = nil, nil, 0
		b.mu.Unlock()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		checkEqual(t, n...)
		if got := n[1].status("DEMO", "d-1"); got != eureka.StatusDown {
			t.Errorf("n2 sees d-1 %q, want DOWN", got)
		}
		// Equal nodes exchange only presence.
		b.mu.Lock()
		b.synced = 0
		b.mu.Unlock()
		time.Sleep(time.Minute)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.synced != 0 {
			t.Errorf("%d bytes of sync in a minute between equal nodes, want none", b.synced)
		}
	})
}

func TestDivergentIsToldAndRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(5 * time.Second)
		// Batches to n2 fail for good, so that the difference stays.
		b.fail(refuse(func(_, to string) bool { return to == "n2" }, batcher.Malformed))
		b.failSync(func(from, _ string, _ []byte) error {
			if from == "n2" {
				return errLost
			}
			return nil
		})
		n[0].reg.SetMetadata(registry.NewKey("DEMO", "d-1"), map[string]string{"k": "v"}, registry.Origin{})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for _, p := range n[0].cluster.Peers() {
			if want := map[string]int64{"n2": 1, "n3": 0}[p.Name]; p.Divergent != want {
				t.Errorf("n1 counts %d divergent from %s, want %d", p.Divergent, p.Name, want)
			}
		}
		differ := n[0].cluster.Differences()
		if len(differ) != 1 || len(differ["n2"]) != 1 {
			t.Fatalf("n1 shows the differences %+v, want one, from n2", differ)
		}
		if d := differ["n2"][0]; d.Key != registry.NewKey("DEMO", "d-1") || d.Ours.Record != d.Theirs.Record+1 {
			t.Errorf("n1 shows %+v, want d-1 with a version that is one more here", d)
		}
		b.mu.Lock()
		b.onRequest, b.onSync = nil, nil
		b.mu.Unlock()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		checkEqual(t, n...)
		if differ := n[0].cluster.Differences(); len(differ) > 0 {
			t.Errorf("n1 shows the differences %+v of equal nodes", differ)
		}

		// Under load nothing counts as divergent.
		for i := range 200 {
			n[i%3].reg.SetMetadata(registry.NewKey("DEMO", "d-1"), map[string]string{"i": fmt.Sprint(i)}, registry.Origin{})
			n[i%3].reg.Register(instance("DEMO", fmt.Sprint("l-", i%20), eureka.StatusUp, int64(i)), registry.Origin{})
			time.Sleep(100 * time.Millisecond)
			for _, node := range n {
				for _, p := range node.cluster.Peers() {
					if p.Divergent != 0 {
						t.Fatalf("%s counts %d divergent from %s under load", node.name, p.Divergent, p.Name)
					}
				}
			}
		}
	})
}

func TestConflictWithoutItsCopyIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		b.mu.Lock()
		b.bareReplies = true
		b.mu.Unlock()
		key := registry.NewKey("DEMO", "d-1")
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(5 * time.Second)
		b.fail(refuse(func(from, _ string) bool { return from == "n2" }, batcher.Malformed))
		n[1].reg.SetMetadata(key, map[string]string{"by": "n2"}, registry.Origin{})
		n[0].reg.Renew(key, 1, "", registry.Origin{})
		time.Sleep(2200 * time.Millisecond) // a window and a pause: before any second round
		synctest.Wait()
		if i, _ := n[0].reg.Instance(key); i.Metadata["by"] != "n2" {
			t.Errorf("n1 holds %v, want n2's metadata, fetched", i.Metadata)
		}
	})
}

func TestStartupSyncGoesOnWithAnotherPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t, func(b *bus) { b.payload.Store(64 << 10) })
		for i := range 2000 {
			n[0].reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		n[0].reg.Cancel(registry.NewKey("DEMO", "d-7"), registry.Origin{})
		time.Sleep(10 * time.Second)
		b.fail(refuse(func(_, to string) bool { return to == "n4" }, batcher.Timeout)) // sync alone
		asked := map[string]int{}
		b.mu.Lock()
		b.onSync = func(from, to string, body []byte) error {
			if from != "n4" || !strings.Contains(string(body), `"page"`) {
				return errLost // no repair here
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			asked[to]++
			if len(asked) == 1 && asked[to] > 3 {
				return errLost // the first one asked dies midway
			}
			return nil
		}
		b.mu.Unlock()
		n4 := b.start("n4")
		<-n4.cluster.Ready()
		synctest.Wait()
		if a, _ := n4.reg.Application("DEMO"); len(a.Instances) != 1999 {
			t.Errorf("n4 lists %d when it is ready, want 1999 (asked %v)", len(a.Instances), asked)
		}
		b.mu.Lock()
		if len(asked) != 2 {
			t.Errorf("asked %v, want two peers", asked)
		}
		total := 0
		for _, times := range asked {
			total += times
		}
		if pages := 2000 * 700 / (64 << 10 * 3 / 4); total < pages || total > 3*pages {
			t.Errorf("%d requests, want about %d pages, each asked for once", total, pages)
		}
		b.mu.Unlock()
		if n4.reg.Digest() != n[0].reg.Digest() {
			t.Error("n4 is not equal to n1")
		}
	})
}

func TestAgesAreAskedBeforeEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(2 * time.Second)
		// The client moves to n2, whose heartbeats don't reach n1.
		b.fail(refuse(func(from, to string) bool { return from == "n2" && to == "n1" }, batcher.Timeout))
		for range 4 {
			time.Sleep(30 * time.Second)
			n[1].reg.Renew(key, 1, "", registry.Origin{})
		}
		expired := n[0].reg.Expired(0)
		if len(expired) != 1 {
			t.Fatalf("n1 takes %v for expired, want one instance", expired)
		}
		n[0].cluster.AskAges(t.Context(), expired)
		if evicted := n[0].reg.EvictExpired(expired); evicted != 0 {
			t.Errorf("n1 evicted %d though n2 had answered", evicted)
		}
		// A peer that does not answer delays an eviction by a second at most.
		b.mu.Lock()
		b.onSync = func(string, string, []byte) error { return errHangs }
		b.mu.Unlock()
		start := time.Now()
		n[0].cluster.AskAges(t.Context(), []registry.Key{key})
		if d := time.Since(start); d > time.Second {
			t.Errorf("asking took %v, want at most 1s", d)
		}
	})
}

// TestRestartedNodeDoesNotListTheEvicted: a restarted node gives every lease
// its whole term, but an instance that its peers have evicted is dead.
func TestRestartedNodeDoesNotListTheEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		n[0].reg.Register(instance("DEMO", "dead", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(time.Minute)
		n[0].reg.Register(instance("DEMO", "late", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(35 * time.Second)
		for _, node := range n {
			node.reg.Evict() // the first one
		}
		n[2].close()
		time.Sleep(time.Second)
		again := b.start("n3")
		for range 20 {
			time.Sleep(time.Second)
			synctest.Wait()
			if got := again.status("DEMO", "dead"); got != "" {
				t.Fatalf("the restarted node sees the dead instance as %q", got)
			}
		}
		if got := again.status("DEMO", "late"); got != eureka.StatusUp {
			t.Errorf("the restarted node sees the other instance as %q, want UP", got)
		}
		for _, node := range []*testNode{n[0], n[1], again} {
			for _, p := range node.cluster.Peers() {
				if p.Divergent != 0 {
					t.Errorf("%s counts %d divergent from %s: declined entries must not count", node.name, p.Divergent, p.Name)
				}
			}
		}
	})
}

func TestSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		if !n[0].cluster.MayWrite() {
			t.Fatal("suspended though it runs")
		}
		goOn := n[0].bus.halt("n1")
		// Its last tick was less than a second ago.
		time.Sleep(4 * time.Second)
		if !n[0].cluster.MayWrite() {
			t.Error("suspended within 5 s of a tick")
		}
		time.Sleep(1001 * time.Millisecond)
		if n[0].cluster.MayWrite() {
			t.Error("not suspended after 5 s without a tick")
		}
		n[1].reg.Register(instance("DEMO", "meanwhile", eureka.StatusUp, 1), registry.Origin{})
		goOn()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !n[0].cluster.MayWrite() {
			t.Error("still suspended two seconds later")
		}
		if got := n[0].status("DEMO", "meanwhile"); got != eureka.StatusUp {
			t.Errorf("n1 sees %q, want UP: it has synced", got)
		}
	})
}

// TestEntryLargerThanAMessage shrinks the bound of a message below an instance
// that one node already holds. The other instances are not affected, and the
// large one is not sent again and again.
func TestEntryLargerThanAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		large := instance("DEMO", "large", eureka.StatusUp, 1)
		large.Metadata = map[string]string{"k": strings.Repeat("x", 100_000)}
		n[0].reg.Register(large, registry.Origin{})
		b.payload.Store(64 << 10) // Before the batch is cut.
		for i := range 20 {
			n[i%3].reg.Register(instance("DEMO", fmt.Sprint("s-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, p := range n[0].cluster.Peers() {
			if got := p.Acceptor.Dropped[acceptor.Malformed]; got != 1 || p.Acceptor.Pending() != 0 {
				t.Errorf("for %s: %d dropped as malformed, %d pending; want 1, 0", p.Name, got, p.Acceptor.Pending())
			}
			if p.Divergent != 1 {
				t.Errorf("for %s: %d divergent, want 1", p.Name, p.Divergent)
			}
		}
		late := b.start("n4")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for _, node := range append(n, late) {
			want := 20
			if node == n[0] {
				want++
			}
			if got := node.reg.Len(); got != want {
				t.Errorf("%s holds %d, want %d", node.name, got, want)
			}
		}
		if text := n[0].log.String(); !strings.Contains(text, "entry omitted from a sync answer") {
			t.Error("n1 does not log what it omits")
		}
		// With a larger bound the instance is sent without anybody's help.
		b.payload.Store(1 << 20)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		checkEqual(t, append(n, late)...)
		for _, node := range n {
			node.checkLaw()
		}
	})
}
