package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12_800 * ms,
		25_600 * ms, 30_000 * ms, 30_000 * ms,
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
		{"none", 0, options{}.WithMaxWait(5 * time.Second), []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 5000 * ms, 5000 * ms}},
		{"half", 0.5, options{}.WithMaxWait(5 * time.Second), []time.Duration{1100 * ms, 2200 * ms, 4400 * ms, 4500 * ms, 4500 * ms}},
		{"most", 1, options{}.WithMaxWait(5 * time.Second), []time.Duration{1200 * ms, 2400 * ms, 4800 * ms, 4000 * ms, 4000 * ms}},
		{"never below the base", 1, options{}.WithMaxWait(time.Second), []time.Duration{1000 * ms, 1000 * ms}},
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
