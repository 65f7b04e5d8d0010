package cluster_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/race"
	"github.com/registryd/registryd/registry"
)

const ms = time.Millisecond

// pair starts two nodes that know each other.
func pair(t *testing.T, opts ...func(*cluster.Options)) (*bus, *testNode, *testNode) {
	t.Helper()
	b := newBus(t)
	n1, n2 := b.start("n1", opts...), b.start("n2", opts...)
	time.Sleep(3 * time.Second)
	synctest.Wait()
	b.take()
	return b, n1, n2
}

// pipeline returns the snapshot of a node's pipeline to a peer.
func (n *testNode) pipeline(to string) cluster.Peer {
	n.bus.t.Helper()
	for _, p := range n.cluster.Peers() {
		if p.Name == to {
			return p
		}
	}
	n.bus.t.Fatalf("%s has no pipeline to %s", n.name, to)
	return cluster.Peer{}
}

// scaled returns a quarter of n where the race detector makes each of them cost
// five times as much.
func scaled(n int) int {
	if race.Enabled {
		return n / 4
	}
	return n
}

// TestNobodyStarves lets clients renew far more often than batches leave. In
// Java's pipeline such a client, at the head of the queue, delays all others.
func TestNobodyStarves(t *testing.T) {
	const (
		hot   = 200
		size  = 10
		delay = 300 * ms // what the peer takes
	)
	for _, mode := range simModes {
		for _, slow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, slow peer %t", mode, slow), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, n1, _ := pair(t, func(o *cluster.Options) { o.BatchMode, o.BatchSize = mode, size })
					keys := make([]registry.Key, hot)
					for i := range keys {
						keys[i] = registry.NewKey("DEMO", fmt.Sprint("hot-", i))
						n1.reg.Register(instance("DEMO", keys[i].ID, eureka.StatusUp, 1), registry.Origin{})
					}
					time.Sleep(5 * time.Second)
					b.take()
					if slow {
						b.fail(func(string, string) (bool, error) { time.Sleep(delay); return true, nil })
					}
					ticks := 250
					if slow {
						ticks = scaled(1000)
					}
					var changed []time.Time
					for tick := range ticks { // Each renews 50 times a second.
						for _, key := range keys {
							n1.reg.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
						}
						if tick%100 == 99 {
							changed = append(changed, time.Now())
							n1.reg.Register(instance("DEMO", fmt.Sprint("cold-", len(changed)), eureka.StatusUp, 1), registry.Origin{})
						}
						time.Sleep(20 * ms)
					}
					b.fail(nil)
					time.Sleep(5 * time.Second)
					synctest.Wait()

					// At most all slots are ahead; batches leave four by four.
					limit := 500 * ms
					if slow {
						limit += (hot/size/4 + 1) * delay
					}
					sent, worst := map[string]int{}, time.Duration(0)
					for _, s := range b.take() {
						for _, item := range s.Items {
							sent[item.ID]++
							worst = max(worst, time.Duration(item.State.Wait)*ms)
						}
					}
					if worst > limit {
						t.Errorf("a slot waited %v, want at most %v", worst, limit)
					}
					for i := range changed {
						if sent[fmt.Sprint("cold-", i+1)] == 0 {
							t.Errorf("change %d was never sent", i+1)
						}
					}
					least, most := 1<<30, 0
					for _, key := range keys {
						least, most = min(least, sent[key.ID]), max(most, sent[key.ID])
					}
					if least == 0 || most-least > 2+most/10 {
						t.Errorf("of equal clients one was sent %d times, one %d", least, most)
					}
					t.Logf("longest wait %v of %v; each client sent %d to %d times", worst, limit, least, most)
				})
			})
		}
	}
}

// heap returns the bytes that are alive.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// bytesPerSlot bounds a pending slot: its node, its place in the map, and as
// much again for the map's spare room.
const bytesPerSlot = 512

// TestAnHourOfOutage makes 20,000 changes to 2,000 of 6,000 instances while the
// peer is away. In one case it is gone, in the other it is there and refuses.
func TestAnHourOfOutage(t *testing.T) {
	instances, touched, changes := scaled(6000), scaled(2000), scaled(20_000)
	for _, tc := range []struct {
		name    string
		gone    bool
		returns time.Duration // bound of the time until all is there
		sync    float64       // bound of the bytes of sync, by those of the instances that differ
	}{
		{"gone", true, 5 * time.Second, 1},
		// Its pipeline tries every 30 s; anti-entropy is faster.
		{"there, but it refuses", false, 5 * time.Second, 1.5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, n1, n2 := pair(t)
				long := func(id string, dirty int64) *eureka.InstanceInfo {
					i := instance("DEMO", id, eureka.StatusUp, dirty)
					i.LeaseInfo.DurationInSecs = 2 * 3600 // Nothing expires or retires meanwhile.
					return i
				}
				for i := range instances {
					n1.reg.Register(long(fmt.Sprint("d-", i), 1), registry.Origin{})
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				checkEqual(t, n1, n2)
				size := float64(n1.pipeline("n2").Batcher.Bytes) / float64(instances) // of one as a task
				b.take()

				before := heap()
				if tc.gone {
					n2.vanish()
				} else {
					b.fail(refuse(func(string, string) bool { return true }, batcher.Busy))
					b.mu.Lock()
					b.onSync = func(string, string, []byte) error { return errLost }
					b.mu.Unlock()
				}
				rnd := rand.New(rand.NewPCG(1, 1))
				most, grown := 0, int64(0)
				for i := range changes {
					id := fmt.Sprint("d-", rnd.IntN(touched))
					key := registry.NewKey("DEMO", id)
					switch rnd.IntN(5) {
					case 0:
						n1.reg.Cancel(key, registry.Origin{})
					case 1:
						n1.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
					case 2:
						n1.reg.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
					default:
						n1.reg.Register(long(id, int64(i)), registry.Origin{})
					}
					time.Sleep(time.Hour / time.Duration(changes))
					if i%(changes/20) != 0 {
						continue
					}
					for _, p := range n1.cluster.Peers() {
						most = max(most, p.Acceptor.Pending()+p.Acceptor.InFlight)
					}
					grown = max(grown, heap()-before)
				}
				if most > touched {
					t.Errorf("%d slots, want at most one for each of %d instances", most, touched)
				}
				if bound := int64(touched*bytesPerSlot + 2<<20); grown > bound { // The rest is the registry's and the log.
					t.Errorf("the heap grew by %d bytes, want at most %d", grown, bound)
				}

				differ := 0
				for i := range touched {
					key := registry.NewKey("DEMO", fmt.Sprint("d-", i))
					ours, _, _ := n1.reg.Entry(key)
					theirs, _, _ := n2.reg.Entry(key)
					if ours.Record.Version != theirs.Record.Version || ours.Override != theirs.Override {
						differ++
					}
				}
				sent := func() (bytes float64) {
					for _, p := range n1.cluster.Peers() {
						bytes += float64(p.Batcher.Bytes)
					}
					return bytes
				}
				b.mu.Lock()
				b.onRequest, b.onSync, b.synced = nil, nil, 0
				b.mu.Unlock()
				already := sent()
				n2.comeBack()
				returned := time.Now()
				for n1.reg.Digest() != n2.reg.Digest() {
					if time.Since(returned) > time.Hour {
						t.Fatal("the nodes have not become equal in an hour")
					}
					time.Sleep(100 * ms)
				}
				took := time.Since(returned)
				if took > tc.returns {
					t.Errorf("everything had arrived %v after the return, want at most %v", took, tc.returns)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				b.mu.Lock()
				synced := float64(b.synced)
				b.mu.Unlock()
				batches := sent() - already
				t.Logf("%d differ, at most %d slots, heap +%d KB; equal after %v; batches %.0f KB, sync %.0f KB; the instances that differ are %.0f KB",
					differ, most, grown>>10, took, batches/1024, synced/1024, float64(differ)*size/1024)
				// Tombstones are small. Sync compares versions, 130 bytes each, of
				// about every second instance. While batches are still held back, it
				// carries the entries too.
				if want := float64(differ) * size; batches > 1.1*want || synced > tc.sync*want {
					t.Errorf("%.0f bytes in batches and %.0f in sync, want at most 1.1 and %.1f times %.0f, that of the instances that differ",
						batches, synced, tc.sync, want)
				}
				checkEqual(t, n1, n2)
			})
		})
	}
}

// TestOtherPeersDoNotNotice has one peer that never answers, one that takes two
// seconds, and a healthy one. The healthy one gets the same at the same times
// as if it were alone with n1.
func TestOtherPeersDoNotNotice(t *testing.T) {
	changes := scaled(3000)
	run := func(t *testing.T, trouble bool) (times map[string]time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			b := newBus(t)
			n1 := b.start("n1")
			names := []string{"well"}
			if trouble {
				names = append(names, "mute", "slow")
			}
			for _, name := range names {
				b.start(name)
			}
			time.Sleep(3*time.Second - time.Since(simEpoch)%time.Second)
			synctest.Wait()
			b.take()
			b.fail(func(_, to string) (bool, error) {
				switch to {
				case "mute": // As long as the sender waits.
					time.Sleep(batcher.SendTimeout)
					return false, batcher.Timeout
				case "slow":
					time.Sleep(2*time.Second - ms)
				}
				return true, nil
			})
			start := time.Now()
			for i := range changes {
				n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
				time.Sleep(ms)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			times = make(map[string]time.Duration)
			for _, s := range b.take() {
				for _, item := range s.Items {
					if _, here := times[item.ID]; s.To == "well" && !here {
						times[item.ID] = s.At.Sub(start)
					}
				}
			}
			if !trouble {
				return
			}
			if a, _ := b.nodes["slow"].reg.Application("DEMO"); len(a.Instances) != changes {
				t.Errorf("the slow one lists %d, want %d", len(a.Instances), changes)
			}
			mute := n1.pipeline("mute")
			if mute.Acceptor.Pending()+mute.Acceptor.InFlight != changes || mute.Acceptor.Dropped[acceptor.Overflowed] != 0 {
				t.Errorf("of %d for the mute one %d wait, %d are in flight; dropped %v", changes,
					mute.Acceptor.Pending(), mute.Acceptor.InFlight, mute.Acceptor.Dropped)
			}
			b.fail(nil)
			time.Sleep(40 * time.Second)
			synctest.Wait()
			if a, _ := b.nodes["mute"].reg.Application("DEMO"); len(a.Instances) != changes {
				t.Errorf("the mute one lists %d after it has begun to answer, want %d", len(a.Instances), changes)
			}
			n1.checkLaw()
		})
		return times
	}
	alone, among := run(t, false), run(t, true)
	for id := range alone {
		if alone[id] != among[id] {
			t.Errorf("%s arrives after %v alone, after %v among slow peers", id, alone[id], among[id])
			break
		}
	}
	if len(alone) != changes || !maps.Equal(alone, among) {
		t.Errorf("%d arrive alone, %d among slow peers; want %d of each, at the same times", len(alone), len(among), changes)
	}
}

func TestSeveralBatchesAreInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n1, n2 := pair(t)
		var mu sync.Mutex
		flying, most := 0, 0
		b.fail(func(string, string) (bool, error) {
			mu.Lock()
			flying++
			most = max(most, flying)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			flying--
			mu.Unlock()
			return true, nil
		})
		for i := range 2000 {
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		// Eight batches, four at a time: the window and two seconds.
		time.Sleep(2500*ms - 1)
		if got := n2.reg.Len(); got != 1000 {
			t.Errorf("%d there just before 2.5 s, want 1000", got)
		}
		time.Sleep(ms)
		synctest.Wait()
		if got := n2.reg.Len(); got != 2000 || most != batcher.DefaultInFlight {
			t.Errorf("%d there after 2.5 s, %d batches in flight at most; want 2000, %d", got, most, batcher.DefaultInFlight)
		}
	})
}

func TestAdaptiveMode(t *testing.T) {
	adaptive := func(o *cluster.Options) { o.BatchMode = acceptor.Adaptive }
	t.Run("idle: at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, n1, n2 := pair(t, adaptive)
			n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
			synctest.Wait()
			if got := n2.status("DEMO", "d-1"); got != eureka.StatusUp {
				t.Errorf("n2 sees %q without any time passing, want UP", got)
			}
		})
	})
	t.Run("fixed is the default", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, n1, n2 := pair(t)
			n1.reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
			time.Sleep(499 * ms)
			synctest.Wait()
			if got := n2.status("DEMO", "d-1"); got != "" {
				t.Errorf("n2 sees %q after 499 ms, want nothing", got)
			}
		})
	})
	t.Run("busy: batches by itself, changes first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, n1, _ := pair(t, adaptive)
			for i := range 600 {
				n1.reg.Register(instance("DEMO", fmt.Sprint("h-", i), eureka.StatusUp, 1), registry.Origin{})
			}
			time.Sleep(5 * time.Second)
			b.take()
			b.fail(func(string, string) (bool, error) { time.Sleep(400 * ms); return true, nil })
			// The first leaves alone; 600 heartbeats make two full batches and
			// wait in a third; two changes come last.
			for i := range 600 {
				n1.reg.Renew(registry.NewKey("DEMO", fmt.Sprint("h-", i)), eureka.NoTimestamp, "", registry.Origin{})
				synctest.Wait()
			}
			n1.reg.Register(instance("DEMO", "new", eureka.StatusUp, 1), registry.Origin{})
			n1.reg.Cancel(registry.NewKey("DEMO", "h-0"), registry.Origin{})
			time.Sleep(5 * time.Second)
			synctest.Wait()
			var got []string
			for _, s := range b.take() {
				first := []string{}
				for _, item := range s.Items[:min(2, len(s.Items))] {
					first = append(first, fmt.Sprint(item.Action, " ", item.ID))
				}
				got = append(got, fmt.Sprintf("%d: %s", len(s.Items), strings.Join(first, ", ")))
			}
			slices.Sort(got)
			want := []string{
				"101: Register new, Cancel h-0", "1: Heartbeat h-0",
				"250: Heartbeat h-1, Heartbeat h-2", "250: Heartbeat h-251, Heartbeat h-252",
			}
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("batches\n got %q\nwant %q", got, want)
			}
		})
	})
}

// TestOneLineInTenSeconds counts what a failing peer costs the log.
func TestOneLineInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n1, n2 := pair(t, func(o *cluster.Options) { o.MaxPending = 100 })
		b.fail(refuse(func(string, string) bool { return true }, batcher.Busy))
		n1.log.Reset()
		for i := range 1200 { // Two minutes; from the hundredth on it overflows.
			n1.reg.Register(instance("DEMO", fmt.Sprint("d-", i), eureka.StatusUp, 1), registry.Origin{})
			time.Sleep(100 * ms)
		}
		synctest.Wait()
		if got := strings.Count(n1.log.String(), "peer=n2"); got < 10 || got > 13 {
			t.Errorf("%d lines in two minutes of failure, want one in ten seconds:\n%s", got, n1.log)
		}
		if !strings.Contains(n1.log.String(), "reason=overflowed") {
			t.Errorf("the log does not report the overflow:\n%s", n1.log)
		}
		n1.log.Reset()
		b.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		lines := strings.TrimSpace(n1.log.String())
		if strings.Contains(lines, "\n") || !strings.Contains(lines, "replication recovered") || !strings.Contains(lines, "attempt=") {
			t.Errorf("want one line, of the recovery and with counts:\n%s", lines)
		}
		if n1.reg.Digest() != n2.reg.Digest() {
			t.Error("the overflowed changes were not repaired")
		}
		n1.checkLaw()
	})
}
