package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
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

	mu    sync.Mutex
	calls []call
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
				half := func() float64 { return 0.5 }
				r := start(t, options{Size: 5, Rand: half, Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
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
	_, err := batcher.New[string, string](nil, options{Size: -1, InFlight: -1})
	if err == nil {
		t.Fatal("New = nil, want an error")
	}
	want := "batcher: acceptor is missing\nsend is missing\n" +
		"size is -1, must not be negative\nin flight is -1, must not be negative"
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

var _ slog.Handler = (*logs)(nil)
