package acceptor_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// TestModel runs random operations through the acceptor and the model, and
// compares everything that can be seen after each of them.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(modelSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, seed) })
		})
	}
}

func runModel(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1509))
	m := &model{mode: acceptor.Mode(seed % 2), limit: 1000, dropped: make(map[acceptor.Reason]int)}
	g := &gate{limit: m.limit}
	var dropped recorder
	a := start(t, options{
		Delay: modelDelay, QueueLen: modelRing, Limit: g.Limit, Mode: m.mode,
		Urgent: func(s trace) bool { return isUrgent(s.numbers(t)) },
		Render: func(key string, _ trace, wait time.Duration) (acceptor.Task, acceptor.Reason) {
			bytes, drop := renderModel(key, wait)
			return acceptor.Task{Action: key, Body: make([]byte, bytes)}, drop
		},
		OnDrop: dropped.OnDrop,
	})
	t.Cleanup(g.open)
	began := time.Now()
	var (
		tk      *taking
		flying  []batch // in step with m.inFlight
		history []string
	)
	offer := func() {
		key := string(rune('a' + rnd.IntN(8)))
		history = append(history, "offer "+key)
		a.Offer(key, trace(fmt.Sprintf("%d;", m.accepted+1)))
		m.offer(key)
	}
	settle := func() {
		i := rnd.IntN(len(flying))
		outcomes := make([]acceptor.Outcome, len(flying[i].Items))
		for j := range outcomes {
			switch rnd.IntN(5) {
			case 0:
				outcomes[j] = acceptor.Drop(acceptor.Malformed)
			case 1, 2:
				outcomes[j] = acceptor.Done()
			default:
				outcomes[j] = acceptor.Retry()
			}
		}
		history = append(history, fmt.Sprintf("settle %d: %v", flying[i].Number, outcomes))
		if err := a.Settle(flying[i], outcomes); err != nil {
			t.Fatalf("Settle: %v", err)
		}
		flying = slices.Delete(flying, i, i+1)
		m.settle(i, outcomes)
	}
	goOn := func() {
		// A Take that waits might get its batch before all is drained, or after:
		// both are right. Without one there is only one way to go on.
		if tk != nil {
			history = append(history, "cancel the take")
			tk.cancel()
			tk, m.asked = nil, false
		}
		history = append(history, "go on")
		g.open()
		m.stalled = false
		m.run()
	}
	step := func() {
		switch p := rnd.IntN(100); {
		case p < 45:
			offer()
		case p < 65:
			d := time.Duration(rnd.IntN(300)) * time.Millisecond
			history = append(history, "advance "+d.String())
			time.Sleep(d)
			m.advance(d)
		case p < 80 && tk == nil:
			n, bytes := 1+rnd.IntN(4), rnd.IntN(120)
			history = append(history, fmt.Sprintf("take %d %d", n, bytes))
			tk = take(t, a, n, bytes)
			m.asked, m.n, m.bytes, m.answer = true, n, bytes, nil
			m.run()
		case p < 82 && tk != nil:
			history = append(history, "cancel the take")
			tk.cancel()
			tk, m.asked = nil, false
		case p < 94 && len(flying) > 0:
			settle()
		case p < 96:
			m.limit = 2 + rnd.IntN(8)
			history = append(history, fmt.Sprintf("limit %d", m.limit))
			g.set(m.limit)
		case p < 98 && !m.stalled:
			if m.draining {
				break // Nothing is accepted that could stall it.
			}
			history = append(history, "stall")
			g.shut()
			m.stalled = true
			offer()
			go a.Stats()                 // An offer alone need not wake the goroutine.
			m.hand, m.ring = m.ring, nil // The goroutine waits with that one.
		case m.stalled:
			goOn()
		}
	}
	check := func() {
		t.Helper()
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d, after %s: %s", seed, strings.Join(history, ", "), fmt.Sprintf(format, args...))
		}
		synctest.Wait()
		if tk != nil && tk.isDone() != !m.asked {
			fail("take answered: %v, want %v", tk.isDone(), !m.asked)
		}
		if tk != nil && tk.isDone() && m.ended != "" && len(m.answer) == 0 {
			if !errors.Is(tk.err, acceptor.ErrClosed) {
				fail("take after the end = %v, want ErrClosed", tk.err)
			}
			tk = nil
		}
		if tk != nil && tk.isDone() {
			got, want := "", ""
			for _, it := range tk.batch.Items {
				got += fmt.Sprintf("%s=%s first %v cut %v; ", it.Key, it.Slot, it.First.Sub(began), it.Cut.Sub(began))
			}
			for _, s := range m.answer {
				want += fmt.Sprintf("%s=%s first %v cut %v; ", s.key, s.trace(), s.at, m.answerAt)
			}
			if got != want {
				fail("batch\n got %s\nwant %s", got, want)
			}
			history = append(history, fmt.Sprintf("(batch %d)", tk.batch.Number))
			flying = append(flying, tk.batch)
			tk = nil
		}
		if !m.stalled { // A goroutine that waits does not answer.
			got, want := a.Stats(), m.stats()
			if !reflect.DeepEqual(got, want) {
				fail("stats\n got %+v\nwant %+v", got, want)
			}
			if got.Unaccounted() != 0 {
				fail("%d actions are unaccounted for", got.Unaccounted())
			}
		}
		if got := dropped.all(); !slices.Equal(got, m.drops) {
			fail("OnDrop received\n     %q\nwant %q", got, m.drops)
		}
	}

	check()
	for range modelSteps {
		step()
		check()
	}
	if m.stalled {
		goOn()
		check()
	}
	if rnd.IntN(2) == 0 {
		history = append(history, "drain")
		a.Drain()
		m.draining = true
		m.run()
		check()
		for range 20 {
			step()
			check()
		}
	}
	reason := []acceptor.Reason{acceptor.Shutdown, acceptor.PeerGone}[rnd.IntN(2)]
	history = append(history, "close "+string(reason))
	a.Close(reason)
	m.end(reason)
	check()
	for len(flying) > 0 {
		settle()
		check()
	}
	if s := a.Stats(); s.Pending()+s.InFlight != 0 {
		t.Errorf("seed %d: left at the end: %+v", seed, s)
	}
}
