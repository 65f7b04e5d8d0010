package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/bench/process"
)

// The contract is broken by one slow heartbeat in a hundred, by one error, and by one
// request that was shed, and by nothing less.
func TestBreaks(t *testing.T) {
	c := contract{p99: 10 * time.Millisecond}
	times := func(n, slow int) tally {
		var tl tally
		for i := range n {
			d := c.p99
			if i >= n-slow {
				d++
			}
			tl.times = append(tl.times, d)
		}
		return tl
	}
	for _, test := range []struct {
		name string
		o    outcome
		want string
	}{
		{"all at the bound", outcome{heartbeat: times(1000, 0)}, ""},
		{"9 of 1000 beyond it", outcome{heartbeat: times(1000, 9)}, ""},
		{"11 of 1000 beyond it", outcome{heartbeat: times(1000, 11)}, "heartbeat: p99"},
		{"slow deltas", outcome{delta: times(1000, 1000)}, ""},
		{"one error", outcome{delta: tally{errors: 1, sample: "GET"}}, "delta: 1 errors, 0 shed: GET"},
		{"one shed", outcome{change: tally{shed: 1}}, "change: 0 errors, 1 shed"},
	} {
		err := test.o.breaks(c)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Only a 503 that says when to come again is shed; any other wrong status is an error.
func TestDo(t *testing.T) {
	for _, test := range []struct {
		status       int
		retry        string
		errors, shed int
	}{{200, "", 0, 0}, {503, "1", 0, 1}, {503, "", 1, 0}, {404, "", 1, 0}} {
		handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if test.retry != "" {
				w.Header().Set("Retry-After", test.retry)
			}
			w.WriteHeader(test.status)
		}))
		var got tally
		got.do(t.Context(), process.At(strings.TrimPrefix(handler.URL, "http://"), 1),
			due{at: time.Now().Add(-time.Second), request: process.List("/delta"), want: http.StatusOK})
		handler.Close()
		if got.errors != test.errors || got.shed != test.shed || len(got.times) != 1 || got.times[0] < time.Second {
			t.Errorf("%d, Retry-After %q: %+v", test.status, test.retry, got)
		}
	}
}
