package bridge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/registry"
)

// TestNodeInItsPlace sends nothing to a node of this cluster that stands at the address
// of a Java server, and compares when a Java server stands there.
func TestNodeInItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		j.cluster = "default"
		n := start(t, j)
		time.Sleep(time.Second)
		if !n.cluster.MayRead() {
			t.Error("it waits for a Java server where a node is")
		}
		n.reg.Register(instance("i", 1000), registry.Origin{})
		n.reg.Register(instance("k", 1000), registry.Origin{})
		n.reg.Cancel(key("k"), registry.Origin{})
		time.Sleep(time.Minute)
		if got := j.seen(); len(got) > 0 {
			t.Errorf("sent to a node: %q", got)
		}
		j.set(func(j *java) {
			if len(j.queries) > 0 {
				t.Errorf("%d lists asked of a node", len(j.queries))
			}
		})
		if p := n.cluster.Peers()[0]; p.Version != "registryd" {
			t.Errorf("version %q", p.Version)
		}

		// A Java server takes its place, within one look.
		j.set(func(j *java) { j.cluster = "" })
		n.reg.Renew(key("i"), 1000, "", registry.Origin{})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		both(t, n, j, "i=UP/UNKNOWN")
		n.reg.Register(instance("l", 1000), registry.Origin{})
		time.Sleep(time.Second)
		synctest.Wait()
		both(t, n, j, "i=UP/UNKNOWN l=UP/UNKNOWN")

		// And a node again. One batch or probe shows it.
		j.set(func(j *java) { j.cluster = "default" })
		time.Sleep(10 * time.Second)
		j.seen()
		n.reg.Register(instance("m", 1000), registry.Origin{})
		time.Sleep(time.Minute)
		if got := j.seen(); len(got) > 0 {
			t.Errorf("sent to a node: %q", got)
		}

		// The lists are compared at once, also where nothing is sent.
		j.restart()
		j.set(func(j *java) { j.cluster = "" })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		both(t, n, j, "i=UP/UNKNOWN l=UP/UNKNOWN m=UP/UNKNOWN")
	})
}

// TestNodeOfAnotherCluster bridges to a node of another cluster.
func TestNodeOfAnotherCluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		j.cluster = "other"
		n := start(t, j)
		time.Sleep(time.Second)
		n.reg.Register(instance("i", 1000), registry.Origin{})
		time.Sleep(time.Second)
		synctest.Wait()
		both(t, n, j, "i=UP/UNKNOWN")
	})
}
