package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/node"
)

func topOverview(sent uint64) *node.Overview {
	return &node.Overview{
		Node: "a", Cluster: "c", State: "ready", Started: time.Now().Add(-time.Minute), Instances: 1,
		Broker: api.BrokerOverview{Connected: true}, Leases: api.LeasesOverview{Expected: 3, Missing: 1},
		Pipeline: api.PipelineOverview{Delay: 0.5, Batch: 250, Queue: 10_000},
		Peers: []api.PeerOverview{
			{
				Name: "b", Status: "reachable", AcceptorQueue: 1, ProcessingOrder: 125, BatchWorkQueue: 2, InFlight: 300, Batches: 2,
				Oldest: 0.25, Lag: 0.75, SentTasks: sent, Answers: map[string]uint64{"200": 7, "404": 1, "409": 0},
			},
			{Name: "c\x1b[2J", Status: "unreachable", Silent: 12, AcceptorQueue: 20_000, Waiting: "timeout", WaitLeft: 3},
		},
	}
}

func TestTopText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const want = `a of cluster c: ready, up 1m0s, 1 instance
leases: 3 expected, 1 missing; self-preservation inactive

PEER      STATUS               ACCEPTORQUEUE     PROCESSINGORDER                   BATCHWORKQUEUE  IN FLIGHT         LAG    TASKS/S  ANSWERS      TROUBLE
b         reachable            #......... 1      #####..... 125, 250ms of 500ms    2               300 in 2 batches  750ms  25.0     200×7 404×1  -
c\x1b[2J  unreachable for 12s  ########## 20000  .......... 0                      0               -                 -      0.0      -            nothing is sent for 3s: timeout
`
		got := topText(topOverview(150), topOverview(100), 2*time.Second, time.Now())
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
		if squeeze(got) != squeeze(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if first := topText(topOverview(150), nil, 0, time.Now()); !strings.Contains(squeeze(first), "750ms - 200×7") {
			t.Errorf("without what was before: %s", first)
		}
	})
}

func TestScreen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		width, height int
		want          string
	}{
		{10, 5, home + "äbcdef" + clearLine + "\r\ng" + clearLine + clearRest},
		{3, 5, home + "äbc" + clearLine + "\r\ng" + clearLine + clearRest},
		{10, 1, home + "äbcdef" + clearLine + clearRest},
		{0, 0, home + clearLine + clearRest},
	} {
		if got := screen("äbcdef\ng\n", test.width, test.height); got != test.want {
			t.Errorf("%d×%d: got %q, want %q", test.width, test.height, got, test.want)
		}
	}
}

// screenOutput is what a terminal was sent.
type screenOutput struct {
	mu  sync.Mutex
	all strings.Builder
}

func (s *screenOutput) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *screenOutput) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// TestTop draws at once, with each look, and when the terminal has another size, until q.
func TestTop(t *testing.T) {
	for _, key := range []byte{'q', 3} {
		synctest.Test(t, func(t *testing.T) {
			out, keys, looks := &screenOutput{}, make(chan byte), 0
			var width atomic.Int64
			width.Store(80)
			var trouble atomic.Pointer[error]
			top := &top{
				out: out, keys: keys, interval: time.Second, size: func() (int, int) { return int(width.Load()), 24 },
				look: func(context.Context) (*node.Overview, error) {
					looks++
					if err := trouble.Load(); err != nil {
						return nil, *err
					}
					return topOverview(uint64(100 * looks)), nil
				},
			}
			done := make(chan error)
			go func() { done <- top.run(t.Context(), topOverview(0)) }()
			drawn := func(want int) {
				t.Helper()
				synctest.Wait()
				if got := strings.Count(out.String(), home); got != want {
					t.Errorf("drawn %d times, want %d", got, want)
				}
			}
			drawn(1)
			time.Sleep(time.Second - time.Millisecond)
			drawn(1)
			time.Sleep(time.Millisecond)
			drawn(2)
			width.Store(200)
			time.Sleep(sizeInterval)
			drawn(3)
			if !strings.Contains(out.String(), "100.0") {
				t.Errorf("no rate in %q", out.String())
			}
			trouble.Store(new(errors.New("connection refused")))
			time.Sleep(time.Second - sizeInterval)
			drawn(4)
			if !strings.Contains(out.String(), "no answer: connection refused") {
				t.Errorf("no trouble in %q", out.String())
			}
			keys <- 'x'
			keys <- key
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got := out.String(); !strings.HasPrefix(got, enterScreen) || !strings.HasSuffix(got, leaveScreen) {
				t.Error("the terminal is not left as it was")
			}
		})
	}
}

// TestTopPrintsOnce has an output that is no terminal.
func TestTopPrintsOnce(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n"})
	if out := runOK(t, "top", n.URL()); !strings.HasPrefix(out, "n of cluster default: ready, up ") || !strings.Contains(out, "\nno peers\n") || strings.Contains(out, "\x1b") {
		t.Errorf("got %q", out)
	}
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"top", "--interval", "1ms"}, &out, &errs); code != 2 || !strings.Contains(errs.String(), "--interval 1ms: less than 100ms") {
		t.Errorf("code %d, %q", code, errs.String())
	}
	if code := run(t.Context(), []string{"top", "127.0.0.1:1"}, &out, &errs); code != 1 || out.Len() > 0 {
		t.Errorf("of nobody: code %d, %q", code, out.String())
	}
}
