package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
)

// end ends Run's context and returns how long Run took from there.
func (r *rig) end() time.Duration {
	began := time.Now()
	r.cancel()
	<-r.ended
	return time.Since(began)
}

func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		send      func(context.Context, batch) ([]acceptor.Outcome, error)
		actions   int
		took      time.Duration
		delivered int
	}{
		{"nothing pending", accept, 0, 0, 0},
		{"young slots leave at once", accept, 1000, 0, 1000},
		{"a slow peer gets what it can take within the deadline", func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			if err := slowly(ctx, 900*ms); err != nil {
				return nil, err
			}
			return accept(ctx, b)
		}, 6000, 5 * time.Second, 5000},
		{"a dead peer costs the deadline", func(ctx context.Context, _ batch) ([]acceptor.Outcome, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 700, 5 * time.Second, 0},
		{"a failed batch is tried again", failFirst(1, batcher.Busy), 10, time.Second, 10},
		{"a busy peer is tried each second", failFirst(4, batcher.Busy), 10, 4 * time.Second, 10},
		{"a peer that restarts is tried ten times a second", failFirst(40, batcher.Absent), 10, 4 * time.Second, 10},
		{"an absent peer", func(context.Context, batch) ([]acceptor.Outcome, error) {
			return nil, batcher.Absent
		}, 10, 5 * time.Second, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, options{Send: tc.send})
				r.offerN(tc.actions)
				sleepUntil(r, 100*ms)
				if got := r.end(); got != tc.took {
					t.Errorf("Run took %v to end, want %v", got, tc.took)
				}
				r.acc.Offer("late", "1")
				s := r.acc.Stats()
				got, want := s.Dropped[acceptor.Shutdown], uint64(tc.actions-tc.delivered+1)
				if s.Acknowledged != uint64(tc.delivered) || got != want {
					t.Errorf("acknowledged %d, dropped %d, want %d, %d", s.Acknowledged, got, tc.delivered, want)
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		wait time.Duration // before it is closed
		send func(context.Context, batch) ([]acceptor.Outcome, error)
	}{
		{"while slots are young", 100 * ms, accept},
		{"while a batch is in flight", 600 * ms, func(ctx context.Context, _ batch) ([]acceptor.Outcome, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{"while it waits", 600 * ms, func(context.Context, batch) ([]acceptor.Outcome, error) {
			return nil, batcher.Absent
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, options{Send: tc.send})
				r.acc.Offer("a", "1")
				r.acc.Offer("b", "1")
				sleepUntil(r, tc.wait)
				r.Close(acceptor.PeerGone)
				synctest.Wait()
				select {
				case <-r.ended:
				default:
					t.Fatal("Run has not returned after Close")
				}
				if s := r.acc.Stats(); s.Dropped[acceptor.PeerGone] != 2 || s.Dropped[acceptor.Shutdown] != 0 {
					t.Errorf("dropped = %v, want 2 as peer_gone", s.Dropped)
				}
			})
		})
	}
	t.Run("during the drain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, options{Send: func(ctx context.Context, _ batch) ([]acceptor.Outcome, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
			r.acc.Offer("a", "1")
			sleepUntil(r, 100*ms)
			began := time.Now()
			r.cancel()
			time.Sleep(time.Second)
			r.Close(acceptor.Shutdown)
			<-r.ended
			if got := time.Since(began); got != time.Second {
				t.Errorf("Run took %v to end, want 1 s", got)
			}
		})
	})
	t.Run("before Run", func(t *testing.T) {
		acc, err := acceptor.New(acceptor.Options[string, string]{
			Merge:  func(_, newer string) string { return newer },
			Render: func(key, _ string, _ time.Duration) (acceptor.Task, acceptor.Reason) { return body(key), "" },
		})
		if err != nil {
			t.Fatal(err)
		}
		b, err := batcher.New(acc, options{Send: accept})
		if err != nil {
			t.Fatal(err)
		}
		b.Close(acceptor.Shutdown)
		if err := b.Run(t.Context()); !errors.Is(err, acceptor.ErrClosed) {
			t.Errorf("Run after Close = %v, want ErrClosed", err)
		}
		if err := b.Run(t.Context()); !errors.Is(err, batcher.ErrStarted) {
			t.Errorf("second Run = %v, want ErrStarted", err)
		}
	})
}

// logs keeps the lines of a log as "level message key=value …".
type logs struct {
	mu    sync.Mutex
	lines []string
	attrs []slog.Attr
	root  *logs
}

func (l *logs) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l *logs) Handle(_ context.Context, rec slog.Record) error {
	root := l
	if l.root != nil {
		root = l.root
	}
	var line strings.Builder
	fmt.Fprintf(&line, "%s %s", rec.Level, rec.Message)
	for _, a := range l.attrs {
		fmt.Fprintf(&line, " %s", a)
	}
	rec.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s", a)
		return true
	})
	root.mu.Lock()
	defer root.mu.Unlock()
	root.lines = append(root.lines, line.String())
	return nil
}

func (l *logs) WithAttrs(attrs []slog.Attr) slog.Handler {
	root := l
	if l.root != nil {
		root = l.root
	}
	return &logs{attrs: append(slices.Clone(l.attrs), attrs...), root: root}
}

func (l *logs) WithGroup(string) slog.Handler { return l }

func (l *logs) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func TestLog(t *testing.T) {
	t.Parallel()
	t.Run("an outage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			r := start(t, options{
				Peer: "node-2", Logger: slog.New(&l), Send: failFirst(40, fmt.Errorf("send: %w", batcher.Busy)),
			}.WithMaxWait(time.Second))
			r.acc.Offer("a", "1")
			sleepUntil(r, time.Minute)
			r.acc.Offer("b", "1")
			sleepUntil(r, 2*time.Minute)
			want := []string{
				"WARN batch failed, retrying component=batcher peer=node-2 batch=1 tasks=1 attempt=1 reason=busy elapsed=0s err=send: busy",
				"WARN batch failed, retrying component=batcher peer=node-2 batch=11 tasks=1 attempt=11 reason=busy elapsed=0s err=send: busy",
				"WARN batch failed, retrying component=batcher peer=node-2 batch=21 tasks=1 attempt=21 reason=busy elapsed=0s err=send: busy",
				"WARN batch failed, retrying component=batcher peer=node-2 batch=31 tasks=1 attempt=31 reason=busy elapsed=0s err=send: busy",
				"INFO replication recovered component=batcher peer=node-2 batch=41 tasks=40 attempt=40 elapsed=40s",
			}
			if got := l.all(); !slices.Equal(got, want) {
				t.Errorf("log =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	})
	t.Run("a peer that comes and goes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			var mu sync.Mutex
			n := 0
			r := start(t, options{Logger: slog.New(&l), Send: func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%2 == 1 {
					return nil, batcher.Absent
				}
				return accept(ctx, b)
			}})
			for range 60 { // A minute; each second a failure and a success.
				r.acc.Offer("a", "1")
				time.Sleep(time.Second)
			}
			if got := len(l.all()); got < 10 || got > 14 {
				t.Errorf("%d lines in a minute, want two for each 10 s:\n%s", got, strings.Join(l.all(), "\n"))
			}
		})
	})
	t.Run("a peer that is well", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			r := start(t, options{Logger: slog.New(&l), Send: accept})
			r.offerN(1000)
			sleepUntil(r, time.Minute)
			r.end()
			if got := l.all(); len(got) != 0 {
				t.Errorf("log = %q, want nothing", got)
			}
		})
	})
	t.Run("malformed tasks and what shutdown drops", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			send := func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
				if b.Items[0].Key == "z" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return nil, batcher.Malformed
			}
			r := start(t, options{Peer: "p", InFlight: 1, Logger: slog.New(&l), Send: send})
			r.acc.Offer("a", "1")
			r.acc.Offer("b", "1")
			r.acc.Offer("c", "1")
			sleepUntil(r, 500*ms)
			r.acc.Offer("z", "1")
			sleepUntil(r, 900*ms)
			r.end()
			want := []string{
				"WARN tasks dropped component=batcher peer=p tasks=1 reason=malformed instance=a err=malformed",
			}
			// The drain sends z at 0.9 s; it times out at 2.9 s, is sent again at
			// 3.9 s and cancelled at 5.9 s. All that is within ten seconds.
			want = append(want, "WARN pipeline ended, tasks dropped component=batcher peer=p tasks=1 reason=shutdown dropped=2")
			if got := l.all(); !slices.Equal(got, want) {
				t.Errorf("log =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	})
	t.Run("one line in ten seconds, whatever the reason", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			var mu sync.Mutex
			well := false
			send := func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				if !well {
					return nil, batcher.Busy
				}
				return all(b, acceptor.Drop(acceptor.Malformed)), nil
			}
			r := start(t, options{Peer: "p", InFlight: 1, Logger: slog.New(&l), Send: send}.WithMaxWait(time.Second))
			r.acc.Offer("a", "1")
			for i := range 25 { // From 0 to 24 s.
				r.Dropped(fmt.Sprint("k", i), acceptor.Overflowed)
				time.Sleep(time.Second)
			}
			mu.Lock()
			well = true
			mu.Unlock()
			sleepUntil(r, 26*time.Second)
			r.Dropped("last", acceptor.Overflowed)
			r.end()
			want := []string{
				"WARN tasks dropped component=batcher peer=p tasks=1 reason=overflowed instance=k0",
				"WARN tasks dropped component=batcher peer=p tasks=10 reason=overflowed instance=k10 attempt=10 failure=busy",
				"WARN tasks dropped component=batcher peer=p tasks=10 reason=overflowed instance=k20 attempt=20 failure=busy",
				// The peer is well again at 25 s, and refuses the one task.
				"INFO replication recovered component=batcher peer=p batch=26 tasks=25 attempt=25 elapsed=25s dropped=5",
				"WARN tasks dropped component=batcher peer=p tasks=1 reason=overflowed instance=last",
			}
			if got := l.all(); !slices.Equal(got, want) {
				t.Errorf("log =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	})
}

// lockProbe is a log whose every line reports another dropped task, and waits
// for that.
type lockProbe struct {
	slog.Handler
	report func()
	lines  atomic.Int64
	stuck  atomic.Int64
}

func (p *lockProbe) Enabled(context.Context, slog.Level) bool { return true }
func (p *lockProbe) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *lockProbe) Handle(context.Context, slog.Record) error {
	p.lines.Add(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.report()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		p.stuck.Add(1)
	}
	return nil
}

// A log that blocks holds up whoever writes to it and nobody else: no line is
// written under the reporter's lock.
func TestNoLineUnderTheLock(t *testing.T) {
	t.Parallel()
	p := &lockProbe{}
	r := start(t, options{InFlight: 1, Logger: slog.New(p), Send: failFirst(2, batcher.Absent)})
	p.report = func() { r.Dropped("x", acceptor.Shutdown) } // No line of its own.
	r.acc.Offer("a", "1")
	for deadline := time.Now().Add(10 * time.Second); r.acc.Stats().Acknowledged == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	r.Dropped("b", acceptor.Overflowed)
	r.end()
	// Failed twice, sent, recovered, and the end.
	if lines, stuck := p.lines.Load(), p.stuck.Load(); lines < 5 || stuck > 0 {
		t.Errorf("%d of %d lines were written under the lock, want none of at least 5", stuck, lines)
	}
}
