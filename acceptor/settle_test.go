package acceptor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/registry"
)

func TestRetryMergesChronologically(t *testing.T) {
	t.Parallel()
	const h, r, o, c = registry.Renewed, registry.Registered, registry.Overridden, registry.Cancelled
	type slots []registry.Bits
	for _, tc := range []struct {
		name            string
		failed, pending slots
		want            registry.Bits
	}{
		{"a registration, then a cancel", slots{r}, slots{c}, c},
		{"a cancel, then a registration", slots{c}, slots{r}, c | r},
		{"a renewal, then a registration", slots{h}, slots{r}, r},
		{"a registration, then a renewal", slots{r}, slots{h}, r},
		{"an override, then a registration", slots{o}, slots{r}, o | r},
		{"nothing since", slots{r}, nil, r},
		{"register, then cancel and register", slots{r, o}, slots{c, r}, c | r},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := acceptor.New(acceptor.Options[string, registry.Bits]{
					Merge:  registry.Bits.Merge,
					Render: func(string, registry.Bits, time.Duration) (acceptor.Task, acceptor.Reason) { return body("k"), "" },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go a.Run(ctx) //nolint:errcheck // The bubble waits for it; nothing can go wrong.

				began := time.Now()
				for _, b := range tc.failed {
					a.Offer("k", b)
				}
				time.Sleep(500 * time.Millisecond)
				first, err := a.Take(ctx, 250, 0)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				for _, b := range tc.pending {
					a.Offer("k", b)
				}
				synctest.Wait()
				if err := a.Settle(first, []acceptor.Outcome{acceptor.Retry()}); err != nil {
					t.Fatal(err)
				}
				// The first action is 600 ms old: due at once.
				again, err := a.Take(ctx, 250, 0)
				if err != nil {
					t.Fatal(err)
				}
				if it := again.Items[0]; len(again.Items) != 1 || it.Slot != tc.want || !it.First.Equal(began) || it.Wait() != 600*time.Millisecond {
					t.Errorf("retried: %d items, %v first %v after %v, want 1, %v, %v, 600 ms",
						len(again.Items), it.Slot, it.First.Sub(began), it.Wait(), tc.want, time.Duration(0))
				}
				s := a.Stats()
				if want := uint64(len(tc.failed) + len(tc.pending) - 1); s.Merged != want || s.Unaccounted() != 0 {
					t.Errorf("merged %d, unaccounted %d, want %d, 0", s.Merged, s.Unaccounted(), want)
				}
			})
		})
	}
}

func TestRetryKeepsItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			a.Offer(key, trace(key))
		}
		time.Sleep(500 * time.Millisecond)
		first, second := takeNow(t, a, 2, 0), takeNow(t, a, 2, 0)
		a.Offer("b", "B")
		a.Offer("d", "D")
		a.Offer("a", "A")
		// The later batch comes back first; one item of each is done.
		if err := a.Settle(second, []acceptor.Outcome{acceptor.Done(), acceptor.Retry()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := a.Settle(first, []acceptor.Outcome{acceptor.Retry(), acceptor.Done()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b := takeNow(t, a, 250, 0)
		if got, want := tasks(b), "a=aA d=dD e=e f=f b=B"; got != want {
			t.Errorf("batch = %q, want %q", got, want)
		}
		if s := a.Stats(); s.Retried != 2 || s.Acknowledged != 2 || s.Merged != 2 || s.InFlight != 5 {
			t.Errorf("retried %d, acknowledged %d, merged %d, in flight %d, want 2, 2, 2, 5",
				s.Retried, s.Acknowledged, s.Merged, s.InFlight)
		}
		checkLaw(t, a)
	})
}

// A key may be in flight twice. Its two slots come back in any order, and are
// merged in the order of their actions.
func TestKeyInFlightTwice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		olderFirst bool
	}{{"the older one fails first", true}, {"the newer one fails first", false}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, options{})
				a.Offer("x", "0")
				a.Offer("k", "1")
				time.Sleep(500 * time.Millisecond)
				older := takeNow(t, a, 250, 0)
				a.Offer("k", "2")
				time.Sleep(500 * time.Millisecond)
				newer := takeNow(t, a, 250, 0)
				if tc.olderFirst {
					settleAll(t, a, older, acceptor.Retry())
					settleAll(t, a, newer, acceptor.Retry())
				} else {
					settleAll(t, a, newer, acceptor.Retry())
					settleAll(t, a, older, acceptor.Retry())
				}
				a.Offer("k", "3")
				if got, want := tasks(takeNow(t, a, 250, 0)), "x=0 k=123"; got != want {
					t.Errorf("batch = %q, want %q", got, want)
				}
			})
		})
	}
}

func TestSettleRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, other := start(t, options{}), start(t, options{})
		a.Offer("a", "1")
		a.Offer("b", "2")
		time.Sleep(500 * time.Millisecond)
		b := takeNow(t, a, 250, 0)
		done := []acceptor.Outcome{acceptor.Done(), acceptor.Done()}

		first, second := b.Split()
		for _, tc := range []struct {
			name     string
			a        *pipe
			b        batch
			outcomes []acceptor.Outcome
			want     error
		}{
			{"too few outcomes", a, b, done[:1], acceptor.ErrOutcomes},
			{"too many outcomes", a, b, append(done, acceptor.Done()), acceptor.ErrOutcomes},
			{"none", a, b, nil, acceptor.ErrOutcomes},
			{"another acceptor's batch", other, b, done, acceptor.ErrSettled},
			{"no batch", a, batch{}, nil, acceptor.ErrSettled},
			{"a half", a, first, done[:1], acceptor.ErrSettled},
			{"the other half", a, second, done[:1], acceptor.ErrSettled},
		} {
			if err := tc.a.Settle(tc.b, tc.outcomes); !errors.Is(err, tc.want) {
				t.Errorf("%s: Settle = %v, want %v", tc.name, err, tc.want)
			}
		}
		if got := a.Stats().InFlight; got != 2 {
			t.Errorf("in flight after refused settles = %d, want 2", got)
		}
		if err := a.Settle(b, done); err != nil {
			t.Errorf("Settle = %v, want none", err)
		}
		if err := a.Settle(b, done); !errors.Is(err, acceptor.ErrSettled) {
			t.Errorf("second Settle = %v, want ErrSettled", err)
		}
		if s := a.Stats(); s.InFlight != 0 || s.Acknowledged != 2 {
			t.Errorf("in flight %d, acknowledged %d, want 0, 2", s.InFlight, s.Acknowledged)
		}
	})
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		outcome acceptor.Outcome
		want    string
		reason  acceptor.Reason
	}{
		{acceptor.Outcome{}, "retry", ""},
		{acceptor.Retry(), "retry", ""},
		{acceptor.Done(), "done", ""},
		{acceptor.Drop(acceptor.Malformed), "drop: malformed", acceptor.Malformed},
		{acceptor.Drop("whatever"), "drop: other", acceptor.Other},
		{acceptor.Drop(""), "drop: other", acceptor.Other},
	} {
		reason, dropped := tc.outcome.Dropped()
		if got := tc.outcome.String(); got != tc.want || reason != tc.reason || dropped != (tc.reason != "") {
			t.Errorf("outcome = %q, %q, %v, want %q, %q", got, reason, dropped, tc.want, tc.reason)
		}
	}
}

func TestTakeCancelled(t *testing.T) {
	t.Parallel()
	t.Run("while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			a.Offer("a", "1")
			takeNothing(t, a)
			time.Sleep(500 * time.Millisecond)
			if got := tasks(takeNow(t, a, 250, 0)); got != "a=1" {
				t.Errorf("batch = %q, want a=1", got)
			}
		})
	})
	t.Run("between cut and hand-over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			a := start(t, options{Render: func(key string, slot trace, _ time.Duration) (acceptor.Task, acceptor.Reason) {
				<-gate
				return body(key + "=" + string(slot)), ""
			}})
			a.Offer("a", "1")
			a.Offer("b", "2")
			a.Offer("c", "3")
			time.Sleep(500 * time.Millisecond)
			tk := take(t, a, 2, 0)
			synctest.Wait() // The cut is under way.
			a.Offer("a", "4")
			tk.cancel()
			synctest.Wait()
			if !tk.isDone() || !errors.Is(tk.err, context.Canceled) {
				t.Fatalf("Take: done %v, err %v, want context.Canceled at once", tk.isDone(), tk.err)
			}
			close(gate)
			synctest.Wait()
			if s := a.Stats(); s.InFlight != 0 || s.ProcessingOrder != 3 {
				t.Errorf("in flight %d, order %d, want 0, 3", s.InFlight, s.ProcessingOrder)
			}
			checkLaw(t, a)
			if got, want := tasks(takeNow(t, a, 250, 0)), "a=14 b=2 c=3"; got != want {
				t.Errorf("batch = %q, want %q", got, want)
			}
		})
	})
	t.Run("before it began", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			a.Offer("a", "1")
			time.Sleep(time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if b, err := a.Take(ctx, 250, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("Take = %q, %v, want context.Canceled", tasks(b), err)
			}
		})
	})
	t.Run("several at once take turns", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, options{})
			one, two, three := take(t, a, 1, 0), take(t, a, 1, 0), take(t, a, 1, 0)
			synctest.Wait()
			two.cancel()
			a.Offer("a", "1")
			a.Offer("b", "2")
			a.Offer("c", "3")
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if !one.isDone() || !three.isDone() || len(one.batch.Items) != 1 || len(three.batch.Items) != 1 {
				t.Fatalf("Takes done: %v, %v, want both with one item", one.isDone(), three.isDone())
			}
			if s := a.Stats(); s.InFlight != 2 || s.ProcessingOrder != 1 {
				t.Errorf("in flight %d, order %d, want 2, 1", s.InFlight, s.ProcessingOrder)
			}
		})
	})
	t.Run("n must be at least 1", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if _, err := start(t, options{}).Take(t.Context(), 0, 0); err == nil {
				t.Error("Take(0) = nil, want an error")
			}
		})
	})
}
