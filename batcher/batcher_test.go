package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
)

type (
	pipe    = acceptor.Acceptor[string, string]
	batch   = acceptor.Batch[string, string]
	options = batcher.Options[string, string]
)

// call is one Send as the peer saw it.
type call struct {
	at    time.Duration // since the rig began
	tasks []string
	took  time.Duration // 0 until it has returned
}

// rig is a pipeline with a peer that a test plays.
type rig struct {
	*batcher.Batcher[string, string]
	acc    *pipe
	cancel context.CancelFunc
	ended  chan struct{} // closed when Run has returned
	began  time.Time

	mu      sync.Mutex
	calls   []call
	dropped []string // "key reason"
}

// start runs a pipeline in a bubble until the test ends. A task is
// "key:slot", slots are texts that are put together.
func start(t *testing.T, opts options) *rig {
	t.Helper()
	r := &rig{ended: make(chan struct{}), began: time.Now()}
	acc, err := acceptor.New(acceptor.Options[string, string]{
		Limit: func() int { return 100_000 },
		Merge: func(older, newer string) string { return older + newer },
		Render: func(key, slot string, _ time.Duration) (acceptor.Task, acceptor.Reason) {
			return body(key + ":" + slot), ""
		},
		OnDrop: func(key, _ string, reason acceptor.Reason) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.dropped = append(r.dropped, key+" "+string(reason))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	send := opts.Send
	opts.Send = func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
		r.mu.Lock()
		i := len(r.calls)
		c := call{at: time.Since(r.began)}
		for _, it := range b.Items {
			c.tasks = append(c.tasks, string(it.Task.Body))
		}
		r.calls = append(r.calls, c)
		r.mu.Unlock()
		outcomes, err := send(ctx, b)
		r.mu.Lock()
		r.calls[i].took = time.Since(r.began) - c.at
		r.mu.Unlock()
		return outcomes, err
	}
	if opts.Rand == nil {
		opts.Rand = func() float64 { return 0 } // No jitter.
	}
	b, err := batcher.New(acc, opts)
	if err != nil {
		t.Fatal(err)
	}
	r.Batcher, r.acc = b, acc
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		if err := b.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
		s := acc.Stats()
		if s.Unaccounted() != 0 || s.Pending()+s.InFlight != 0 {
			t.Errorf("at the end: %d unaccounted for, %d pending, %d in flight", s.Unaccounted(), s.Pending(), s.InFlight)
		}
		if got := b.Stats(); got.InFlight != 0 || got.BatchWorkQueue != 0 {
			t.Errorf("at the end: %d batches in flight, %d in the queue, want 0, 0", got.InFlight, got.BatchWorkQueue)
		}
	})
	return r
}

func body(text string) acceptor.Task { return acceptor.Task{Body: []byte(text)} }

func (r *rig) seen() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *rig) drops() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.dropped)
}

// times returns when the peer was called.
func (r *rig) times() []time.Duration {
	var at []time.Duration
	for _, c := range r.seen() {
		at = append(at, c.at)
	}
	return at
}

func (r *rig) offerN(n int) {
	for i := range n {
		r.acc.Offer(fmt.Sprintf("i%05d", i), "r")
	}
}

// all is an answer with the same outcome for every item.
func all(b batch, o acceptor.Outcome) []acceptor.Outcome {
	return slices.Repeat([]acceptor.Outcome{o}, len(b.Items))
}

// slowly lets time pass, unless ctx ends first.
func slowly(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func accept(_ context.Context, b batch) ([]acceptor.Outcome, error) {
	return all(b, acceptor.Done()), nil
}

// failFirst fails the first n sends, then accepts.
func failFirst(n int, err error) func(context.Context, batch) ([]acceptor.Outcome, error) {
	var mu sync.Mutex
	return func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
		mu.Lock()
		defer mu.Unlock()
		if n > 0 {
			n--
			return nil, err
		}
		return accept(ctx, b)
	}
}

func sleepUntil(r *rig, at time.Duration) {
	time.Sleep(at - time.Since(r.began))
	synctest.Wait()
}

func TestBatchesLeaveInARow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		actions int
		sizes   []int
	}{
		{"one", 1, []int{1}},
		{"250 in one", 250, []int{250}},
		{"the 251st in the next", 251, []int{250, 1}},
		{"1000 as four", 1000, []int{250, 250, 250, 250}},
		{"20000 as 80", 20_000, slices.Repeat([]int{250}, 80)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, options{Send: accept})
				r.offerN(tc.actions)
				sleepUntil(r, 499*time.Millisecond)
				if got := r.seen(); len(got) != 0 {
					t.Fatalf("%d sends by 499 ms, want none", len(got))
				}
				sleepUntil(r, 500*time.Millisecond)
				var sizes []int
				for _, c := range r.seen() {
					sizes = append(sizes, len(c.tasks))
				}
				slices.SortFunc(sizes, func(x, y int) int { return y - x }) // Four workers: any order.
				if !slices.Equal(sizes, tc.sizes) {
					t.Errorf("sizes at 500 ms = %v, want %v", sizes, tc.sizes)
				}
				s := r.Stats()
				if s.Batches != uint64(len(tc.sizes)) || s.Tasks != uint64(tc.actions) || s.Bytes != uint64(8*tc.actions) {
					t.Errorf("stats = %+v, want %d batches, %d tasks of 8 bytes", s, len(tc.sizes), tc.actions)
				}
				if got := r.acc.Stats(); got.Acknowledged != uint64(tc.actions) {
					t.Errorf("acknowledged = %d, want %d", got.Acknowledged, tc.actions)
				}
			})
		})
	}
}

func TestSlowPeerHasFourInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := start(t, options{Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			<-release
			return accept(ctx, b)
		}})
		r.offerN(1500)
		sleepUntil(r, time.Second)
		if s := r.Stats(); len(r.seen()) != 4 || s.InFlight != 4 || s.BatchWorkQueue != 0 {
			t.Errorf("sends %d, in flight %d, queue %d, want 4, 4, 0", len(r.seen()), s.InFlight, s.BatchWorkQueue)
		}
		if s := r.acc.Stats(); s.InFlight != 1000 || s.ProcessingOrder != 500 {
			t.Errorf("in flight %d, order %d, want 1000, 500: nothing is cut before a worker is idle", s.InFlight, s.ProcessingOrder)
		}
		release <- struct{}{}
		synctest.Wait()
		if got := len(r.seen()); got != 5 {
			t.Errorf("sends after one answer = %d, want 5", got)
		}
		close(release)
		synctest.Wait()
		s := r.Stats()
		if s.Batches != 6 || s.RoundTripMean != 2*time.Second/6 {
			t.Errorf("%d sends of %v, want 6 of a third of a second", s.Batches, s.RoundTripMean)
		}
	})
}

// A slow peer must not be asked for more batches than it answers, and what is
// accepted meanwhile waits in its slots.
func TestOneWorkerKeepsOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, options{Size: 2, InFlight: 1, Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			time.Sleep(100 * time.Millisecond)
			return accept(ctx, b)
		}})
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			r.acc.Offer(key, "1")
		}
		sleepUntil(r, 550*time.Millisecond)
		r.acc.Offer("e", "2")
		r.acc.Offer("a", "2")
		sleepUntil(r, 2*time.Second)
		var got []string
		for _, c := range r.seen() {
			got = append(got, fmt.Sprintf("%v %s", c.at, strings.Join(c.tasks, " ")))
		}
		want := []string{"500ms a:1 b:1", "600ms c:1 d:1", "700ms e:12 a:2"}
		if !slices.Equal(got, want) {
			t.Errorf("sends = %q, want %q", got, want)
		}
	})
}

func TestByteBoundIsAskedEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bound := 16
		r := start(t, options{InFlight: 1, Bytes: func() int { bound += 8; return bound }, Send: accept})
		r.offerN(12)
		sleepUntil(r, time.Second)
		var sizes []int
		for _, c := range r.seen() {
			sizes = append(sizes, len(c.tasks))
		}
		if want := []int{3, 4, 5}; !slices.Equal(sizes, want) {
			t.Errorf("sizes = %v, want %v", sizes, want)
		}
	})
}

func TestSendGetsADeadline(t *testing.T) {
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
				<-ctx.Done()
				return nil, fmt.Errorf("request: %w", ctx.Err())
			}
			return accept(ctx, b)
		}})
		r.acc.Offer("a", "1")
		sleepUntil(r, 2499*time.Millisecond)
		if s := r.Stats(); s.InFlight != 1 || s.Batches != 0 {
			t.Errorf("in flight %d, ended %d, want 1, 0 before 2 s", s.InFlight, s.Batches)
		}
		sleepUntil(r, 2500*time.Millisecond)
		s := r.Stats()
		if s.Failures[batcher.Timeout] != 1 || s.Waiting != batcher.Timeout || !s.WaitUntil.Equal(r.began.Add(3500*time.Millisecond)) {
			t.Errorf("stats = %+v, want one time-out, waiting for another second", s)
		}
		sleepUntil(r, 4*time.Second)
		if got, want := r.times(), []time.Duration{500 * time.Millisecond, 3500 * time.Millisecond}; !slices.Equal(got, want) {
			t.Errorf("sends at %v, want %v", got, want)
		}
		if s := r.acc.Stats(); s.Acknowledged != 1 || s.Retried != 1 {
			t.Errorf("acknowledged %d, retried %d, want 1, 1", s.Acknowledged, s.Retried)
		}
	})
}

// The peer applied the batch and the answer got lost: it is sent again, and what
// has come since goes with it.
func TestLostReplyIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, options{Send: failFirst(1, batcher.Timeout)})
		r.acc.Offer("a", "1")
		r.acc.Offer("b", "1")
		sleepUntil(r, time.Second)
		r.acc.Offer("b", "2")
		r.acc.Offer("c", "1")
		sleepUntil(r, 10*time.Second)
		calls := r.seen()
		if len(calls) != 2 || !slices.Equal(calls[1].tasks, []string{"a:1", "b:12", "c:1"}) {
			t.Fatalf("sends = %v, want the batch twice, c:1 with the second", calls)
		}
		if s := r.acc.Stats(); s.Offered != 4 || s.Acknowledged != 3 || s.Merged != 1 {
			t.Errorf("accepted %d, acknowledged %d, merged %d, want 4, 3, 1", s.Offered, s.Acknowledged, s.Merged)
		}
	})
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	// Tasks whose key begins with "bad" make the peer refuse the whole batch.
	refuse := func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
		for _, it := range b.Items {
			if strings.HasPrefix(it.Key, "bad") {
				return nil, fmt.Errorf("answer 400: %w", batcher.Malformed)
			}
		}
		return accept(ctx, b)
	}
	for _, tc := range []struct {
		name      string
		keys      []string
		dropped   []string
		delivered []string
		maxSends  int
	}{
		{"alone", []string{"bad"}, []string{"bad"}, nil, 1},
		{"the first of three", []string{"bad", "a", "b"}, []string{"bad"}, []string{"a", "b"}, 5},
		{"in the middle", []string{"a", "b", "c", "bad", "d", "e", "f"}, []string{"bad"}, []string{"a", "b", "c", "d", "e", "f"}, 7},
		{"two of four", []string{"bad1", "a", "b", "bad2"}, []string{"bad1", "bad2"}, []string{"a", "b"}, 7},
		{"all", []string{"bad1", "bad2", "bad3"}, []string{"bad1", "bad2", "bad3"}, nil, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, options{Send: refuse})
				for _, key := range tc.keys {
					r.acc.Offer(key, "1")
				}
				sleepUntil(r, 500*time.Millisecond) // Nothing waits.
				var delivered, dropped []string
				for _, c := range r.seen() {
					if !slices.ContainsFunc(c.tasks, func(s string) bool { return strings.HasPrefix(s, "bad") }) {
						for _, task := range c.tasks {
							delivered = append(delivered, strings.TrimSuffix(task, ":1"))
						}
					}
				}
				for _, key := range tc.dropped {
					dropped = append(dropped, key+" malformed")
				}
				if !slices.Equal(delivered, tc.delivered) {
					t.Errorf("delivered = %v, want %v", delivered, tc.delivered)
				}
				if got := r.drops(); !slices.Equal(got, dropped) {
					t.Errorf("dropped = %v, want %v", got, dropped)
				}
				if got := len(r.seen()); got > tc.maxSends {
					t.Errorf("%d sends, want at most %d", got, tc.maxSends)
				}
				if s := r.acc.Stats(); s.Pending()+s.InFlight != 0 || s.Retried != 0 {
					t.Errorf("left %d, retried %d, want 0, 0", s.Pending()+s.InFlight, s.Retried)
				}
				if s := r.Stats(); s.Waiting != "" {
					t.Errorf("waiting for %s, want no wait: the peer answers", s.Waiting)
				}
			})
		})
	}
	t.Run("the peer gets busy half-way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			n := 0
			r := start(t, options{Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				if n++; n == 3 {
					return nil, batcher.Busy
				}
				return refuse(ctx, b)
			}})
			for _, key := range []string{"a", "b", "bad", "c"} {
				r.acc.Offer(key, "1")
			}
			sleepUntil(r, 500*time.Millisecond) // All of it, a b, then busy for bad c.
			if s := r.acc.Stats(); s.Acknowledged != 2 || s.Retried != 2 || len(r.seen()) != 3 {
				t.Errorf("acknowledged %d, retried %d after %d sends, want 2, 2, 3", s.Acknowledged, s.Retried, len(r.seen()))
			}
			sleepUntil(r, 1500*time.Millisecond)
			if s := r.acc.Stats(); s.Acknowledged != 3 || s.Dropped[acceptor.Malformed] != 1 {
				t.Errorf("a second later: acknowledged %d, malformed %d, want 3, 1", s.Acknowledged, s.Dropped[acceptor.Malformed])
			}
		})
	})
	t.Run("busy in the first half", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			n := 0
			r := start(t, options{Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				switch n++; n {
				case 1:
					return nil, batcher.Malformed
				case 2:
					return nil, batcher.Busy
				default:
					return accept(ctx, b)
				}
			}})
			for _, key := range []string{"a", "b", "c"} {
				r.acc.Offer(key, "1")
			}
			sleepUntil(r, 1499*time.Millisecond)
			if s := r.acc.Stats(); len(r.seen()) != 2 || s.Retried != 3 {
				t.Errorf("%d sends, %d retried, want 2, 3: the second half isn't tried", len(r.seen()), s.Retried)
			}
			sleepUntil(r, 1500*time.Millisecond)
			if calls := r.seen(); len(calls) != 3 || len(calls[2].tasks) != 3 {
				t.Errorf("sends = %v, want all three tasks again in one", calls)
			}
		})
	})
}

func TestOutcomesPerItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// The peer never takes "no", and takes anything else.
		r := start(t, options{InFlight: 1, Send: func(_ context.Context, b batch) ([]acceptor.Outcome, error) {
			out := all(b, acceptor.Done())
			for i, it := range b.Items {
				switch it.Key {
				case "no":
					out[i] = acceptor.Retry()
				case "odd":
					out[i] = acceptor.Drop(acceptor.Malformed)
				}
			}
			return out, nil
		}})
		r.acc.Offer("no", "1")
		r.acc.Offer("odd", "1")
		r.acc.Offer("yes", "1")
		sleepUntil(r, 4600*time.Millisecond)
		// Its own pace, once a second, and no growth.
		want := []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 2500 * time.Millisecond, 3500 * time.Millisecond, 4500 * time.Millisecond}
		if got := r.times(); !slices.Equal(got, want) {
			t.Errorf("sends at %v, want %v", got, want)
		}
		if s := r.acc.Stats(); s.Acknowledged != 1 || s.Dropped[acceptor.Malformed] != 1 || s.Retried != 5 {
			t.Errorf("acknowledged %d, malformed %d, retried %d, want 1, 1, 5", s.Acknowledged, s.Dropped[acceptor.Malformed], s.Retried)
		}
	})
}

// A peer that fails, loses answers and refuses items at random gets everything
// in the end, and no action is counted twice or not at all.
func TestFaultyPeerGetsEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				rnd := rand.New(rand.NewPCG(seed, 8761))
				healed := false
				applied := make(map[string]rune) // the newest letter of a key that the peer has
				dice := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					return rnd.IntN(n)
				}
				apply := func(b batch) {
					mu.Lock()
					defer mu.Unlock()
					for _, it := range b.Items {
						for _, letter := range it.Slot {
							applied[it.Key] = max(applied[it.Key], letter)
						}
					}
				}
				r := start(t, options{Size: 5, Rand: func() float64 { return 0.5 }, Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
					mu.Lock()
					delay, fault := rnd.IntN(2500), rnd.IntN(8) // Some are later than the time-out.
					if healed {
						delay, fault = 10, 7
					}
					mu.Unlock()
					if err := slowly(ctx, time.Duration(delay)*time.Millisecond); err != nil {
						return nil, err
					}
					switch fault {
					case 0:
						return nil, batcher.Busy
					case 1:
						return nil, batcher.Absent
					case 2: // Applied, and the answer lost.
						apply(b)
						return nil, errors.New("connection reset")
					case 3:
						apply(b)
						return all(b, acceptor.Done())[1:], nil
					case 4:
						out := all(b, acceptor.Retry())
						return out, nil
					default:
						apply(b)
						return accept(ctx, b)
					}
				}})
				offered := make(map[string]rune)
				for range 400 {
					key := fmt.Sprintf("k%d", dice(30))
					offered[key] = max(offered[key], 'a'-1) + 1
					r.acc.Offer(key, string(offered[key]))
					time.Sleep(time.Duration(dice(100)) * time.Millisecond)
					if s := r.acc.Stats(); s.Unaccounted() != 0 {
						t.Fatalf("seed %d: %d unaccounted for: %+v", seed, s.Unaccounted(), s)
					}
				}
				mu.Lock()
				healed = true
				mu.Unlock()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				s := r.acc.Stats()
				if s.Offered != 400 || s.Acknowledged+s.Merged != 400 {
					t.Errorf("seed %d: %+v, want 400 acknowledged or merged", seed, s)
				}
				if !maps.Equal(applied, offered) {
					t.Errorf("seed %d: the peer has %v, want %v", seed, applied, offered)
				}
			})
		})
	}
}

func TestNewValidates(t *testing.T) {
	t.Parallel()
	_, err := batcher.New[string, string](nil, options{
		Size: -1, InFlight: -1, RetryBusy: -1, RetryAbsent: -1, Timeout: -1, DrainTimeout: -1,
		MaxWait: time.Millisecond,
	})
	if err == nil {
		t.Fatal("New = nil, want an error")
	}
	for _, want := range []string{
		"acceptor is missing", "send is missing", "size is -1", "in flight is -1", "retry busy is -1ns",
		"retry absent is -1ns", "timeout is -1ns", "drain timeout is -1ns",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	_, err = batcher.New[string, string](nil, options{MaxWait: 500 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "max wait is 500ms, must be at least 1s") {
		t.Errorf("error %v does not say that max wait is too short", err)
	}
}

var _ slog.Handler = (*logs)(nil)
