package acceptor_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// urgentSlots takes slots that hold an upper-case letter for state changes.
func urgentSlots(s trace) bool { return strings.ContainsAny(string(s), "ROC") }

func TestAdaptive(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, a *pipe)
	}{
		{"an idle pipeline sends at once", func(t *testing.T, a *pipe) {
			tk := take(t, a, 250, 0)
			synctest.Wait()
			a.Offer("a", "R")
			synctest.Wait()
			if !tk.isDone() || tasks(tk.batch) != "a=R" {
				t.Errorf("Take: %t, %q, want a=R without any time passing", tk.isDone(), tasks(tk.batch))
			}
		}},
		{"a busy one gathers until the batch is settled", func(t *testing.T, a *pipe) {
			a.Offer("a", "R")
			first := takeNow(t, a, 250, 0)
			for i := range 100 {
				a.Offer(fmt.Sprint("k", i), "R")
			}
			takeNothing(t, a)
			settleAll(t, a, first, acceptor.Done())
			if got := len(takeNow(t, a, 250, 0).Items); got != 100 {
				t.Errorf("batch of %d after the first was settled, want 100", got)
			}
		}},
		{"no longer than the window", func(t *testing.T, a *pipe) {
			a.Offer("a", "R")
			takeNow(t, a, 250, 0)
			a.Offer("b", "R")
			time.Sleep(499 * time.Millisecond)
			takeNothing(t, a)
			time.Sleep(time.Millisecond)
			if got := tasks(takeNow(t, a, 250, 0)); got != "b=R" {
				t.Errorf("batch at 500 ms = %q, want b=R", got)
			}
		}},
		{"a full batch does not wait", func(t *testing.T, a *pipe) {
			a.Offer("a", "R")
			takeNow(t, a, 250, 0)
			for i := range 249 {
				a.Offer(fmt.Sprint("k", i), "R")
			}
			takeNothing(t, a)
			a.Offer("k249", "R")
			a.Offer("k250", "R")
			if got := len(takeNow(t, a, 250, 0).Items); got != 250 {
				t.Errorf("batch of %d, want 250", got)
			}
			takeNothing(t, a) // The 251st gathers with others.
		}},
		{"state changes before heartbeats", func(t *testing.T, a *pipe) {
			a.Offer("h1", "h")
			a.Offer("h2", "h")
			a.Offer("s1", "R")
			a.Offer("h3", "h")
			a.Offer("s2", "C")
			a.Offer("h1", "O") // No heartbeat any more.
			if got, want := tasks(takeNow(t, a, 4, 0)), "h1=hO s1=R s2=C h2=h"; got != want {
				t.Errorf("batch = %q, want %q", got, want)
			}
		}},
		{"bytes bound the urgent ones too", func(t *testing.T, a *pipe) {
			a.Offer("h1", "h")
			a.Offer("s1", "R")
			a.Offer("s2", "C")
			if got, want := tasks(takeNow(t, a, 4, 9)), "s1=R s2=C"; got != want {
				t.Errorf("batch = %q, want %q", got, want)
			}
		}},
		{"a fifth of a batch is for who has waited long", func(t *testing.T, a *pipe) {
			for i := range 5 {
				a.Offer(fmt.Sprint("h", i), "h")
			}
			time.Sleep(1999 * time.Millisecond)
			for i := range 20 {
				a.Offer(fmt.Sprint("s", i), "R")
			}
			if got, want := tasks(takeNow(t, a, 10, 0)), 0; strings.Count(got, "=h") != want {
				t.Errorf("batch = %q, want %d heartbeats before 2 s", got, want)
			}
			time.Sleep(time.Millisecond)
			if got, want := tasks(takeNow(t, a, 10, 0)), "=h h1=h"; strings.Count(got, "=h") != 2 || !strings.HasSuffix(got, want) {
				t.Errorf("batch = %q, want it to end with the two oldest heartbeats", got)
			}
		}},
		{"nobody starves under a storm of state changes", func(t *testing.T, a *pipe) {
			a.Offer("h", "h")
			for i := range 100 {
				for j := range 10 {
					a.Offer(fmt.Sprint("s", i, ".", j), "R")
				}
				b := takeNow(t, a, 10, 0)
				settleAll(t, a, b, acceptor.Done())
				if strings.Contains(tasks(b), "h=h") {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Error("the heartbeat has not left in ten seconds, with a batch each 100 ms")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.run(t, start(t, options{Mode: acceptor.Adaptive, Urgent: urgentSlots}))
			})
		})
	}
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want acceptor.Mode
		ok   bool
	}{
		{"fixed", acceptor.Fixed, true},
		{"adaptive", acceptor.Adaptive, true},
		{"", acceptor.Fixed, false},
		{"Adaptive", acceptor.Fixed, false},
	} {
		got, err := acceptor.ParseMode(tc.text)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("ParseMode(%q) = %v, %v, want %v, ok %t", tc.text, got, err, tc.want, tc.ok)
		}
	}
	if _, err := acceptor.New(options{
		Mode: 2, Merge: mergeTraces,
		Render: func(string, trace, time.Duration) (acceptor.Task, acceptor.Reason) { return acceptor.Task{}, "" },
	}); err == nil {
		t.Error("New takes a mode that is none")
	}
}

func TestLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := start(t, options{})
		check := func(oldest, lag time.Duration) {
			t.Helper()
			synctest.Wait()
			if s := a.Stats(); s.OldestAge != oldest || s.Lag != lag {
				t.Errorf("oldest %v, lag %v, want %v, %v", s.OldestAge, s.Lag, oldest, lag)
			}
		}
		check(0, 0)
		a.Offer("a", "R")
		time.Sleep(600 * time.Millisecond)
		check(600*time.Millisecond, 600*time.Millisecond)
		b := takeNow(t, a, 250, 0)
		check(0, 600*time.Millisecond)
		time.Sleep(time.Second)
		a.Offer("b", "R")
		time.Sleep(100 * time.Millisecond)
		check(100*time.Millisecond, 1700*time.Millisecond)
		settleAll(t, a, b, acceptor.Done())
		check(100*time.Millisecond, 100*time.Millisecond)
	})
}
