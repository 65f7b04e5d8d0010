package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Cancels are forgotten by the time alone: nodes agree all the while, to within the
// time that a message takes, and send each other nothing. No node makes a pass here.
func TestCancelsAreForgottenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := three(t)
		for i := range 100 {
			n[i%3].reg.Register(instance("OLD", fmt.Sprint("o-", i), eureka.StatusUp, 1), false)
		}
		time.Sleep(2 * time.Second)
		for i := range 100 {
			time.Sleep(30 * time.Millisecond)
			n[i%2].reg.Cancel(registry.NewKey("OLD", fmt.Sprint("o-", i)), false)
		}
		time.Sleep(5 * time.Second)
		accepted := func() (all uint64) {
			for _, node := range n {
				for _, p := range node.cluster.Peers() {
					all += p.Acceptor.Offered
				}
			}
			return all
		}
		equal := func() bool { return n[0].reg.Digest() == n[1].reg.Digest() && n[0].reg.Digest() == n[2].reg.Digest() }
		sent := accepted()
		for range 10 * 60 * 2 {
			time.Sleep(500 * time.Millisecond)
			if !equal() {
				if time.Sleep(100 * time.Millisecond); !equal() {
					t.Fatal("digests differ for more than a tenth of a second")
				}
			}
		}
		if again := accepted(); again != sent {
			t.Errorf("%d actions were sent while cancels were forgotten, want none", again-sent)
		}
		for _, node := range n {
			if node.reg.Len() != 0 {
				t.Errorf("%s remembers %d cancels after ten minutes", node.name, node.reg.Len())
			}
		}
	})
}
