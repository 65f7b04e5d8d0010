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

// recorder keeps the calls of OnDrop, as "key=slot reason".
type recorder struct {
	mu    sync.Mutex
	calls []string
}

func (r *recorder) OnDrop(key string, slot trace, reason acceptor.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf("%s=%s %s", key, slot, reason))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
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
			for reason, want := range map[acceptor.Reason]uint64{
				acceptor.Expired: 1, acceptor.Evicted: 1, acceptor.Other: 1, acceptor.Overflowed: 0,
			} {
				if got, ok := s.Dropped[reason]; got != want || !ok {
					t.Errorf("dropped[%s] = %d, %v, want %d", reason, got, ok, want)
				}
			}
			want := []string{"heartbeat-old=h expired", "gone=r evicted", "odd=r other"}
			if got := dropped.all(); !slices.Equal(got, want) {
				t.Errorf("OnDrop received %q, want %q", got, want)
			}
		})
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
