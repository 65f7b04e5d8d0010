package acceptor_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

func TestNewValidates(t *testing.T) {
	t.Parallel()
	_, err := acceptor.New(options{Delay: -1, QueueLen: -2})
	if err == nil {
		t.Fatal("New = nil, want an error")
	}
	for _, want := range []string{"delay is -1ns", "queue length is -2", "merge is missing", "render is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dropped recorder
		a, err := acceptor.New(options{
			Merge:  mergeTraces,
			Render: func(key string, slot trace, _ time.Duration) (acceptor.Task, acceptor.Reason) { return body(key), "" },
			OnDrop: dropped.OnDrop,
		})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var ended atomic.Bool
		wg.Go(func() {
			if err := a.Run(t.Context()); err != nil {
				t.Errorf("Run: %v", err)
			}
			ended.Store(true)
		})
		a.Offer("a", "1")
		a.Offer("b", "2")
		takeNothing(t, a)
		a.Drain()
		a.Offer("late", "3")
		first := takeNow(t, a, 1, 0) // Due at once.
		settleAll(t, a, takeNow(t, a, 1, 0), acceptor.Done())
		if ended.Load() {
			t.Fatal("Run returned with a batch in flight")
		}
		settleAll(t, a, first, acceptor.Retry())
		if ended.Load() {
			t.Fatal("Run returned with a slot to be retried")
		}
		again := takeNow(t, a, 1, 0)
		if got := tasks(again); got != "a" {
			t.Errorf("retried = %q, want a", got)
		}
		tk := take(t, a, 1, 0) // Waits for what is in flight to come back.
		synctest.Wait()
		if tk.isDone() {
			t.Fatalf("Take while draining: %v, want it to wait", tk.err)
		}
		settleAll(t, a, again, acceptor.Done())
		wg.Wait()
		synctest.Wait()
		if !tk.isDone() || !errors.Is(tk.err, acceptor.ErrClosed) {
			t.Errorf("Take after the end = %v, want ErrClosed", tk.err)
		}
		if got, want := dropped.all(), []string{"late=3 shutdown"}; !slices.Equal(got, want) {
			t.Errorf("OnDrop received %q, want %q", got, want)
		}
		if s := a.Stats(); s.Offered != 3 || s.Acknowledged != 2 ||
			s.Dropped[acceptor.Shutdown] != 1 || s.Unaccounted() != 0 {
			t.Errorf("stats = %+v, want 3 accepted, 2 acknowledged, 1 dropped at shutdown", s)
		}
	})
}

func TestEnd(t *testing.T) {
	t.Parallel()
	// Each ends an acceptor that has one batch in flight, two slots pending and
	// one action on the way.
	for _, tc := range []struct {
		name string
		end  func(a *pipe, cancel context.CancelFunc)
		want acceptor.Reason
	}{
		{"context", func(_ *pipe, cancel context.CancelFunc) { cancel() }, acceptor.Shutdown},
		{"closed", func(a *pipe, _ context.CancelFunc) { a.Close(acceptor.Shutdown) }, acceptor.Shutdown},
		{"peer gone", func(a *pipe, _ context.CancelFunc) { a.Close(acceptor.PeerGone) }, acceptor.PeerGone},
		{"first close counts", func(a *pipe, cancel context.CancelFunc) {
			a.Close(acceptor.PeerGone)
			a.Close(acceptor.Shutdown)
			cancel()
		}, acceptor.PeerGone},
		{"closed while draining", func(a *pipe, _ context.CancelFunc) {
			a.Drain()
			a.Close(acceptor.PeerGone)
		}, acceptor.PeerGone},
		{"a reason of one's own", func(a *pipe, _ context.CancelFunc) { a.Close("because") }, acceptor.Other},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var dropped recorder
				a, err := acceptor.New(options{
					Merge:  mergeTraces,
					Render: func(key string, _ trace, _ time.Duration) (acceptor.Task, acceptor.Reason) { return body(key), "" },
					OnDrop: dropped.OnDrop,
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := a.Run(ctx); err != nil {
						t.Errorf("Run: %v", err)
					}
				})
				a.Offer("done", "1")
				a.Offer("flying", "2")
				time.Sleep(500 * time.Millisecond)
				b := takeNow(t, a, 2, 0)
				a.Offer("pending", "3")
				a.Offer("pending", "4")
				synctest.Wait()
				tk := take(t, a, 1, 0)
				synctest.Wait()
				a.Offer("queued", "5")
				tc.end(a, cancel)
				wg.Wait()
				synctest.Wait()
				if !tk.isDone() || !errors.Is(tk.err, acceptor.ErrClosed) {
					t.Errorf("waiting Take = %v, want ErrClosed", tk.err)
				}
				if _, err := a.Take(t.Context(), 1, 0); !errors.Is(err, acceptor.ErrClosed) {
					t.Errorf("Take = %v, want ErrClosed", err)
				}
				if s := a.Stats(); s.InFlight != 2 || s.Dropped[tc.want] != 2 || s.Pending() != 0 || s.Unaccounted() != 0 {
					t.Errorf("after the end: %+v, want 2 in flight and 2 dropped as %s", s, tc.want)
				}
				a.Offer("late", "6")
				if err := a.Settle(b, []acceptor.Outcome{acceptor.Done(), acceptor.Retry()}); err != nil {
					t.Errorf("Settle: %v", err)
				}
				s := a.Stats()
				if s.Offered != 6 || s.Merged != 1 || s.Acknowledged != 1 || s.Dropped[tc.want] != 4 ||
					s.InFlight != 0 || s.Retried != 0 || s.Unaccounted() != 0 {
					t.Errorf("at last: %+v, want 6 accepted, 1 merged, 1 acknowledged, 4 dropped as %s", s, tc.want)
				}
				var want []string
				for _, slot := range []string{"queued=5", "pending=34", "late=6", "flying=2"} {
					want = append(want, slot+" "+string(tc.want))
				}
				got := dropped.all()
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("OnDrop received %q, want %q", got, want)
				}
			})
		})
	}
}

// What waits is dropped wherever it waits: in the ring, beside it, in the order,
// and on its way back from a batch.
func TestEndDropsWhatWaitsAnywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dropped recorder
		gate := make(chan struct{})
		a := start(t, options{
			QueueLen: 1,
			Render: func(key string, _ trace, _ time.Duration) (acceptor.Task, acceptor.Reason) {
				if key == "b" {
					<-gate
				}
				return body(key), ""
			},
			OnDrop: dropped.OnDrop,
		})
		for i, key := range []string{"a", "b", "c"} {
			a.Offer(key, trace(strconv.Itoa(i)))
			synctest.Wait()
		}
		time.Sleep(500 * time.Millisecond)
		first := takeNow(t, a, 1, 0)
		second := take(t, a, 1, 0)
		synctest.Wait() // The goroutine waits, rendering b.
		a.Offer("d", "3")
		a.Offer("e", "4")
		a.Offer("e", "5")
		if err := a.Settle(first, []acceptor.Outcome{acceptor.Retry()}); err != nil {
			t.Fatal(err)
		}
		a.Close(acceptor.PeerGone)
		close(gate)
		synctest.Wait()
		if !second.isDone() || second.err != nil {
			t.Fatalf("the Take under way: done %v, err %v, want its batch", second.isDone(), second.err)
		}
		settleAll(t, a, second.batch, acceptor.Done())
		got := dropped.all()
		slices.Sort(got)
		if want := []string{"a=0 peer_gone", "c=2 peer_gone", "d=3 peer_gone", "e=45 peer_gone"}; !slices.Equal(got, want) {
			t.Errorf("OnDrop received %q, want %q", got, want)
		}
		if s := a.Stats(); s.Dropped[acceptor.PeerGone] != 4 || s.Acknowledged != 1 || s.Merged != 1 || s.Unaccounted() != 0 {
			t.Errorf("stats = %+v, want 4 dropped, 1 acknowledged, 1 merged", s)
		}
	})
}

func TestCloseBeforeRun(t *testing.T) {
	t.Parallel()
	var dropped recorder
	a := mustNew(t, options{QueueLen: 1, OnDrop: dropped.OnDrop})
	a.Offer("a", "1")
	a.Offer("b", "2")
	a.Close(acceptor.PeerGone)
	if s := a.Stats(); s.Dropped[acceptor.PeerGone] != 2 || s.Unaccounted() != 0 {
		t.Errorf("stats = %+v, want two dropped as peer_gone", s)
	}
	if got, want := dropped.all(), []string{"a=1 peer_gone", "b=2 peer_gone"}; !slices.Equal(got, want) {
		t.Errorf("OnDrop received %q, want %q", got, want)
	}
	if err := a.Run(t.Context()); !errors.Is(err, acceptor.ErrClosed) {
		t.Errorf("Run after Close = %v, want ErrClosed", err)
	}
	if _, err := a.Take(t.Context(), 1, 0); !errors.Is(err, acceptor.ErrClosed) {
		t.Errorf("Take after Close = %v, want ErrClosed", err)
	}
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		synctest.Wait()
		if err := a.Run(t.Context()); !errors.Is(err, acceptor.ErrStarted) {
			t.Errorf("second Run = %v, want ErrStarted", err)
		}
	})
}
