package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// RegisterHere registers an instance as the HTTP side does, without HTTP.
func (n *Node) RegisterHere(info *eureka.InstanceInfo) { n.registry.Register(info, registry.Origin{}) }

// Listed reports whether readers of the node see an instance.
func (n *Node) Listed(app, id string) bool {
	_, ok := n.registry.Instance(registry.NewKey(app, id))
	return ok
}

// ReadinessOf returns the readiness of a node of these parts. The node is
// stopping once ending is closed.
func ReadinessOf(c *cluster.Cluster, ending chan struct{}) api.Readiness {
	return status{&Node{cluster: c, ending: ending}}.Readiness()
}

// MetricsHere returns what /metrics shows.
func (n *Node) MetricsHere() *prometheus.Registry { return n.metrics }
