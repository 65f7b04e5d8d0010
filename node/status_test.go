package node_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/registry"
)

// alone is the transport of a node without peers. Its process is suspended while
// held is not nil: the cluster's Run calls Link.
type alone struct {
	held    atomic.Pointer[chan struct{}]
	cluster *cluster.Cluster
}

var errAlone = errors.New("no peer")

func (a *alone) Request(context.Context, string, string, []byte) ([]byte, error) {
	return nil, errAlone
}
func (a *alone) Sync(context.Context, string, []byte) ([]byte, error) { return nil, errAlone }
func (a *alone) Ask() error                                           { return nil }
func (a *alone) MaxPayload() int                                      { return 1 << 20 }
func (a *alone) Announce(p membership.Presence) error {
	a.cluster.HandlePresence(p)
	return nil
}

func (a *alone) Link() membership.Link {
	if held := a.held.Load(); held != nil {
		<-*held
	}
	return membership.Link{Up: true}
}

// TestStopping: a stopping node isn't ready, but clients may read and write as
// before. Otherwise a node that was suspended, or never synced, would take old
// writes from its sockets and serve incomplete lists.
func TestStopping(t *testing.T) {
	for _, test := range []struct {
		name     string
		until    time.Duration // for how long the node has run
		still    time.Duration // for how long it was suspended after that
		running  string
		readable bool
		stale    bool
	}{
		{"ready", time.Minute, 0, "ready", true, false},
		{"syncing", 100 * time.Millisecond, 0, "syncing", false, false},
		{"a short pause", time.Minute, 3 * time.Second, "ready", true, false},
		{"suspended", time.Minute, 10 * time.Second, "syncing: process was suspended", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &alone{}
				reg, err := registry.New(registry.Options{})
				if err != nil {
					t.Fatal(err)
				}
				c, err := cluster.New(reg, transport, cluster.Options{Node: "n1"})
				if err != nil {
					t.Fatal(err)
				}
				transport.cluster = c
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- c.Run(ctx) }()

				time.Sleep(test.until)
				held := make(chan struct{})
				transport.held.Store(&held)
				time.Sleep(test.still)
				ending := make(chan struct{})
				want := api.Readiness{State: test.running, Ready: test.readable, Reads: test.readable, Stale: test.stale}
				if got := node.ReadinessOf(c, ending); got != want {
					t.Errorf("running: got %+v, want %+v", got, want)
				}
				close(ending)
				want.State, want.Ready = "stopping", false
				if got := node.ReadinessOf(c, ending); got != want {
					t.Errorf("stopping: got %+v, want %+v", got, want)
				}

				transport.held.Store(nil)
				close(held)
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
