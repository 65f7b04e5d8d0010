package acceptor_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// Offers behind a head that waits for its time do not wake the goroutine, up to as many
// as it moves at a time; the batch leaves when the head is due all the same, with all of
// them. How often the limit was asked shows how often the goroutine moved something.
func TestOffersBehindAHead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mode   acceptor.Mode
		offers int
		moves  int // at most, at rest
	}{
		{acceptor.Fixed, 255, 1},
		{acceptor.Fixed, 300, 3},
		{acceptor.Adaptive, 4, 4},
	} {
		t.Run(fmt.Sprint(test.mode, test.offers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				moves := 0
				a := start(t, options{
					Delay: 500 * time.Millisecond, Mode: test.mode,
					Limit: func() int { moves++; return 10_000 },
				})
				for i := range test.offers {
					a.Offer(fmt.Sprint("key-", i), "x;")
					synctest.Wait()
				}
				if moves > test.moves || test.mode == acceptor.Adaptive && moves < test.moves {
					t.Errorf("%d moves after %d offers, want %d at most", moves, test.offers, test.moves)
				}
				tk := take(t, a, 1000, 0)
				if test.mode == acceptor.Fixed {
					time.Sleep(499 * time.Millisecond)
					synctest.Wait()
					if tk.isDone() {
						t.Fatal("a batch after 499 ms, want none")
					}
					time.Sleep(time.Millisecond)
				}
				synctest.Wait()
				if !tk.isDone() || len(tk.batch.Items) != test.offers {
					t.Errorf("done %t with %d items, want %d after the delay", tk.isDone(), len(tk.batch.Items), test.offers)
				}
			})
		})
	}
}

// The first offer after everything was taken wakes the goroutine: nothing else tells a
// Take that waits of it.
func TestOfferAfterAnEmptyOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{Delay: 500 * time.Millisecond})
		for _, key := range []string{"first", "second", "third"} {
			tk := take(t, a, 10, 0)
			synctest.Wait()
			a.Offer(key, "x;")
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if !tk.isDone() || len(tk.batch.Items) != 1 || tk.batch.Items[0].Key != key {
				t.Fatalf("%s: done %t, %v", key, tk.isDone(), tk.batch.Items)
			}
		}
	})
}

// An offer that comes while the goroutine finds that nothing of what is due can be sent
// is not left behind.
func TestOfferWhileNothingCanBeSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a *pipe
		a = start(t, options{
			Delay: 500 * time.Millisecond,
			Render: func(key string, _ trace, _ time.Duration) (acceptor.Task, acceptor.Reason) {
				if key == "early" {
					a.Offer("late", "2;")
					return acceptor.Task{}, acceptor.Expired
				}
				return body(key), ""
			},
		})
		tk := take(t, a, 10, 0)
		synctest.Wait()
		a.Offer("early", "1;")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if tk.isDone() {
			t.Fatalf("a batch of %v, want none yet", tk.batch.Items)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if !tk.isDone() || len(tk.batch.Items) != 1 || tk.batch.Items[0].Key != "late" {
			t.Fatalf("done %t, %v, want the late one", tk.isDone(), tk.batch.Items)
		}
	})
}
