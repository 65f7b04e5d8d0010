package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
)

// server is a Eureka server in a bubble: it notes what it is asked, and answers
// as it is told.
type server struct {
	began time.Time

	mu     sync.Mutex
	calls  []string // "30s heartbeat UP"
	bodies []*eureka.InstanceInfo
	beats  []string      // lastDirtyTimestamp of each heartbeat
	code   int           // answers every call, 0: as Eureka does
	lost   bool          // heartbeats get 404 until the next registration
	hangs  bool          // no answer
	slow   time.Duration // before each answer
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	call := map[string]string{http.MethodPost: "register", http.MethodPut: "heartbeat", http.MethodDelete: "cancel"}[r.Method]
	code := 200
	switch call {
	case "register":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		info, err := eureka.DecodeInstance(eureka.JSON, body)
		if err != nil {
			panic(err)
		}
		s.bodies = append(s.bodies, info)
		call += " " + string(info.Status)
		code = 204
		s.lost = false
	case "heartbeat":
		s.beats = append(s.beats, r.URL.Query().Get("lastDirtyTimestamp"))
		call += " " + r.URL.Query().Get("status")
		if s.lost {
			code = 404
		}
	}
	if s.code != 0 {
		code = s.code
	}
	s.calls = append(s.calls, time.Since(s.began).String()+" "+call)
	hangs, slow := s.hangs, s.slow
	s.mu.Unlock()
	if hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	time.Sleep(slow)
	return answer(code, ""), nil
}

// set changes how the server answers.
func (s *server) set(change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, ", ")
}

// leased is a lease that runs in a bubble.
type leased struct {
	*Lease
	server *server
	stop   context.CancelFunc
	done   chan error
}

func keep(t *testing.T, s *server, info *eureka.InstanceInfo, opts LeaseOptions) *leased {
	t.Helper()
	s.began = time.Now()
	c := newClient(t, s.RoundTrip, "http://a.test/eureka/")
	l, err := NewLease(c, info, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	k := &leased{Lease: l, server: s, stop: stop, done: make(chan error, 1)}
	go func() { k.done <- l.Run(ctx) }()
	synctest.Wait()
	return k
}

// pass lets time pass, and what is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (k *leased) end(t *testing.T) {
	t.Helper()
	k.stop()
	if err := <-k.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func (k *leased) want(t *testing.T, calls ...string) {
	t.Helper()
	if got, want := k.server.log(), strings.Join(calls, ", "); got != want {
		t.Fatalf("calls:\n got %s\nwant %s", got, want)
	}
}

func TestLeaseLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &server{}, instance(), LeaseOptions{})
		k.want(t, "0s register UP")
		pass(30*time.Second - 1)
		k.want(t, "0s register UP")
		pass(1)
		k.want(t, "0s register UP", "30s heartbeat UP")
		pass(40 * time.Second)
		k.end(t)
		k.want(t, "0s register UP", "30s heartbeat UP", "1m0s heartbeat UP", "1m10s cancel")
		if got, want := k.Stats(), (LeaseStats{Registers: 1, Heartbeats: 2, Cancels: 1}); got != want {
			t.Errorf("Stats: got %+v, want %+v", got, want)
		}
		if got := k.server.bodies[0].LastDirtyTimestamp; got != 1700000000000 {
			t.Errorf("lastDirtyTimestamp: got %d, want that of the instance", got)
		}
		if want := []string{"1700000000000", "1700000000000"}; !slices.Equal(k.server.beats, want) {
			t.Errorf("of the heartbeats: got %v, want %v", k.server.beats, want)
		}
		if err := k.Run(t.Context()); !errors.Is(err, ErrRunning) {
			t.Errorf("second Run: got %v, want %v", err, ErrRunning)
		}
	})
}

func TestLeaseInterval(t *testing.T) {
	for _, tt := range []struct {
		name string
		secs int
		opts LeaseOptions
		want time.Duration
	}{
		{"default", 0, LeaseOptions{}, 30 * time.Second},
		{"of the instance", 5, LeaseOptions{}, 5 * time.Second},
		{"option", 5, LeaseOptions{RenewalInterval: 200 * time.Millisecond}, 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				info := instance()
				info.LeaseInfo.RenewalIntervalInSecs = tt.secs
				k := keep(t, &server{}, info, tt.opts)
				pass(3*tt.want - 1)
				if got := k.Stats().Heartbeats; got != 2 {
					t.Errorf("just before 3 intervals: got %d heartbeats, want 2", got)
				}
				pass(1)
				if got := k.Stats().Heartbeats; got != 3 {
					t.Errorf("after 3 intervals: got %d heartbeats, want 3", got)
				}
				k.end(t)
			})
		})
	}
}

func TestLeaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &server{}, instance(), LeaseOptions{})
		k.server.set(func(s *server) { s.lost = true })
		pass(30 * time.Second)
		k.want(t, "0s register UP", "30s heartbeat UP", "30s register UP")
		pass(30 * time.Second)
		k.end(t)
		k.want(t, "0s register UP", "30s heartbeat UP", "30s register UP", "1m0s heartbeat UP", "1m0s cancel")
		first, second := k.server.bodies[0].LastDirtyTimestamp, k.server.bodies[1].LastDirtyTimestamp
		if second <= first {
			t.Errorf("lastDirtyTimestamp: got %d, then %d, want a new one", first, second)
		}
		if got, want := k.server.beats[1], fmt.Sprint(second); got != want {
			t.Errorf("of the next heartbeat: got %s, want %s", got, want)
		}
		if got, want := k.Stats(), (LeaseStats{Registers: 2, Heartbeats: 1, NotFound: 1, Cancels: 1}); got != want {
			t.Errorf("Stats: got %+v, want %+v", got, want)
		}
	})
}

// TestLeaseTimestampGrows registers again while the clock is behind the last
// lastDirtyTimestamp.
func TestLeaseTimestampGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		info := instance()
		info.LastDirtyTimestamp = time.Now().Add(time.Hour).UnixMilli()
		k := keep(t, &server{lost: true}, info, LeaseOptions{})
		k.server.set(func(s *server) { s.lost = true })
		pass(30 * time.Second)
		k.end(t)
		if got, want := k.server.bodies[1].LastDirtyTimestamp, info.LastDirtyTimestamp+1; got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	})
}

func TestLeaseStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		info := instance()
		info.Status = eureka.StatusStarting
		k := keep(t, &server{}, info, LeaseOptions{})
		pass(10 * time.Second)
		k.SetStatus(eureka.StatusStarting) // no change
		pass(0)
		k.SetStatus(eureka.StatusUp)
		pass(0)
		k.want(t, "0s register STARTING", "10s register UP")
		if a, b := k.server.bodies[0], k.server.bodies[1]; b.LastDirtyTimestamp <= a.LastDirtyTimestamp {
			t.Errorf("lastDirtyTimestamp: got %d, then %d, want a new one", a.LastDirtyTimestamp, b.LastDirtyTimestamp)
		}
		pass(20 * time.Second)
		// Slow answers: what changes meanwhile becomes one registration.
		k.server.set(func(s *server) { s.slow = time.Second })
		k.SetStatus(eureka.StatusDown)
		pass(time.Millisecond)
		k.SetStatus(eureka.StatusUp)
		k.SetStatus(eureka.StatusOutOfService)
		pass(3 * time.Second)
		k.want(t, "0s register STARTING", "10s register UP", "30s heartbeat UP",
			"30s register DOWN", "31s register OUT_OF_SERVICE")
		if info.Status != eureka.StatusStarting {
			t.Errorf("the caller's instance was changed to %s", info.Status)
		}
		if got := k.Instance().Status; got != eureka.StatusOutOfService {
			t.Errorf("Instance: got status %s, want %s", got, eureka.StatusOutOfService)
		}
		k.end(t)
	})
}

func TestLeaseRetriesRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		info := instance()
		info.LeaseInfo.RenewalIntervalInSecs = 5
		k := keep(t, &server{code: 503}, info, LeaseOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		pass(14 * time.Second)
		k.want(t, "0s register UP", "1s register UP", "3s register UP", "7s register UP", "12s register UP")
		k.server.set(func(s *server) { s.code = 0 })
		pass(3500 * time.Millisecond)
		if got, want := k.Stats(), (LeaseStats{Failures: 5, Registers: 1}); got != want {
			// 17 s: the sixth try.
			t.Errorf("Stats: got %+v, want %+v", got, want)
		}
		k.end(t)
		if got := strings.Count(log.String(), "level=WARN"); got != 1 {
			t.Errorf("got %d warnings, want 1 for five failures:\n%s", got, &log)
		}
		if !strings.Contains(log.String(), "calls succeed again") || !strings.Contains(log.String(), "failures=5") {
			t.Errorf("got %q, want the end of the failures and their number", &log)
		}
		for i, b := range k.server.bodies {
			if b.LastDirtyTimestamp != 1700000000000 {
				t.Errorf("try %d: got lastDirtyTimestamp %d, want the same for all", i+1, b.LastDirtyTimestamp)
			}
		}
	})
}

// TestLeaseRetryEnds lets a new status be registered while an older try waits
// for its turn: that turn is over, and the next outage begins at 1 s again.
func TestLeaseRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &server{code: 503}, instance(), LeaseOptions{})
		pass(3500 * time.Millisecond)
		k.server.set(func(s *server) { s.code = 0 })
		k.SetStatus(eureka.StatusDown)
		pass(16500 * time.Millisecond)
		k.want(t, "0s register UP", "1s register UP", "3s register UP", "3.5s register DOWN")
		k.server.set(func(s *server) { s.code = 503 })
		k.SetStatus(eureka.StatusUp)
		pass(time.Second)
		k.server.set(func(s *server) { s.code = 0 })
		k.end(t)
		k.want(t, "0s register UP", "1s register UP", "3s register UP", "3.5s register DOWN",
			"20s register UP", "21s register UP", "21s cancel")
	})
}

func TestLeaseStatusBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{began: time.Now()}
		l, err := NewLease(newClient(t, s.RoundTrip, "http://a.test"), instance(), LeaseOptions{NoCancel: true})
		if err != nil {
			t.Fatal(err)
		}
		l.SetStatus(eureka.StatusStarting)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := s.log(), "0s register STARTING"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestLeaseHeartbeatFails goes through an outage: each heartbeat is sent once,
// in its turn, and no registration follows.
func TestLeaseHeartbeatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &server{}, instance(), LeaseOptions{})
		k.server.set(func(s *server) { s.code = 500 })
		pass(60 * time.Second)
		k.server.set(func(s *server) { s.code = 0 })
		pass(30 * time.Second)
		k.end(t)
		k.want(t, "0s register UP", "30s heartbeat UP", "1m0s heartbeat UP", "1m30s heartbeat UP", "1m30s cancel")
		if got, want := k.Stats(), (LeaseStats{Registers: 1, Heartbeats: 1, Failures: 2, Cancels: 1}); got != want {
			t.Errorf("Stats: got %+v, want %+v", got, want)
		}
	})
}

// TestLeaseBeatsWhileStatusIsRefused keeps the lease that is held alive.
func TestLeaseBeatsWhileStatusIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		info := instance()
		info.LeaseInfo.RenewalIntervalInSecs = 10
		k := keep(t, &server{}, info, LeaseOptions{})
		pass(5 * time.Second)
		k.server.set(func(s *server) { s.code = 400 })
		k.SetStatus(eureka.StatusDown)
		pass(0)
		pass(5 * time.Second)
		k.stop()
		if err := <-k.done; err == nil {
			t.Error("Run: got no error, want that of the cancel")
		}
		k.want(t, "0s register UP", "5s register DOWN", "6s register DOWN", "8s register DOWN",
			"10s heartbeat UP", "10s cancel")
		if got, want := k.server.beats[0], "1700000000000"; got != want {
			t.Errorf("heartbeat: got lastDirtyTimestamp %s, want %s, the one that was accepted", got, want)
		}
	})
}
