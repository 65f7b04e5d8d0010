package client

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeaseEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hangs  bool          // until the end
		code   int           // until the end
		change func(*server) // at the end
		opts   LeaseOptions
		took   time.Duration
		cancel bool
		ok     bool
	}{
		{"cancelled", false, 0, func(*server) {}, LeaseOptions{}, 0, true, true},
		{"unknown there", false, 0, func(s *server) { s.code = 404 }, LeaseOptions{}, 0, true, true},
		{"refused", false, 0, func(s *server) { s.code = 403 }, LeaseOptions{}, 0, true, false},
		{"no answer", false, 0, func(s *server) { s.hangs = true }, LeaseOptions{}, 5 * time.Second, true, false},
		{"no answer, other bound", false, 0, func(s *server) { s.hangs = true }, LeaseOptions{CancelTimeout: time.Second}, time.Second, true, false},
		{"left to expire", false, 0, func(*server) {}, LeaseOptions{NoCancel: true}, 0, false, true},
		{"amid a registration", true, 0, func(s *server) { s.hangs = false }, LeaseOptions{}, 0, true, true},
		{"never accepted", false, 503, func(s *server) { s.code = 0 }, LeaseOptions{}, 0, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{hangs: tt.hangs, code: tt.code}
				k := keep(t, s, instance(), tt.opts)
				k.server.set(tt.change)
				failures := k.Stats().Failures
				began := time.Now()
				k.stop()
				err := <-k.done
				if (err == nil) != tt.ok {
					t.Errorf("Run: got %v, want an error: %t", err, !tt.ok)
				}
				if got := time.Since(began); got != tt.took {
					t.Errorf("the end took %v, want %v", got, tt.took)
				}
				if got := strings.HasSuffix(k.server.log(), "cancel"); got != tt.cancel {
					t.Errorf("cancel sent: got %t, want %t: %s", got, tt.cancel, k.server.log())
				}
				if got, want := k.Stats().Failures-failures, uint64(0); tt.ok && got != want {
					t.Errorf("failures at the end: got %d, want %d", got, want)
				}
			})
		})
	}
}

func TestLeaseEndsBeforeItBegins(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		t.Errorf("%s %s was sent", r.Method, r.URL)
		return answer(200, ""), nil
	}, "http://a.test")
	l, err := NewLease(c, instance(), LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}
