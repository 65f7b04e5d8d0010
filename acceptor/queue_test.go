package acceptor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// gate stops an acceptor's goroutine while it drains: it is asked for the limit
// then. What is offered meanwhile piles up in the acceptor queue.
type gate struct {
	mu     sync.Mutex
	limit  int
	closed chan struct{} // nil: open
}

func (g *gate) Limit() int {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// once lets one drain pass that waits, and stops the next.
func (g *gate) once() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = make(chan struct{})
}

func (g *gate) set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
}

func TestFullRingMergesBesideIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1000}
		a := start(t, options{QueueLen: 4, Limit: g.Limit})
		t.Cleanup(g.open)
		g.shut()
		a.Offer("x", "0") // In the goroutine's hands.
		synctest.Wait()
		for i, key := range []string{"a", "b", "a", "c", "d", "a", "b", "d", "e", "a"} {
			time.Sleep(time.Millisecond)
			a.Offer(key, trace(fmt.Sprint(i)))
		}
		// The ring holds a b a c; beside it stand d a b e.
		g.open()
		synctest.Wait()
		if got := a.Stats().OldestAge; got != 10*time.Millisecond {
			t.Errorf("oldest age = %v, want 10 ms", got)
		}
		if s := a.Stats(); s.AcceptorQueue != 0 || s.ProcessingOrder != 6 || s.Merged != 5 {
			t.Errorf("queue %d, order %d, merged %d, want 0, 6, 5", s.AcceptorQueue, s.ProcessingOrder, s.Merged)
		}
		time.Sleep(500 * time.Millisecond)
		b := takeNow(t, a, 250, 0)
		if got, want := tasks(b), "x=0 a=0259 b=16 c=3 d=47 e=8"; got != want {
			t.Errorf("batch = %q, want %q", got, want)
		}
		if got, want := b.Items[4].Wait(), 505*time.Millisecond; got != want {
			t.Errorf("wait of d = %v, want %v: since its first action", got, want)
		}
	})
}

func TestRingIsUsedAgainAfterOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1000}
		a := start(t, options{QueueLen: 2, Limit: g.Limit})
		t.Cleanup(g.open)
		for round := range 3 {
			g.shut()
			a.Offer("x", "-")
			synctest.Wait()
			for range 5 { // 2 in the ring, 3 beside it
				a.Offer("k", trace(fmt.Sprint(round)))
			}
			g.open()
			synctest.Wait()
		}
		time.Sleep(500 * time.Millisecond)
		if got, want := tasks(takeNow(t, a, 250, 0)), "x=--- k=000001111122222"; got != want {
			t.Errorf("batch = %q, want %q", got, want)
		}
	})
}

// The goroutine has made room in the ring, and the map still holds an older
// action of the key that comes now.
func TestRingStaysClosedUntilTheMapIsDrained(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1000}
		a := start(t, options{QueueLen: 2, Limit: g.Limit})
		t.Cleanup(g.open)
		g.shut()
		a.Offer("x", "0") // In the goroutine's hands.
		synctest.Wait()
		a.Offer("a", "1") // In the ring, as the next one.
		a.Offer("b", "2")
		a.Offer("c", "3") // Beside it.
		g.once()          // Now a and b are in the goroutine's hands.
		synctest.Wait()
		a.Offer("c", "4") // Merged there.
		g.open()
		time.Sleep(500 * time.Millisecond)
		if got := a.Stats().Merged; got != 1 {
			t.Errorf("merged %d, want 1", got)
		}
		if got, want := tasks(takeNow(t, a, 250, 0)), "x=0 a=1 b=2 c=34"; got != want {
			t.Errorf("batch = %q, want %q", got, want)
		}
	})
}

// Offers that never pause must not keep a batch from being cut: here each
// action that is drained brings another one.
func TestCutsUnderConstantLoad(t *testing.T) {
	t.Parallel()
	var (
		a     *pipe
		quiet atomic.Bool
	)
	a = mustNew(t, options{Delay: time.Millisecond, QueueLen: 16, Limit: func() int {
		if !quiet.Load() {
			a.Offer("k", "h")
		}
		return 10
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) }) //nolint:errcheck // Nil, as TestEnd shows.
	a.Offer("k", "h")
	for range 20 {
		b, err := a.Take(ctx, 250, 0)
		if err != nil {
			t.Fatalf("Take: %v", err)
		}
		if err := a.Settle(b, slices.Repeat([]acceptor.Outcome{acceptor.Done()}, len(b.Items))); err != nil {
			t.Fatalf("Settle: %v", err)
		}
	}
	quiet.Store(true)
	cancel()
	wg.Wait()
	checkLaw(t, a)
}

func mustNew(t testing.TB, opts options) *pipe {
	t.Helper()
	opts.Merge = mergeTraces
	if opts.Render == nil {
		opts.Render = func(key string, _ trace, _ time.Duration) (acceptor.Task, acceptor.Reason) { return body(key), "" }
	}
	a, err := acceptor.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Real goroutines, a small ring, cancelled takes, random outcomes: the law holds
// whenever anybody looks, each action ends in exactly one place, and the actions
// of one producer on one key stay in order.
func TestConservationUnderConcurrency(t *testing.T) {
	t.Parallel()
	const producers, keys, actions = 4, 40, 4000
	var (
		mu    sync.Mutex
		ended []trace // slots acknowledged or dropped
	)
	end := func(slot trace) {
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, slot)
	}
	a := mustNew(t, options{
		Delay: 2 * time.Millisecond, QueueLen: 32,
		Limit: func() int { return 30 },
		Render: func(key string, _ trace, wait time.Duration) (acceptor.Task, acceptor.Reason) {
			if key == "k7" && wait > 3*time.Millisecond {
				return acceptor.Task{}, acceptor.Expired
			}
			return body(key), ""
		},
		OnDrop: func(_ string, slot trace, _ acceptor.Reason) { end(slot) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var run, producing, taking sync.WaitGroup
	run.Go(func() { _ = a.Run(ctx) }) //nolint:errcheck // Nil, as TestEnd shows.
	for p := range producers {
		producing.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(p)))
			for i := range actions {
				a.Offer(fmt.Sprintf("k%d", rnd.IntN(keys)), trace(fmt.Sprintf("%d-%d;", p, i)))
				if s := a.Stats(); i%16 == 0 && s.Unaccounted() != 0 {
					t.Errorf("%d actions are unaccounted for: %+v", s.Unaccounted(), s)
				}
			}
		})
	}
	for w := range 3 {
		taking.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(w)))
			for {
				tctx, tcancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(3000))*time.Microsecond)
				b, err := a.Take(tctx, 1+rnd.IntN(8), rnd.IntN(60))
				tcancel()
				if err != nil {
					if errors.Is(err, acceptor.ErrClosed) {
						return
					}
					continue
				}
				outcomes := make([]acceptor.Outcome, len(b.Items))
				for i := range outcomes {
					switch rnd.IntN(4) {
					case 0:
						outcomes[i] = acceptor.Drop(acceptor.Malformed)
					case 1:
						outcomes[i] = acceptor.Done()
						end(b.Items[i].Slot)
					default: // Retry is the zero Outcome.
					}
				}
				if err := a.Settle(b, outcomes); err != nil {
					t.Errorf("Settle: %v", err)
				}
			}
		})
	}
	producing.Wait()
	cancel()
	run.Wait()
	taking.Wait()
	checkLaw(t, a)
	if s := a.Stats(); s.Offered != producers*actions || s.Pending()+s.InFlight != 0 {
		t.Errorf("accepted %d, left %d, want %d, 0", s.Offered, s.Pending()+s.InFlight, producers*actions)
	}
	seen := make(map[string]bool)
	for _, slot := range ended {
		for action := range strings.SplitSeq(strings.TrimSuffix(string(slot), ";"), ";") {
			if seen[action] {
				t.Errorf("action %s ended twice", action)
			}
			seen[action] = true
		}
	}
	if len(seen) != producers*actions {
		t.Errorf("%d actions ended, want %d", len(seen), producers*actions)
	}
}

func TestOfferAllocatesNothing(t *testing.T) {
	a := mustNew(t, options{QueueLen: 2000}) // Not run: nothing drains the ring.
	if got := testing.AllocsPerRun(1000, func() { a.Offer("key", "h") }); got != 0 {
		t.Errorf("allocations per Offer into the ring = %v, want 0", got)
	}
	a.Close(acceptor.Shutdown)
}
