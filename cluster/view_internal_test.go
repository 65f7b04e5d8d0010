package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// A node that serves without having received everything does not claim to know every
// change: its peers evict what such a node does not know.
func TestUpOnlyWithEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, err := registry.New(registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := &Cluster{reg: reg, opts: Options{Clock: machineClock()}}
		time.Sleep(time.Hour)
		for _, tt := range []struct {
			state  membership.State
			synced bool
			want   time.Duration
		}{
			{membership.Ready, true, time.Hour},
			{membership.Ready, false, 0},
			{membership.Syncing, true, 0},
		} {
			c.view.Store(&view{state: tt.state, presence: membership.Presence{Synced: tt.synced}})
			if got := c.up(); got != tt.want {
				t.Errorf("%v, synced %t: up for %v, want %v", tt.state, tt.synced, got, tt.want)
			}
		}
	})
}
