package simulate

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// turns gives each message an instant of its own: what arrives at one instant is
// handled in the scheduler's order, and the seed would not replay. Each link and each
// content have one nanosecond in turnCount. Of two messages that are equal in both and
// are sent at one instant either may come first.
type turns struct {
	last [turnCount]atomic.Int64 // of each turn, ns since the start of the run
}

const (
	contents  = 64
	turnCount = int(ownLink) * maxNodes * maxNodes * contents
)

// after returns the first instant of a message's turn after another instant, both in
// ns since the start of the run, and the turn.
func after(now int64, l linkKind, from, to int, body []byte) (at int64, turn int) {
	turn = (int(l)*maxNodes+from)*maxNodes + to
	turn = turn*contents + digits(body)
	wait := (int64(turn) - now - 1) % int64(turnCount)
	if wait < 0 {
		wait += int64(turnCount)
	}
	return now + 1 + wait, turn
}

// digits tells contents apart, but not two orders of the same items: a node may send
// what it holds in any order.
func digits(body []byte) int {
	sum := 0
	for _, b := range body {
		sum += int(b)
	}
	return sum % contents
}

// arrives has a message arrive after a delay, in its turn: up to 9 µs later, or more
// if others like it wait.
func (w *world) arrives(delay time.Duration, l linkKind, from, to int, body []byte, deliver func()) {
	now := int64(w.since())
	at, turn := after(now+int64(delay), l, from, to, body)
	for last := &w.turns.last[turn]; delay == 0; { // delays are random
		before := last.Load()
		if at = max(at, before+int64(turnCount)); last.CompareAndSwap(before, at) {
			break
		}
	}
	time.AfterFunc(time.Duration(at-now), deliver)
}

// TestMessagesComeInTurns sends messages at one instant in several orders: they must
// come in one order, each at an instant of its own.
func TestMessagesComeInTurns(t *testing.T) {
	type message struct {
		l        linkKind
		from, to int
		body     string
	}
	sent := []message{
		{presenceLink, 0, 1, ""},
		{presenceLink, 0, 2, ""},
		{presenceLink, 2, 1, ""},
		{presenceLink, 1, 2, ""},
		{batchLink, 0, 1, "a"},
		{batchLink, 0, 1, "b"},
		{syncAnswer, 1, 0, "a"},
		{askLink, 1, 0, ""},
	}
	come := func(order []message) (came []message) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{begun: time.Now()}
			instants, mu := make(map[time.Duration]bool), new(sync.Mutex)
			time.Sleep(time.Second)
			for _, m := range order {
				w.arrives(0, m.l, m.from, m.to, []byte(m.body), func() {
					mu.Lock()
					defer mu.Unlock()
					came = append(came, m)
					if instants[w.since()] {
						t.Errorf("%+v comes when another does", m)
					}
					instants[w.since()] = true
				})
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
		})
		return came
	}
	want := come(sent)
	if len(want) != len(sent) {
		t.Fatalf("%d messages came of %d", len(want), len(sent))
	}
	for i := range sent {
		order := append(slices.Clone(sent[i:]), sent[:i]...)
		slices.Reverse(order)
		if got := come(order); !slices.Equal(got, want) {
			t.Errorf("sent %+v\n came %+v\n want %+v", order, got, want)
		}
	}
}
