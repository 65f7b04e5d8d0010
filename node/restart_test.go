package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
)

// TestAllNodesRestartAtOnce stops all nodes and starts them together while no
// client runs. Each node's first list is complete. Clients that come back are
// known; the others expire by their leases.
func TestAllNodesRestartAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range brokers {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const each = 12                  // that come back, and that don't
			const shortest = 6 * time.Second // a lease of 1 s: its renewal interval and 5 s
			f := newTrio(t, test.own)
			for i := range f.opts {
				f.opts[i].EvictionInterval = time.Hour // no lease expires before the restart
				f.opts[i].NoSelfPreservation = true
			}
			f.start(t)
			meet(t, f.nodes...)

			ctx := t.Context()
			staying := []string{}
			for i := range each {
				back, gone := instance(fmt.Sprintf("back-%d", i), "1"), instance(fmt.Sprintf("gone-%d", i), "1")
				gone.LeaseInfo = eureka.LeaseInfo{RenewalIntervalInSecs: 1, DurationInSecs: 1}
				n := f.nodes[i%3]
				if err := errors.Join(n.Register(ctx, back), n.Register(ctx, gone)); err != nil {
					t.Fatal(err)
				}
				staying = append(staying, back.ID())
			}
			register(t, f.nodes[0], "cancelled")
			for _, err := range []error{
				f.nodes[0].SetStatus(ctx, "ORDERS", "back-0", eureka.StatusOutOfService),
				f.nodes[1].SetStatus(ctx, "ORDERS", "gone-1", eureka.StatusDown),
				f.nodes[2].SetMetadata(ctx, "ORDERS", "back-2", map[string]string{"generation": "2"}),
				f.nodes[0].Cancel(ctx, "ORDERS", "cancelled"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			want := listing{}
			eventually(t, "all nodes list the same", func() error {
				for i, n := range f.nodes {
					got, err := list(ctx, n.Client)
					if err != nil {
						return err
					}
					if i == 0 {
						want = got
					}
					if err := errors.Join(missing(got, want), missing(want, got)); err != nil {
						return err
					}
				}
				if len(want) != 2*each || want["back-0"].status != eureka.StatusOutOfService ||
					want["gone-1"].override != eureka.StatusDown || want["back-2"].generation != "2" {
					return fmt.Errorf("%+v", want)
				}
				return nil
			})
			f.stop(t)

			readers := f.read(t, func(int) func(listing) error {
				return func(got listing) error { return errors.Join(missing(got, want), missing(want, got)) }
			})
			for i := range f.opts {
				f.opts[i].EvictionInterval = 100 * time.Millisecond
			}
			began := time.Now()
			f.start(t)
			t.Logf("all nodes ready after %v", time.Since(began))
			for _, n := range f.nodes {
				ready(t, n, "ready")
			}
			for _, r := range readers {
				r.waitFor(t, 10)
				r.stop(t)
			}

			for i, id := range staying {
				if err := f.nodes[(i+1)%3].Heartbeat(ctx, "ORDERS", id, eureka.StatusUp, want[id].dirty); err != nil {
					t.Errorf("a client comes back: %v", err)
				}
			}
			if test.own {
				return // a lease has nothing to do with brokers
			}
			eventually(t, "the others expire", func() error {
				for _, n := range f.nodes {
					err := lists(ctx, n, staying...)
					all, listErr := list(ctx, n.Client)
					if since := time.Since(began); listErr == nil && len(all) < 2*each && since < shortest {
						t.Fatalf("%s lists %d of %d after %v, within the shortest lease", n.Name(), len(all), 2*each, since)
					}
					if err = errors.Join(err, listErr); err != nil {
						return err
					}
				}
				return nil
			})
			maps.DeleteFunc(want, func(_ string, l listed) bool { return l.duration == 1 })
			f.agree(t, want)
		})
	}
}

// TestRestartFromOldSnapshots starts nodes together from snapshots of different
// times, as after a crash of all. No node lists less than its own snapshot
// holds, or, if it knew the others while they started, than all snapshots hold.
// In the end all list what the latest snapshot does.
func TestRestartFromOldSnapshots(t *testing.T) {
	t.Parallel()
	for _, test := range brokers {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			f := newTrio(t, test.own)
			f.start(t)
			meet(t, f.nodes...)
			var ids []string
			held := make([]listing, 3) // by the snapshot of each node
			for i := range f.opts {
				for j := range 10 {
					ids = append(ids, fmt.Sprintf("i-%d-%d", i, j))
				}
				register(t, f.nodes[i], ids[10*i:]...)
				allList(t, f.nodes, ids...)
				if i == 2 { // the snapshots of the other two miss this
					if err := errors.Join(
						f.nodes[i].Cancel(ctx, "ORDERS", "i-0-0"),
						f.nodes[i].SetStatus(ctx, "ORDERS", "i-1-1", eureka.StatusOutOfService),
					); err != nil {
						t.Fatal(err)
					}
				}
				waitForSnapshot(t, f.nodes[i])
				f.opts[i].DataDir = copyDir(t, f.opts[i].DataDir)
				var err error
				if held[i], err = list(ctx, f.nodes[i].Client); err != nil {
					t.Fatal(err)
				}
			}
			want := held[2]
			if len(want) != len(ids)-1 || want["i-1-1"].status != eureka.StatusOutOfService {
				t.Fatalf("before the crash: %+v", want)
			}
			f.stop(t)

			logs := make([]*lines, 3)
			for i := range f.opts {
				logs[i] = &lines{}
				f.opts[i].Logger = slog.New(slog.NewMultiHandler(f.opts[i].Logger.Handler(), logs[i].logger().Handler()))
			}
			short := make([]string, 3) // the first list without what only others' snapshots hold; each owned by its reader
			readers := f.read(t, func(i int) func(listing) error {
				return func(got listing) error {
					if err := missing(got, want); err != nil && short[i] == "" {
						short[i] = err.Error()
					}
					for id := range held[i] {
						if _, ok := got[id]; !ok && id != "i-0-0" {
							return fmt.Errorf("a list of %d without %s, which was in its snapshot", len(got), id)
						}
					}
					return nil
				}
			})
			f.start(t)
			f.agree(t, want)
			for _, r := range readers {
				r.waitFor(t, 10)
				r.stop(t)
			}
			together := startedTogether(t, logs)
			t.Logf("all knew each other in time: %t", together)
			for i, err := range short {
				switch {
				case err != "" && together:
					t.Errorf("n%d knew both others while all were starting, and served %s", i+1, err)
				case err != "":
					t.Logf("n%d started too early or too late for the others, and served %s", i+1, err)
				}
			}
		})
	}
}

// startedTogether reports, by their logs, whether each of three nodes has heard
// the others within the time for which a starting node waits for them.
func startedTogether(tb testing.TB, logs []*lines) bool {
	tb.Helper()
	const wait = 200 * time.Millisecond // of 250 ms, which begin after the snapshot was loaded
	at := func(line map[string]any) time.Time {
		out, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["time"]))
		if err != nil {
			tb.Fatalf("time in the log: %v", err)
		}
		return out
	}
	for i, log := range logs {
		loaded, joined := log.with(tb, "msg", "snapshot loaded"), log.with(tb, "msg", "peer joined")
		if len(loaded) != 1 {
			tb.Fatalf("n%d: %d snapshots loaded by its log, want 1", i+1, len(loaded))
		}
		if len(joined) < len(logs)-1 {
			return false
		}
		for _, line := range joined {
			if at(line).Sub(at(loaded[0])) > wait {
				return false
			}
		}
	}
	return true
}

// TestRestartWhileClientsRegister stops all nodes and starts them together,
// while clients send heartbeats, register again, and register for the first
// time. If starting nodes trusted each other's snapshots blindly, changes that
// one of them accepted meanwhile would be lost (alibaba/nacos#15857).
func TestRestartWhileClientsRegister(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		own, crash bool
	}{
		{"stopped, one broker that stays", false, false},
		{"crashed, brokers of their own", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const old, young = 12, 12 // clients that are there before the restart, and that come during it
			f := newTrio(t, test.own)
			for i := range f.opts {
				f.opts[i].EvictionInterval = 100 * time.Millisecond
				f.opts[i].NoSelfPreservation = true // a client without a lease is lost
				f.opts[i].BatchDelay = delay        // so peers receive changes only after they have synced
			}
			f.start(t)
			meet(t, f.nodes...)

			stop := make(chan struct{})
			var running sync.WaitGroup
			defer running.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var clients []*busyClient
			var crashes atomic.Int64
			come := func(count int, apart time.Duration) {
				for i := range count {
					at := len(clients)
					c := newBusyClient(t, fmt.Sprintf("c-%02d", at), &crashes,
						f.opts[at%3].Listen, f.opts[(at+1)%3].Listen, f.opts[(at+2)%3].Listen)
					clients = append(clients, c)
					running.Go(func() { c.run(ctx, time.Duration(i)*apart, stop) })
				}
			}
			come(old, 0)
			var there []string // listed by every node before the restart
			for _, c := range clients {
				there = append(there, c.id)
			}
			allList(t, f.nodes, there...)
			for _, n := range f.nodes {
				waitForSnapshot(t, n)
			}

			readers := f.read(t, func(int) func(listing) error {
				latest := map[string]string{}
				return func(got listing) error {
					for _, id := range there {
						if _, ok := got[id]; !ok {
							return fmt.Errorf("a list of %d without %s, which no lease has ended for", len(got), id)
						}
					}
					for id, l := range got {
						if l.generation < latest[id] && !test.crash {
							return fmt.Errorf("generation %s of %s after generation %s", l.generation, id, latest[id])
						}
						latest[id] = l.generation
					}
					return nil
				}
			})
			for _, r := range readers {
				r.waitFor(t, 10)
			}
			if test.crash {
				crashes.Add(1) // what is accepted from now on may not be in the copy
				f.crash(t)
				crashes.Add(1)
			} else {
				f.stop(t)
			}
			come(young, 30*time.Millisecond) // while the nodes start
			began := time.Now()
			f.start(t)
			t.Logf("all nodes ready after %v", time.Since(began))

			before := make([]int, len(clients))
			for i, c := range clients {
				before[i] = c.state().calls
			}
			for i, c := range clients {
				eventually(t, c.id+" continues", func() error {
					if got := c.state().calls - before[i]; got < 10 {
						return fmt.Errorf("%d calls were accepted", got)
					}
					return nil
				})
			}
			for _, r := range readers {
				r.waitFor(t, 10)
			}
			close(stop)
			running.Wait()
			want, notFound := listing{}, 0
			for _, c := range clients {
				s := c.state()
				want[c.id] = s.accepted
				notFound += s.notFound
				if s.forgotten > 0 {
					t.Errorf("%s: %d of its heartbeats got 404 from a node that had accepted its registration", c.id, s.forgotten)
				}
			}
			if len(want) != old+young {
				t.Fatalf("%d clients, want %d", len(want), old+young)
			}
			f.agree(t, want)
			for _, r := range readers {
				r.stop(t)
			}
			t.Logf("%d heartbeats were answered with 404", notFound)
		})
	}
}
