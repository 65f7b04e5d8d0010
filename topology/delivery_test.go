package topology_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load registers instances again and again, each time with another generation,
// each instance at one node.
type load struct {
	count atomic.Int64
	stop  chan struct{}
	wait  sync.WaitGroup

	mu   sync.Mutex
	last map[string]string // generation by instance
}

// startLoad begins with perSecond changes a second over all nodes, if the
// machine can do it.
func startLoad(tb testing.TB, nodes []*node, instances, perSecond int) *load {
	tb.Helper()
	l := &load{stop: make(chan struct{}), last: map[string]string{}}
	const workers = 12 // A multiple of the nodes.
	for w := range workers {
		n := nodes[w%len(nodes)]
		l.wait.Go(func() {
			tick := time.NewTicker(time.Second * workers / time.Duration(perSecond))
			defer tick.Stop()
			for generation := 1; ; generation++ {
				for i := w; i < instances; i += workers {
					select {
					case <-l.stop:
						return
					case <-tick.C:
					}
					l.change(tb, n, fmt.Sprintf("i-%d", i), strconv.Itoa(generation))
				}
			}
		})
	}
	return l
}

func (l *load) change(tb testing.TB, n *node, id, generation string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	began := time.Now()
	if err := n.Register(ctx, instance(id, generation, 0)); err != nil {
		tb.Errorf("register %s at %s: %v", id, n.id, err)
		return
	}
	if elapsed := time.Since(began); elapsed > 2*prompt {
		tb.Errorf("register at %s took %v, want at most %v", n.id, elapsed, 2*prompt)
	}
	l.mu.Lock()
	l.last[id] = generation
	l.mu.Unlock()
	l.count.Add(1)
}

// reach waits until so many changes were made.
func (l *load) reach(tb testing.TB, n int64) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%d changes", n), func() error {
		if got := l.count.Load(); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// end stops it and returns the last generation of each instance.
func (l *load) end() map[string]string {
	close(l.stop)
	l.wait.Wait()
	return l.last
}

// TestKilledUnderLoad kills the NATS server under load, once after it was
// suspended, and starts it again each time. Every change arrives everywhere.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, startNode(t, fmt.Sprintf("n%d", i+1), "--nats", s.url("")))
	}
	meet(t, nodes...)
	began := time.Now()
	l := startLoad(t, nodes, 300, 1000)
	l.reach(t, 1500)
	s.freeze(t)
	l.reach(t, 3000)
	s.kill(t)
	l.reach(t, 4000)
	s.start(t)
	l.reach(t, 6000)
	s.kill(t)
	l.reach(t, 6500)
	s.start(t)
	l.reach(t, 8000)
	want := l.end()
	t.Logf("%d changes, %.0f a second", l.count.Load(), float64(l.count.Load())/time.Since(began).Seconds())

	for _, n := range nodes {
		eventually(t, n.id+" has the last change of each instance", func() error {
			got, err := n.listed(t.Context())
			if err != nil || maps.Equal(got, want) {
				return err
			}
			behind := 0
			for id, generation := range want {
				if got[id] != generation {
					behind++
				}
			}
			return fmt.Errorf("%d of %d are not the last", behind, len(want))
		})
	}
	for _, n := range nodes {
		eventually(t, n.id+" has nothing left to send", func() error {
			for _, name := range []string{"acceptor_queue_actions", "acceptor_processing_order_slots", "acceptor_retrying_slots", "acceptor_in_flight_slots"} {
				if got := n.now(t, "registryd_"+name); got != 0 {
					return fmt.Errorf("%s: %v", name, got)
				}
			}
			return nil
		})
		if lost := n.now(t, "registryd_acceptor_dropped_actions_total"); lost != 0 {
			t.Errorf("%s has dropped %v actions, want none", n.id, lost)
		}
		offered, done := n.now(t, "registryd_acceptor_offered_actions_total"), n.now(t, "registryd_acceptor_done_actions_total")
		if offered != done {
			t.Errorf("%s: %v actions offered, %v acknowledged or merged", n.id, offered, done)
		}
	}
}
