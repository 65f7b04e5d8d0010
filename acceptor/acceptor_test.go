package acceptor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// trace is a slot that remembers all of its actions in the order in which they
// were merged, so that a test sees what was lost, doubled or turned round.
type trace string

func mergeTraces(older, newer trace) trace { return older + newer }

type (
	options = acceptor.Options[string, trace]
	pipe    = acceptor.Acceptor[string, trace]
	batch   = acceptor.Batch[string, trace]
)

// start runs an acceptor of traces, whose task is "key=slot", until the test
// ends, and checks the law of conservation then. It belongs into a bubble.
func start(t *testing.T, opts options) *pipe {
	t.Helper()
	opts.Merge = mergeTraces
	if opts.Render == nil {
		opts.Render = func(key string, slot trace, _ time.Duration) (acceptor.Task, acceptor.Reason) {
			return body(key + "=" + string(slot)), ""
		}
	}
	a, err := acceptor.New(opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		checkLaw(t, a)
		if got := a.Stats().Pending(); got != 0 {
			t.Errorf("pending after Run = %d, want 0", got)
		}
	})
	return a
}

func body(text string) acceptor.Task { return acceptor.Task{Body: []byte(text)} }

func checkLaw(t *testing.T, a *pipe) {
	t.Helper()
	if s := a.Stats(); s.Unaccounted() != 0 {
		t.Fatalf("%d actions are unaccounted for: %+v", s.Unaccounted(), s)
	}
}

// recorder keeps what OnDrop is told, as "key=slot reason".
type recorder struct {
	mu   sync.Mutex
	told []string
}

func (r *recorder) OnDrop(key string, slot trace, reason acceptor.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%s=%s %s", key, slot, reason))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// taking is a Take under way.
type taking struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when batch and err are set
	batch  batch
	err    error
}

func (tk *taking) isDone() bool {
	select {
	case <-tk.ended:
		return true
	default:
		return false
	}
}

// take starts a Take; what it has come to is seen after a synctest.Wait.
func take(t *testing.T, a *pipe, n, bytes int) *taking {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	tk := &taking{cancel: cancel, ended: make(chan struct{})}
	go func() {
		tk.batch, tk.err = a.Take(ctx, n, bytes)
		close(tk.ended)
	}()
	return tk
}

// takeNow returns the batch that a Take gets without any time passing.
func takeNow(t *testing.T, a *pipe, n, bytes int) batch {
	t.Helper()
	tk := take(t, a, n, bytes)
	synctest.Wait()
	if !tk.isDone() {
		t.Fatalf("Take(%d, %d) waits, want a batch at once; %+v", n, bytes, a.Stats())
	}
	if tk.err != nil {
		t.Fatalf("Take(%d, %d): %v", n, bytes, tk.err)
	}
	return tk.batch
}

// takeNothing fails the test if a Take gets a batch without any time passing.
func takeNothing(t *testing.T, a *pipe) {
	t.Helper()
	tk := take(t, a, 250, 0)
	synctest.Wait()
	if tk.isDone() {
		t.Fatalf("Take = %v, %v, want it to wait", tasks(tk.batch), tk.err)
	}
	tk.cancel()
	synctest.Wait()
	if !tk.isDone() || !errors.Is(tk.err, context.Canceled) {
		t.Fatalf("cancelled Take: done %v, err %v, want context.Canceled", tk.isDone(), tk.err)
	}
}

func tasks(b batch) string {
	var out []string
	for _, it := range b.Items {
		out = append(out, string(it.Task.Body))
	}
	return strings.Join(out, " ")
}

// settleAll settles every item of a batch with the same outcome.
func settleAll(t *testing.T, a *pipe, b batch, o acceptor.Outcome) {
	t.Helper()
	if err := a.Settle(b, slices.Repeat([]acceptor.Outcome{o}, len(b.Items))); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	synctest.Wait()
}

func offerN(a *pipe, n int) {
	for i := range n {
		a.Offer(fmt.Sprintf("i%05d", i), "r")
	}
}

func TestBatchIsCutByAge(t *testing.T) {
	t.Parallel()
	t.Run("nothing at 499 ms, the batch at 500 ms", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			offered := time.Now()
			a.Offer("a", "1")
			tk := take(t, a, 250, 0)
			time.Sleep(499 * time.Millisecond)
			synctest.Wait()
			if tk.isDone() {
				t.Fatalf("batch %q after 499 ms, want none", tasks(tk.batch))
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if !tk.isDone() || tasks(tk.batch) != "a=1" {
				t.Fatalf("after 500 ms: done %v, batch %q, want a=1", tk.isDone(), tasks(tk.batch))
			}
			it := tk.batch.Items[0]
			if !it.First.Equal(offered) || it.Wait() != 500*time.Millisecond {
				t.Errorf("first %v, wait %v, want %v, 500 ms", it.First, it.Wait(), offered)
			}
			settleAll(t, a, tk.batch, acceptor.Done())
		})
	})
	t.Run("Take that comes late finds what is due", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			a.Offer("a", "1")
			time.Sleep(499*time.Millisecond + 999*time.Microsecond)
			takeNothing(t, a)
			time.Sleep(time.Microsecond)
			settleAll(t, a, takeNow(t, a, 250, 0), acceptor.Done())
		})
	})
	t.Run("a batch takes younger slots along", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			a.Offer("a", "1")
			time.Sleep(500 * time.Millisecond)
			a.Offer("b", "2")
			b := takeNow(t, a, 250, 0)
			if got, want := tasks(b), "a=1 b=2"; got != want {
				t.Errorf("batch = %q, want %q", got, want)
			}
			if got := b.Items[1].Wait(); got != 0 {
				t.Errorf("wait of b = %v, want 0", got)
			}
			settleAll(t, a, b, acceptor.Done())
		})
	})
	t.Run("250 in one, the 251st in the next, at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			offerN(a, 251)
			time.Sleep(500 * time.Millisecond)
			first, second := takeNow(t, a, 250, 0), takeNow(t, a, 250, 0)
			if len(first.Items) != 250 || len(second.Items) != 1 || second.Items[0].Key != "i00250" {
				t.Errorf("batches of %d and %d, want 250 and 1, which is i00250", len(first.Items), len(second.Items))
			}
			takeNothing(t, a)
		})
	})
	t.Run("1000 waiting: nothing at 499 ms, four batches at 500 ms", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			offerN(a, 1000)
			time.Sleep(499 * time.Millisecond)
			takeNothing(t, a)
			time.Sleep(time.Millisecond)
			for range 4 {
				if b := takeNow(t, a, 250, 0); len(b.Items) != 250 {
					t.Fatalf("batch of %d, want 250", len(b.Items))
				}
			}
			takeNothing(t, a)
		})
	})
	t.Run("20000 leave as 80 batches in a row, in order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{Limit: func() int { return 20_000 }})
			offerN(a, 20_000)
			time.Sleep(500 * time.Millisecond)
			next := 0
			for range 80 {
				b := takeNow(t, a, 250, 0)
				for _, it := range b.Items {
					if want := fmt.Sprintf("i%05d", next); it.Key != want {
						t.Fatalf("item %d is %s, want %s", next, it.Key, want)
					}
					next++
				}
			}
			if next != 20_000 {
				t.Errorf("80 batches held %d items, want 20000", next)
			}
			takeNothing(t, a)
		})
	})
}

// In Java the replaced task's age counts anew, so that one client that renews
// faster than the delay blocks everybody (Netflix/eureka#1509).
func TestFrequentRenewalHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		began := time.Now()
		got := make(map[string][]time.Duration)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // The busy client renews at 0, 100, 200, … ms.
			for range 31 {
				a.Offer("busy", "h")
				time.Sleep(100 * time.Millisecond)
			}
		})
		wg.Go(func() {
			time.Sleep(50 * time.Millisecond)
			a.Offer("quiet", "r")
		})
		wg.Go(func() {
			for {
				b, err := a.Take(ctx, 250, 0)
				if err != nil {
					return
				}
				// A millisecond on the way: the next renewal opens a new slot.
				time.Sleep(time.Millisecond)
				for _, it := range b.Items {
					got[it.Key] = append(got[it.Key], it.Cut.Sub(began))
				}
				if err := a.Settle(b, slices.Repeat([]acceptor.Outcome{acceptor.Done()}, len(b.Items))); err != nil {
					t.Errorf("Settle: %v", err)
				}
			}
		})
		time.Sleep(3600 * time.Millisecond)
		cancel()
		wg.Wait()

		if len(got["quiet"]) != 1 || got["quiet"][0] != 500*time.Millisecond {
			t.Errorf("quiet left at %v, want once, at 500 ms with the head", got["quiet"])
		}
		// Renewals at the very moment of a cut fall before or after it.
		last := time.Duration(0)
		for _, at := range got["busy"] {
			if gap := at - last; gap < 500*time.Millisecond || gap > 600*time.Millisecond {
				t.Errorf("busy left at %v, %v after the time before; want every 500 to 600 ms", at, gap)
			}
			last = at
		}
		if n := len(got["busy"]); n < 5 || n > 7 {
			t.Errorf("busy left %d times in 3.5 s, want 6 or so: %v", n, got["busy"])
		}
	})
}

func TestOrderIsByFirstAction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		for _, o := range []struct{ key, slot string }{
			{"a", "1"}, {"b", "2"}, {"c", "3"}, {"a", "4"}, {"d", "5"}, {"b", "6"}, {"a", "7"},
		} {
			a.Offer(o.key, trace(o.slot))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(500 * time.Millisecond)
		b := takeNow(t, a, 250, 0)
		if got, want := tasks(b), "a=147 b=26 c=3 d=5"; got != want {
			t.Errorf("batch = %q, want %q", got, want)
		}
		if s := a.Stats(); s.Merged != 3 || s.InFlight != 4 {
			t.Errorf("merged %d, in flight %d, want 3, 4", s.Merged, s.InFlight)
		}
	})
}

func TestByteBound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		keys  []string // a task's size is the length of its key
		n     int
		bytes int
		want  []string
	}{
		{"no bound", []string{"aaaa", "bbbb", "cccc"}, 250, 0, []string{"aaaa bbbb cccc"}},
		{"exactly full", []string{"aaaa", "bbbb", "cccc"}, 250, 8, []string{"aaaa bbbb", "cccc"}},
		{"one short", []string{"aaaa", "bbbb", "cccc"}, 250, 7, []string{"aaaa", "bbbb", "cccc"}},
		{"a giant goes alone", []string{"a", "bbbbbbbbbb", "c"}, 250, 4, []string{"a", "bbbbbbbbbb", "c"}},
		{"a smaller one behind doesn't overtake", []string{"aa", "bbb", "c"}, 250, 4, []string{"aa", "bbb c"}},
		{"the count binds first", []string{"a", "b", "c"}, 2, 100, []string{"a b", "c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, options{Render: func(key string, _ trace, _ time.Duration) (acceptor.Task, acceptor.Reason) {
					return body(key), ""
				}})
				for _, key := range tc.keys {
					a.Offer(key, "r")
				}
				time.Sleep(500 * time.Millisecond)
				for _, want := range tc.want {
					b := takeNow(t, a, tc.n, tc.bytes)
					if got := tasks(b); got != want {
						t.Errorf("batch = %q, want %q", got, want)
					}
					if got, want := b.Bytes, len(strings.ReplaceAll(want, " ", "")); got != want {
						t.Errorf("bytes = %d, want %d", got, want)
					}
				}
				takeNothing(t, a)
			})
		})
	}
}

func TestRenderDrops(t *testing.T) {
	t.Parallel()
	expiring := func(key string, _ trace, wait time.Duration) (acceptor.Task, acceptor.Reason) {
		switch {
		case strings.HasPrefix(key, "gone"):
			return acceptor.Task{}, acceptor.Evicted
		case strings.HasPrefix(key, "odd"):
			return acceptor.Task{}, "what I like"
		case strings.HasPrefix(key, "heartbeat") && wait > 30*time.Second:
			return acceptor.Task{}, acceptor.Expired
		default:
			return body(key), ""
		}
	}
	t.Run("counted under their reasons", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var dropped recorder
			a := start(t, options{Render: expiring, OnDrop: dropped.OnDrop})
			a.Offer("heartbeat-old", "h")
			time.Sleep(time.Millisecond)
			a.Offer("heartbeat-new", "h")
			a.Offer("register", "r")
			a.Offer("gone", "r")
			a.Offer("odd", "r")
			time.Sleep(30 * time.Second)
			b := takeNow(t, a, 250, 0)
			if got, want := tasks(b), "heartbeat-new register"; got != want {
				t.Errorf("batch = %q, want %q", got, want)
			}
			s := a.Stats()
			for reason, want := range map[acceptor.Reason]uint64{acceptor.Expired: 1, acceptor.Evicted: 1, acceptor.Other: 1, acceptor.Overflowed: 0} {
				if got, ok := s.Dropped[reason]; got != want || !ok {
					t.Errorf("dropped[%s] = %d, %v, want %d", reason, got, ok, want)
				}
			}
			want := []string{"heartbeat-old=h expired", "gone=r evicted", "odd=r other"}
			if got := dropped.all(); !slices.Equal(got, want) {
				t.Errorf("OnDrop was told %q, want %q", got, want)
			}
		})
	})
	t.Run("no empty batch, and nothing leaves early in its place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{Render: expiring})
			tk := take(t, a, 250, 0)
			a.Offer("gone", "r")
			time.Sleep(300 * time.Millisecond)
			a.Offer("young", "r")
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			if tk.isDone() {
				t.Fatalf("at 500 ms: batch %q, want none", tasks(tk.batch))
			}
			if got := a.Stats().Dropped[acceptor.Evicted]; got != 1 {
				t.Errorf("evicted = %d, want 1", got)
			}
			time.Sleep(300*time.Millisecond - time.Nanosecond)
			synctest.Wait()
			if tk.isDone() {
				t.Fatalf("before 800 ms: batch %q, want none", tasks(tk.batch))
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if !tk.isDone() || tasks(tk.batch) != "young" {
				t.Errorf("at 800 ms: done %v, want the batch young", tk.isDone())
			}
		})
	})
}

func TestOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 3}
		var dropped recorder
		a := start(t, options{Limit: g.Limit, OnDrop: dropped.OnDrop})
		offer := func(key string, slot trace) {
			a.Offer(key, slot)
			synctest.Wait()
		}
		offer("a", "1")
		offer("b", "2")
		offer("c", "3")
		offer("a", "4") // A known key needs no room.
		if got := dropped.all(); len(got) != 0 {
			t.Fatalf("dropped at the limit: %q", got)
		}
		offer("d", "5")
		if got, want := dropped.all(), []string{"a=14 overflowed"}; !slices.Equal(got, want) {
			t.Fatalf("dropped = %q, want %q", got, want)
		}
		g.set(4)
		offer("e", "6")
		g.set(2) // A registry that shrank.
		offer("f", "7")
		want := []string{"a=14 overflowed", "b=2 overflowed", "c=3 overflowed", "d=5 overflowed"}
		if got := dropped.all(); !slices.Equal(got, want) {
			t.Errorf("dropped = %q, want %q", got, want)
		}
		g.set(0) // Counts as 1.
		offer("g", "8")
		s := a.Stats()
		if s.ProcessingOrder != 1 || s.Dropped[acceptor.Overflowed] != 6 {
			t.Errorf("order %d, overflowed %d, want 1, 6", s.ProcessingOrder, s.Dropped[acceptor.Overflowed])
		}
		checkLaw(t, a)
	})
}

func TestRetriedSlotIsTheOldestToGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{Limit: func() int { return 2 }})
		a.Offer("a", "1")
		time.Sleep(500 * time.Millisecond)
		b := takeNow(t, a, 1, 0)
		a.Offer("b", "2")
		a.Offer("c", "3")
		settleAll(t, a, b, acceptor.Retry())
		s := a.Stats()
		if s.ProcessingOrder != 2 || s.Dropped[acceptor.Overflowed] != 1 || s.Retried != 1 {
			t.Errorf("order %d, overflowed %d, retried %d, want 2, 1, 1",
				s.ProcessingOrder, s.Dropped[acceptor.Overflowed], s.Retried)
		}
		time.Sleep(500 * time.Millisecond)
		if got, want := tasks(takeNow(t, a, 250, 0)), "b=2 c=3"; got != want {
			t.Errorf("batch = %q, want %q", got, want)
		}
	})
}

func TestOldestAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		check := func(when string, want time.Duration) {
			t.Helper()
			if got := a.Stats().OldestAge; got != want {
				t.Errorf("%s: oldest age = %v, want %v", when, got, want)
			}
		}
		check("nothing pending", 0)
		a.Offer("a", "1")
		time.Sleep(100 * time.Millisecond)
		a.Offer("b", "2")
		check("two pending", 100*time.Millisecond)
		time.Sleep(400 * time.Millisecond)
		b := takeNow(t, a, 1, 0)
		check("the older one in flight", 400*time.Millisecond)
		time.Sleep(time.Second)
		settleAll(t, a, b, acceptor.Retry())
		check("the older one back", 1500*time.Millisecond)
	})
}
