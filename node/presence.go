package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/membership"
)

// The bounds of what is told of senders that are not understood: how many are
// named, and how much of their Registry-Version is shown, in bytes.
const (
	maxToldSenders = membership.DefaultMaxPeers
	maxToldVersion = 64
)

// presences hands the presence of other nodes to the cluster: of those that
// speak this node's protocol. A node of another one is no peer, as its requests
// are not taken either; what it says could mean something else there.
type presences struct {
	node     *Node
	subjects broker.Subjects
	version  string // the one that is taken

	foreign prometheus.Counter // messages without a version
	other   prometheus.Counter // messages of another version

	told map[string]struct{} // senders of another version; owned by the subscription's goroutine
}

func (n *Node) newPresences() (*presences, error) {
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registryd_broker_rejected_presence_total",
		Help: "Presence messages that were not read, by reason: of another Registry-Version, or foreign, without any.",
	}, []string{"reason"})
	if err := n.metrics.Register(rejected); err != nil {
		return nil, err
	}
	return &presences{
		node: n, subjects: n.broker.Subjects(), version: strconv.Itoa(broker.ProtocolVersion),
		foreign: rejected.WithLabelValues("foreign"), other: rejected.WithLabelValues("version"),
		told: make(map[string]struct{}),
	}, nil
}

// handle takes a message on any subject of presence.
func (p *presences) handle(m broker.Message) {
	from, ok := p.subjects.ParsePresence(m.Subject)
	if !ok {
		return // somebody asks who is there
	}
	switch version := m.Get(broker.HeaderVersion); {
	case version == p.version:
		p.node.link.hear(from, m.Body, p.node.cluster)
	case !m.Ours():
		p.foreign.Inc()
	default:
		p.other.Inc()
		p.tell(from, version)
	}
}

// tell logs a sender of another version once: it announces itself every second.
func (p *presences) tell(from, version string) {
	if _, told := p.told[from]; told || len(p.told) >= maxToldSenders {
		return
	}
	p.told[from] = struct{}{}
	p.node.log.Error("a node of another protocol version is no peer: run the same version on all nodes of a cluster, or give it another cluster name",
		"component", "broker", "peer", from, "version", version[:min(len(version), maxToldVersion)], "want", p.version)
}
