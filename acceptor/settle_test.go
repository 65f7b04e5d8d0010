package acceptor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

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

// TestSetDelay changes the delay while an action waits, for longer and for shorter.
func TestSetDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		a.Offer("a", "1")
		a.SetDelay(2 * time.Second)
		a.SetDelay(0) // nothing changes
		began := time.Now()
		if b, err := a.Take(t.Context(), 250, 0); err != nil || len(b.Items) != 1 || time.Since(began) != 2*time.Second {
			t.Errorf("taken %d after %v, %v; want 1 after 2s", len(b.Items), time.Since(began), err)
		}
		a.Offer("b", "2")
		began = time.Now()
		time.AfterFunc(time.Second, func() { a.SetDelay(100 * time.Millisecond) })
		if b, err := a.Take(t.Context(), 250, 0); err != nil || len(b.Items) != 1 || time.Since(began) != time.Second {
			t.Errorf("taken %d after %v, %v; want 1 after 1s", len(b.Items), time.Since(began), err)
		}
	})
}
