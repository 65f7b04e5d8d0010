package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
)

const ms = time.Millisecond

// gaps returns the times between sends.
func gaps(at []time.Duration) []time.Duration {
	var out []time.Duration
	for i := 1; i < len(at); i++ {
		out = append(out, at[i]-at[i-1])
	}
	return out
}

func TestWaitsAfterFailures(t *testing.T) {
	t.Parallel()
	slow := []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16_000 * ms, 30_000 * ms, 30_000 * ms}
	quick := []time.Duration{
		100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12_800 * ms, 25_600 * ms, 30_000 * ms, 30_000 * ms,
	}
	for _, tc := range []struct {
		name  string
		err   error // nil: an answer of the wrong length
		class batcher.Class
		want  []time.Duration
	}{
		{"busy", batcher.Busy, batcher.Busy, slow},
		{"busy, wrapped", fmt.Errorf("send batch: %w", batcher.Busy), batcher.Busy, slow},
		{"timed out", batcher.Timeout, batcher.Timeout, slow},
		{"deadline", fmt.Errorf("request: %w", context.DeadlineExceeded), batcher.Timeout, slow},
		{"no class", errors.New("answer 401"), batcher.Other, slow},
		{"wrong number of outcomes", nil, batcher.Other, slow},
		{"absent", batcher.Absent, batcher.Absent, quick},
		{"unknown class", batcher.Class("odd"), batcher.Other, slow},
		{"absent and timed out", errors.Join(batcher.Absent, context.DeadlineExceeded), batcher.Absent, quick},
		{"disconnected", batcher.Disconnected, batcher.Disconnected, quick},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, options{Send: func(_ context.Context, b batch) ([]acceptor.Outcome, error) {
					if tc.err == nil {
						return all(b, acceptor.Done())[1:], nil
					}
					return all(b, acceptor.Done()), tc.err
				}})
				r.acc.Offer("a", "1")
				end := 500 * ms
				for i, gap := range tc.want {
					sleepUntil(r, end+gap-1)
					if got := len(r.seen()); got != i+1 {
						t.Fatalf("just before %v: %d sends, want %d", end+gap, got, i+1)
					}
					if s := r.Stats(); s.Waiting != tc.class || !s.WaitUntil.Equal(r.began.Add(end+gap)) {
						t.Errorf("waiting for %q until %v, want %q, %v", s.Waiting, s.WaitUntil.Sub(r.began), tc.class, end+gap)
					}
					end += gap
					sleepUntil(r, end)
				}
				if got := gaps(r.times()); !slices.Equal(got, tc.want) {
					t.Errorf("gaps = %v, want %v", got, tc.want)
				}
				if got, want := r.Stats().Failures[tc.class], uint64(len(tc.want)+1); got != want {
					t.Errorf("failures[%s] = %d, want %d", tc.class, got, want)
				}
				if s := r.acc.Stats(); s.Retried != uint64(len(tc.want)+1) || s.TotalDropped() != 0 {
					t.Errorf("retried %d, dropped %d, want %d, 0", s.Retried, s.TotalDropped(), len(tc.want)+1)
				}
			})
		})
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		rand float64
		opts options
		want []time.Duration
	}{
		{"none", 0, options{MaxWait: 5 * time.Second}, []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 5000 * ms, 5000 * ms}},
		{"half", 0.5, options{MaxWait: 5 * time.Second}, []time.Duration{1100 * ms, 2200 * ms, 4400 * ms, 4500 * ms, 4500 * ms}},
		{"most", 1, options{MaxWait: 5 * time.Second}, []time.Duration{1200 * ms, 2400 * ms, 4800 * ms, 4000 * ms, 4000 * ms}},
		{"never below the base", 1, options{MaxWait: time.Second}, []time.Duration{1000 * ms, 1000 * ms}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.opts.Rand = func() float64 { return tc.rand }
				tc.opts.Send = func(context.Context, batch) ([]acceptor.Outcome, error) { return nil, batcher.Busy }
				r := start(t, tc.opts)
				r.acc.Offer("a", "1")
				for len(r.seen()) <= len(tc.want) {
					time.Sleep(100 * ms)
					synctest.Wait()
				}
				if got := gaps(r.times()); !slices.Equal(got, tc.want) {
					t.Errorf("gaps = %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestSuccessResetsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		n := 0
		r := start(t, options{Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == 4 {
				return accept(ctx, b)
			}
			return nil, batcher.Busy
		}})
		r.acc.Offer("a", "1")
		sleepUntil(r, 7500*ms) // Failed at 0.5, 1.5, 3.5 s; accepted now.
		r.acc.Offer("b", "1")
		sleepUntil(r, 11_000*ms) // Fails at 8, 9, 11 s.
		want := []time.Duration{500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 8000 * ms, 9000 * ms, 11_000 * ms}
		if got := r.times(); !slices.Equal(got, want) {
			t.Errorf("sends at %v, want %v", got, want)
		}
	})
}

// While other batches are still in flight one of them fails: it is a wait, not
// a stop of those; and if they fail too, it was one event.
func TestBatchesInFlightTogetherFailOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, options{Size: 1, Send: func(_ context.Context, b batch) ([]acceptor.Outcome, error) {
			// a answers after 100 ms, b after 200 ms, and so on.
			time.Sleep(time.Duration(b.Items[0].Key[0]-'a'+1) * 100 * ms)
			return nil, batcher.Busy
		}})
		for _, key := range []string{"a", "b", "c", "d"} {
			r.acc.Offer(key, "1")
		}
		// All sent at 500, failed at 600 … 900: the wait lasts until 1900, a
		// second after the last of them. Sent at 1900, failed 2000 … 2300: two
		// seconds, until 4300.
		sleepUntil(r, 4300*ms)
		want := slices.Concat(
			slices.Repeat([]time.Duration{500 * ms}, 4), slices.Repeat([]time.Duration{1900 * ms}, 4), slices.Repeat([]time.Duration{4300 * ms}, 4))
		if got := r.times(); !slices.Equal(got, want) {
			t.Errorf("sends at %v, want %v", got, want)
		}
	})
}

// A batch in flight succeeds after another one has failed: what had grown of
// the wait is forgotten, the first wait is not.
func TestSuccessShortensTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		n := 0
		r := start(t, options{Size: 1, InFlight: 2, Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			mu.Lock()
			n++
			call := n
			mu.Unlock()
			time.Sleep(100 * ms)
			switch {
			case call < 8:
				return nil, batcher.Busy
			case call == 8: // In the fourth round, beside the seventh.
				time.Sleep(200 * ms)
			}
			return accept(ctx, b)
		}})
		r.acc.Offer("a", "1")
		r.acc.Offer("b", "1")
		sleepUntil(r, 20*time.Second)
		// Sent at 0.5, 1.6, 3.7 and 7.8; the failure at 7.9 waits for 8 s until
		// the success at 8.1 makes 1 s of that.
		want := []time.Duration{500 * ms, 500 * ms, 1600 * ms, 1600 * ms, 3700 * ms, 3700 * ms, 7800 * ms, 7800 * ms, 8900 * ms}
		if got := r.times(); !slices.Equal(got, want) {
			t.Errorf("sends at %v, want %v", got, want)
		}
	})
}

// The dispatcher already waits for the next batch when an earlier one fails:
// the wait holds for the next one too.
func TestFailureHoldsBackABatchThatIsAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		n := 0
		r := start(t, options{Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			mu.Lock()
			n++
			first := n == 1
			mu.Unlock()
			if first {
				time.Sleep(100 * ms)
				return nil, batcher.Busy
			}
			return accept(ctx, b)
		}})
		r.acc.Offer("a", "1")
		sleepUntil(r, 550*ms)
		r.acc.Offer("b", "1")
		sleepUntil(r, 10*time.Second)
		if got, want := r.times(), []time.Duration{500 * ms, 1600 * ms}; !slices.Equal(got, want) {
			t.Errorf("sends at %v, want %v: a second after the failure, both in one", got, want)
		}
	})
}

// A slot that comes back is due at once: it must find the wait in force.
func TestWaitIsInForceBeforeSlotsComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			r     *rig
			asked int
		)
		r = start(t, options{
			Send: failFirst(1, batcher.Busy),
			Rand: func() float64 { // The shaper sets the wait.
				asked++
				if s := r.acc.Stats(); s.InFlight != 1 || s.Retried != 0 {
					t.Errorf("in flight %d, retried %d when the wait is set, want 1, 0", s.InFlight, s.Retried)
				}
				return 0
			},
		})
		r.acc.Offer("a", "1")
		sleepUntil(r, 2*time.Second)
		r.end()
		if asked != 1 || len(r.seen()) != 2 {
			t.Errorf("%d waits, %d sends, want 1, 2", asked, len(r.seen()))
		}
	})
}

func TestWake(t *testing.T) {
	t.Parallel()
	t.Run("ends a wait and its growth", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, options{Send: failFirst(5, batcher.Busy)})
			r.acc.Offer("a", "1")
			sleepUntil(r, 4*time.Second) // Failed at 0.5, 1.5, 3.5; the wait ends at 7.5.
			r.Wake()
			sleepUntil(r, 20*time.Second)
			want := []time.Duration{500 * ms, 1500 * ms, 3500 * ms, 4000 * ms, 5000 * ms, 7000 * ms}
			if got := r.times(); !slices.Equal(got, want) {
				t.Errorf("sends at %v, want %v", got, want)
			}
		})
	})
	t.Run("does nothing to a wait to come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, options{Send: failFirst(1, batcher.Busy)})
			r.Wake()
			r.Wake()
			r.acc.Offer("a", "1")
			sleepUntil(r, 20*time.Second)
			if got, want := r.times(), []time.Duration{500 * ms, 1500 * ms}; !slices.Equal(got, want) {
				t.Errorf("sends at %v, want %v", got, want)
			}
		})
	})
	t.Run("makes no batch leave early", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, options{Send: accept})
			r.acc.Offer("a", "1")
			sleepUntil(r, 100*ms)
			r.Wake()
			sleepUntil(r, time.Second)
			if got, want := r.times(), []time.Duration{500 * ms}; !slices.Equal(got, want) {
				t.Errorf("sends at %v, want %v", got, want)
			}
		})
	})
}
