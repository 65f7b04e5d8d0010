package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// A whole cluster was down for longer than a cancel is remembered, and starts
// from snapshots. One node has the cancel, the other an older copy of the
// instance. No node lists it at any time after the start-up sync.
func TestCancelOutlastsAnOutage(t *testing.T) {
	for _, away := range []time.Duration{0, 20 * time.Minute, 30 * 24 * time.Hour} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				saved, err := registry.New(registry.Options{})
				if err != nil {
					t.Fatal(err)
				}
				key := registry.NewKey("OLD", "o-1")
				saved.Register(instance("OLD", "o-1", eureka.StatusUp, 1), registry.Origin{})
				older, _, _ := saved.Entry(key)
				time.Sleep(time.Second)
				saved.Cancel(key, registry.Origin{})
				cancel, _, _ := saved.Entry(key)
				older.Age, cancel.Age = 61*time.Second, time.Minute
				time.Sleep(away)
				b := newBus(t)
				b.snapshot = func(reg *registry.Registry) { reg.Restore(key, cancel, away) }
				n1 := b.start("n1")
				b.snapshot = func(reg *registry.Registry) { reg.Restore(key, older, away) }
				n2 := b.start("n2")
				<-n1.cluster.Ready()
				<-n2.cluster.Ready()
				for second := range 20 * 60 {
					time.Sleep(time.Second)
					for _, n := range []*testNode{n1, n2} {
						if n.reg.Forget(); n.count("OLD") != 0 && second > 10 {
							t.Fatalf("%s lists the cancelled instance %d s after the start", n.name, second)
						}
					}
				}
			})
		})
	}
}
