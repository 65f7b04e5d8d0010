package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/registry"
)

// loner is a node without a network; it keeps what it announced.
type loner struct {
	cluster *cluster.Cluster
	log     *bytes.Buffer

	mu   sync.Mutex
	said [][]byte
}

func newLoner(t *testing.T, name string) *loner {
	t.Helper()
	l := &loner{log: new(bytes.Buffer)}
	var err error
	l.cluster, err = cluster.New(l, cluster.Options{Node: name, Logger: slog.New(slog.NewTextHandler(l.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.New(registry.Options{Sink: l.cluster})
	if err != nil {
		t.Fatal(err)
	}
	l.cluster.Attach(reg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.cluster.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	time.Sleep(time.Second) // its start
	return l
}

func (l *loner) Request(context.Context, string, string, []byte) ([]byte, error) {
	return nil, batcher.Absent
}

// Sync answers for a peer that knows nothing.
func (l *loner) Sync(context.Context, string, []byte) ([]byte, error) {
	return []byte(`{"next":null,"replicationList":[]}`), nil
}

func (l *loner) Announce(body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, body)
	return nil
}

func (l *loner) Ask() error      { return nil }
func (l *loner) MaxPayload() int { return 1 << 20 }

// last returns what the node announced last, and how often it did.
func (l *loner) last() ([]byte, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said[len(l.said)-1], len(l.said)
}

func TestTwinsAfterAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older := newLoner(t, "n1")
		younger := newLoner(t, "n1")
		for range 3 {
			said, _ := older.last()
			younger.cluster.HandlePresence("n1", said)
			said, _ = younger.last()
			older.cluster.HandlePresence("n1", said)
			time.Sleep(time.Second)
		}
		if older.cluster.Superseded() {
			t.Error("the older one stands back")
		}
		if !younger.cluster.Superseded() {
			t.Fatal("the younger one does not stand back")
		}
		_, before := younger.last()
		time.Sleep(2 * time.Second)
		if _, after := younger.last(); after != before {
			t.Errorf("the younger one announced itself %d times more", after-before)
		}
		for _, n := range []*loner{older, younger} {
			synctest.Wait()
			if got := strings.Count(n.log.String(), "another node has this node's name"); got != 1 {
				t.Errorf("told %d times, want once:\n%s", got, n.log)
			}
		}
		time.Sleep(5 * time.Second)
		if younger.cluster.Superseded() {
			t.Error("the younger one stands back though the older is gone")
		}
		if _, after := younger.last(); after == before {
			t.Error("the younger one does not announce itself though the older is gone")
		}
	})
}

// TestTwinsAtTheStart tells a node that starts of another of its name. One of the
// two gives way, never both.
func TestTwinsAtTheStart(t *testing.T) {
	const (
		older   = "00000000-0000-7000-8000-000000000001"
		younger = "ffffffff-ffff-7fff-bfff-ffffffffffff"
	)
	for _, tt := range []struct {
		name        string
		ready       bool // this node is, since it has heard another peer
		incarnation string
		state       cluster.State
		gives       bool // this node gives way
	}{
		{"a node that is there", false, older, cluster.Ready, true},
		{"one whose clock is ahead", false, younger, cluster.Ready, true},
		{"one that started before", false, older, cluster.Syncing, true},
		{"one that started later", false, younger, cluster.Syncing, false},
		{"a node that is there, late", true, older, cluster.Ready, true},
		{"one whose clock is ahead, late", true, younger, cluster.Ready, true},
		{"one that starts and whose clock is behind", true, older, cluster.Syncing, false},
		{"one that starts", true, younger, cluster.Syncing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &loner{}
				c, err := cluster.New(l, cluster.Options{Node: "n1"})
				if err != nil {
					t.Fatal(err)
				}
				reg, err := registry.New(registry.Options{Sink: c})
				if err != nil {
					t.Fatal(err)
				}
				c.Attach(reg)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- c.Run(ctx) }()
				hear := func(node, incarnation string, state cluster.State) {
					synctest.Wait()
					c.HandlePresence(node, fmt.Appendf(nil, `{"node":%q,"incarnation":%q,"time":%d,"digest":"0000000000000000","state":%q}`,
						node, incarnation, time.Now().UnixMilli(), state))
					synctest.Wait()
				}
				time.Sleep(10 * time.Millisecond)
				if tt.ready {
					hear("n2", older, cluster.Ready)
				}
				hear("n1", tt.incarnation, tt.state)
				time.Sleep(time.Second)
				if !tt.gives && c.Superseded() {
					t.Error("it stands back")
				}
				cancel()
				if err := <-done; errors.Is(err, cluster.ErrNameTaken) != tt.gives {
					t.Errorf("Run = %v, want it to give way: %t", err, tt.gives)
				}
			})
		})
	}
}

func TestClockSkewIsSeenAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newLoner(t, "n1")
		other := newLoner(t, "n2")
		hear := func(skew time.Duration) {
			said, _ := other.last()
			var p map[string]any
			if err := json.Unmarshal(said, &p); err != nil {
				t.Fatal(err)
			}
			p["time"] = time.Now().Add(-skew).UnixMilli()
			body, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			n.cluster.HandlePresence("n2", body)
			synctest.Wait()
		}
		told := func() int { return strings.Count(n.log.String(), "clock is off") }
		hear(2 * time.Second)
		if told() != 0 {
			t.Errorf("2 s are told:\n%s", n.log)
		}
		for range 3 { // As what has waited somewhere comes: all at once.
			hear(2001 * time.Millisecond)
		}
		if told() != 0 {
			t.Errorf("what may have waited is told:\n%s", n.log)
		}
		for range 3 {
			time.Sleep(time.Second)
			hear(2001 * time.Millisecond)
		}
		if told() != 1 {
			t.Errorf("2.001 s are told %d times, want once", told())
		}
		if got := n.cluster.Peers()[0].Skew; got != 2001*time.Millisecond {
			t.Errorf("skew = %v, want 2.001s", got)
		}
		hear(0)
		hear(-time.Hour)
		time.Sleep(time.Second)
		hear(-time.Hour)
		if told() != 2 {
			t.Errorf("a clock ahead by an hour is not told: %d", told())
		}
	})
}
