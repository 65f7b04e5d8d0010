//go:build faults

package faults_test

import (
	"testing"
	"time"
)

// TestNoGrowth plays the same faults and repairs twenty times. The nodes that
// run throughout must not grow.
func TestNoGrowth(t *testing.T) {
	const rounds, warm = 20, 3
	l := newLab(t, labOptions{})
	// No new client ever comes, so the nodes' state stays the same.
	f := startFleet(l, fleetOptions{Size: 120, Kinds: []kind{steady, registers, metadata, overrides, cancels}})
	l.united()
	survivors := l.nodes[:2]
	var goroutines, heap [2]float64
	for round := 1; round <= rounds; round++ {
		l.brokers[round%labSize].kill()
		for _, s := range l.brokers {
			s.host.cutTo(l.nodes[round%2].host)
		}
		n := l.nodes[2]
		n.setReady(false)
		f.lose(n)
		n.kill()
		f.lose(n)
		pause(3 * time.Second)
		for _, s := range l.brokers {
			heal(s.host)
		}
		l.brokers[round%labSize].start()
		n.start()
		l.waitBrokers()
		l.united()
		f.settle("a round")
		f.found()
		if round != warm && round != rounds {
			continue
		}
		for i, n := range survivors {
			g := l.lowest(n, "go_goroutines")
			h := l.lowest(n, "go_memstats_heap_inuse_bytes")
			t.Logf("after round %d %s has %.0f goroutines and %.1f MB of heap", round, n.name, g, h/1e6)
			if round == warm {
				goroutines[i], heap[i] = g, h
				continue
			}
			if g > goroutines[i]+20 {
				t.Errorf("%s has %.0f goroutines, %.0f after round %d", n.name, g, goroutines[i], warm)
			}
			if h > heap[i]*1.5+4e6 {
				t.Errorf("%s has %.0f bytes of heap in use, %.0f after round %d", n.name, h, heap[i], warm)
			}
		}
	}
}

// lowest returns the least of a metric over some seconds: between two requests,
// and after a collection of garbage.
func (l *lab) lowest(n *node, metric string) float64 {
	l.t.Helper()
	least := l.mustMetric(n, metric)
	for range 50 {
		pause(100 * time.Millisecond)
		least = min(least, l.mustMetric(n, metric))
	}
	return least
}
