package cluster_test

import (
	"testing"
	"testing/synctest"
)

// The HTTP side asks for the status with each request, heartbeats too.
func TestStatusAllocatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newBus(t).start("n1")
		<-n.cluster.Ready()
		if got := testing.AllocsPerRun(100, func() {
			if s := n.cluster.Status(); !s.Ready || !s.Reads || !s.Writes || !n.cluster.MayWrite() {
				t.Fatalf("%+v", s)
			}
		}); got != 0 {
			t.Errorf("%v allocations, want none", got)
		}
	})
}
