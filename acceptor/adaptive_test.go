package acceptor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
)

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
