package cluster_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestLook: a node is told what the others hold of an instance, and takes none of it.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := three(t)
		key := registry.NewKey("DEMO", "d-1")
		b.fail(refuse(func(_, to string) bool { return to == "n2" }, batcher.Busy))
		b.failSync(func(from, _ string, _ []byte) error {
			if from == "n2" {
				return errLost
			}
			return nil
		})
		n[0].reg.Register(instance("DEMO", "d-1", eureka.StatusUp, 1), registry.Origin{})
		time.Sleep(time.Second)
		held := n[1].cluster.Look(t.Context(), key)
		if len(held) != 2 || held[0].Peer != "n1" || held[1].Peer != "n3" {
			t.Fatalf("held %+v, want answers of n1 and n3", held)
		}
		for _, h := range held {
			if !errors.Is(h.Err, errLost) {
				t.Errorf("%s: error %v, want the one of the transport", h.Peer, h.Err)
			}
		}
		b.failSync(func(string, string, []byte) error { return nil })
		for _, h := range n[1].cluster.Look(t.Context(), key) {
			if !h.Known || h.Err != nil || !h.Entry.Record.Live || h.Entry.Record.Info.ID() != "d-1" {
				t.Errorf("%s: %+v, want the instance", h.Peer, h)
			}
		}
		if _, _, ok := n[1].reg.Entry(key); ok {
			t.Error("n2 took what it only looked at")
		}
		for _, h := range n[1].cluster.Look(t.Context(), registry.NewKey("DEMO", "none")) {
			if h.Known || h.Err != nil {
				t.Errorf("%s: %+v, want nothing", h.Peer, h)
			}
		}
	})
}
