//go:build faults

package faults_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// Filters of tc in classic BPF. 2 drops the packet, -1 leaves it to the next
// filter. The packet begins with its Ethernet header.
const always = "1,6_0_0_2"

// toHost drops IPv4 packets to one address.
func toHost(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("6,40_0_0_12,21_0_3_2048,32_0_0_30,21_0_1_%d,6_0_0_2,6_0_0_4294967295", binary.BigEndian.Uint32(b[:]))
}

// atRandom drops a share of all packets; the constant is the kernel's random
// number (SKF_AD_OFF + SKF_AD_RANDOM).
func atRandom(percent int) string {
	return fmt.Sprintf("4,32_0_0_4294963256,53_1_0_%d,6_0_0_2,6_0_0_4294967295", uint64(percent)<<32/100)
}

// How packets are delayed. Not every kernel has netem; where it is missing, tbf
// makes a link so narrow that they wait in its queue.
const (
	slowNetem = "netem delay 100ms 50ms"
	slowTBF   = "tbf rate 2mbit burst 4k latency 300ms"
)

// network is a bridge of its own with hosts on it. This process has an address
// on the bridge too.
type network struct {
	t      *testing.T
	number int
	hosts  int
}

var networks atomic.Int32

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, number: int(networks.Add(1))}
	n.must("ip link add %s type bridge", n.bridge())
	n.must("ip addr add 10.99.%d.1/24 dev %s", n.number, n.bridge())
	n.must("ip link set %s up", n.bridge())
	t.Cleanup(func() { n.must("ip link del %s", n.bridge()) })
	return n
}

func (n *network) bridge() string { return fmt.Sprintf("br%d", n.number) }

func (n *network) must(format string, args ...any) {
	n.t.Helper()
	if err := sh(fmt.Sprintf(format, args...)); err != nil {
		n.t.Fatal(err)
	}
}

// host is a network namespace with one link to the bridge.
type host struct {
	network *network
	name    string // of the namespace
	port    string // its end of the link on the bridge
	addr    netip.Addr
	number  int
}

func (n *network) host(name string) *host {
	n.t.Helper()
	n.hosts++
	h := &host{
		network: n, number: n.hosts, name: fmt.Sprintf("%s.%d", name, n.number),
		port: fmt.Sprintf("v%d.%d", n.number, n.hosts), addr: netip.AddrFrom4([4]byte{10, 99, byte(n.number), byte(10 + n.hosts)}),
	}
	n.must("ip netns add %s", h.name)
	n.t.Cleanup(func() { n.must("ip netns del %s", h.name) })
	n.must("ip link add %s type veth peer name eth0 netns %s", h.port, h.name)
	n.must("ip link set %s master %s up", h.port, n.bridge())
	n.must("ip -n %s addr add %s/24 dev eth0", h.name, h.addr)
	n.must("ip -n %s link set lo up", h.name)
	n.must("ip -n %s link set eth0 up", h.name)
	n.must("tc qdisc add dev %s clsact", h.port)
	return h
}

// cutTo drops the packets from h to another host, until heal. The other way
// stays open.
func (h *host) cutTo(others ...*host) {
	h.network.t.Helper()
	for _, other := range others {
		h.network.must("tc filter add dev %s ingress prio %d protocol all bpf da bytecode %s", h.port, other.number, toHost(other.addr))
	}
}

// cut drops everything between h and the others, until heal.
func (h *host) cut(others ...*host) {
	h.network.t.Helper()
	h.cutTo(others...)
	for _, other := range others {
		other.cutTo(h)
	}
}

// lossPrio is where the filter of lose stands, behind those of cutTo.
const lossPrio = 1000

// lose drops a share of the packets from and to h, until heal.
func (h *host) lose(percent int) {
	h.network.t.Helper()
	for _, way := range []string{"ingress", "egress"} {
		h.network.must("tc filter add dev %s %s prio %d protocol all bpf da bytecode %s", h.port, way, lossPrio, atRandom(percent))
	}
}

// slow delays packets from and to h, until heal. It returns the method.
func (h *host) slow() string {
	h.network.t.Helper()
	how := slowNetem
	if err := sh(fmt.Sprintf("tc qdisc add dev %s root %s", h.port, how)); err != nil {
		if !strings.Contains(err.Error(), "qdisc kind is unknown") {
			h.network.t.Fatal(err)
		}
		how = slowTBF
		h.network.must("tc qdisc add dev %s root %s", h.port, how)
	}
	h.network.must("tc -n %s qdisc add dev eth0 root %s", h.name, how)
	return how
}

// heal undoes cutTo and lose on the hosts.
func heal(hosts ...*host) {
	for _, h := range hosts {
		h.network.t.Helper()
		h.network.must("tc filter del dev %s ingress", h.port)
		h.network.must("tc filter del dev %s egress", h.port)
	}
}

// unslow undoes slow.
func (h *host) unslow() {
	h.network.t.Helper()
	h.network.must("tc qdisc del dev %s root", h.port)
	h.network.must("tc -n %s qdisc del dev eth0 root", h.name)
}
