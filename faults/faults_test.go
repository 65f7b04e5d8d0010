//go:build faults

package faults_test

import (
	"fmt"
	"testing"
	"time"
)

// fault is one fault, and its repair.
type fault struct {
	name string
	do   func(l *lab, f *fleet)
}

// freezeTime is how long a process is suspended: more than the five seconds
// after which it counts as just started.
const freezeTime = 10 * time.Second

// downTime is how long a killed process stays away.
const downTime = 1500 * time.Millisecond

func killNode(i int) fault {
	return fault{fmt.Sprintf("kill -9 of n%d", i+1), func(l *lab, f *fleet) {
		n := l.nodes[i]
		n.setReady(false)
		f.lose(n)
		n.kill()
		f.lose(n) // the changes that it took just before
		pause(downTime)
		n.start()
		f.firstList(n)
		l.waitReady(n)
	}}
}

func killBroker(i int) fault {
	return fault{fmt.Sprintf("kill -9 of nats-server s%d", i+1), func(l *lab, _ *fleet) {
		l.brokers[i].kill()
		pause(downTime)
		l.brokers[i].start()
		l.waitBrokers()
		l.waitReady(l.nodes...)
	}}
}

func freezeNode(i int) fault {
	return fault{fmt.Sprintf("SIGSTOP of n%d for %v", i+1, freezeTime), func(l *lab, f *fleet) {
		n := l.nodes[i]
		n.setReady(false)
		before := l.mustMetric(n, "registryd_cluster_pauses_total")
		f.lose(n)
		n.freeze(freezeTime)
		n.setDoomed(false)
		l.waitMetric(n, "registryd_cluster_pauses_total", func(v float64) bool { return v > before })
		l.waitReady(n)
	}}
}

func freezeBroker(i int) fault {
	return fault{fmt.Sprintf("SIGSTOP of nats-server s%d for %v", i+1, freezeTime), func(l *lab, _ *fleet) {
		l.brokers[i].freeze(freezeTime)
		l.waitReady(l.nodes...)
	}}
}

// partitionTime is longer than the silence after which a peer counts as
// unreachable, and than a lease.
const partitionTime = 9 * time.Second

// partition cuts the network in two: n1 with its broker, and the rest.
func partition() fault {
	return fault{"partition: n1 with its broker, and the rest", func(l *lab, _ *fleet) {
		here, there := []*host{l.nodes[0].host}, []*host{l.nodes[1].host, l.nodes[2].host}
		for i, s := range l.brokers {
			if i == 0 {
				here = append(here, s.host)
			} else {
				there = append(there, s.host)
			}
		}
		for _, h := range here {
			h.cut(there...)
		}
		l.divided(l.nodes[0], labSize-1)
		l.divided(l.nodes[1], 1)
		pause(partitionTime / 2)
		l.mend(append(here, there...)...)
	}}
}

// deaf drops the packets from the brokers to n2; those from n2 arrive.
func deaf() fault {
	return fault{"one-way partition: from the brokers to n2", func(l *lab, _ *fleet) {
		var brokers []*host
		for _, s := range l.brokers {
			s.host.cutTo(l.nodes[1].host)
			brokers = append(brokers, s.host)
		}
		l.divided(l.nodes[1], labSize-1)
		pause(partitionTime / 2)
		l.mend(brokers...)
	}}
}

// mute drops the packets from n3 to the brokers; those to n3 arrive.
func mute() fault {
	return fault{"one-way partition: from n3 to the brokers", func(l *lab, _ *fleet) {
		h := l.nodes[2].host
		for _, s := range l.brokers {
			h.cutTo(s.host)
		}
		l.divided(l.nodes[0], 1)
		pause(partitionTime / 2)
		l.mend(h)
	}}
}

// brokersApart cuts one broker off the others; its nodes reach it.
func brokersApart() fault {
	return fault{"one-way partition: from s1 to the other brokers", func(l *lab, _ *fleet) {
		l.brokers[0].host.cutTo(l.brokers[1].host, l.brokers[2].host)
		pause(partitionTime)
		l.mend(l.brokers[0].host)
	}}
}

const lossPercent = 10

func loss() fault {
	return fault{fmt.Sprintf("%d %% loss at n1 and s2", lossPercent), func(l *lab, _ *fleet) {
		l.nodes[0].host.lose(lossPercent)
		l.brokers[1].host.lose(lossPercent)
		pause(partitionTime / 2)
		l.mend(l.nodes[0].host, l.brokers[1].host)
	}}
}

func delay() fault {
	return fault{"delay at n2 and s3", func(l *lab, _ *fleet) {
		l.t.Logf("delay: %s", l.nodes[1].host.slow())
		l.brokers[2].host.slow()
		pause(partitionTime / 2)
		l.nodes[1].host.unslow()
		l.brokers[2].host.unslow()
		l.united()
	}}
}

// restartAll kills all three nodes at once and starts them together, while the
// clients continue.
func restartAll() fault {
	return fault{"kill -9 of all three nodes, started together", func(l *lab, f *fleet) {
		for _, n := range l.nodes {
			n.setReady(false)
		}
		for _, n := range l.nodes {
			n.kill()
		}
		f.loseAll()
		pause(downTime)
		for _, n := range l.nodes {
			n.start()
		}
		l.united()
	}}
}

func lossAndDelay() fault {
	return fault{fmt.Sprintf("%d %% loss at n1 and delay at n2", lossPercent), func(l *lab, _ *fleet) {
		l.nodes[0].host.lose(lossPercent)
		l.nodes[1].host.slow()
		pause(partitionTime / 2)
		heal(l.nodes[0].host)
		l.nodes[1].host.unslow()
		l.united()
	}}
}

const reachable = `registryd_cluster_peers{status="reachable"}`

// divided waits until a node has noticed that peers are missing.
func (l *lab) divided(n *node, missing int) {
	l.t.Helper()
	l.waitMetric(n, reachable, func(v float64) bool { return int(v) == labSize-1-missing })
}

// united waits until all nodes reach all others.
func (l *lab) united() {
	l.t.Helper()
	l.waitReady(l.nodes...)
	for _, n := range l.nodes {
		l.waitMetric(n, reachable, func(v float64) bool { return int(v) == len(l.nodes)-1 })
	}
}

// mend heals the hosts, and waits until all nodes reach all others.
func (l *lab) mend(hosts ...*host) {
	l.t.Helper()
	heal(hosts...)
	begin := time.Now()
	l.united()
	l.t.Logf("the network mended, all nodes reached each other after %.1f s", time.Since(begin).Seconds())
}

// play plays one fault after another. After each the lists must become true.
func play(t *testing.T, l *lab, f *fleet, expired bool, faults ...fault) {
	t.Helper()
	for _, fault := range faults {
		begin := time.Now()
		fault.do(l, f)
		lasted := time.Since(begin)
		took := f.settle(fault.name)
		f.found()
		if expired {
			f.settleExpired(fault.name)
		}
		t.Logf("%-60s lasted %5.1f s, then the lists were right after %4.1f s", fault.name, lasted.Seconds(), took.Seconds())
	}
	t.Logf("the fleet: %d registers, %d heartbeats, %d changes, %d 404, %d failed calls, %d changes repeated that a fault may have taken",
		f.registered.Load(), f.renewed.Load(), f.changed.Load(), f.notFound.Load(), f.failed.Load(), f.repeated.Load())
}

// TestShortForm is run by CI: each process killed once, one suspended, a
// partition of each sort, loss and delay.
func TestShortForm(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	f := startFleet(l, fleetOptions{Size: 60})
	l.united()
	f.settle("the start")
	play(t, l, f, false,
		killNode(0), killBroker(0), killNode(1), killBroker(1), killNode(2), killBroker(2),
		partition(), deaf(), freezeNode(0), lossAndDelay(), restartAll(),
	)
	f.settleExpired("all faults")
}

// TestShortEmbedded does without nats-servers: each node has a broker of its own,
// and routes to those of the others.
func TestShortEmbedded(t *testing.T) {
	t.Parallel()
	l := newEmbeddedLab(t)
	f := startFleet(l, fleetOptions{Size: 40})
	l.united()
	f.settle("the start with embedded brokers")
	play(t, l, f, false, killNode(1), partition(), freezeNode(2))
	f.settleExpired("all faults of embedded brokers")
}

// TestFaults plays every fault, with more clients. Each time it waits until the
// leases of the clients that ended without a cancel have expired too.
func TestFaults(t *testing.T) {
	l := newLab(t, labOptions{Data: true})
	f := startFleet(l, fleetOptions{Size: 300})
	l.united()
	f.settle("the start")
	var faults []fault
	for i := range labSize {
		faults = append(faults, killNode(i), killBroker(i), freezeNode(i), freezeBroker(i))
	}
	play(t, l, f, true, append(faults, partition(), deaf(), mute(), brokersApart(), loss(), delay(), lossAndDelay(), restartAll())...)
}
