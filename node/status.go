package node

import (
	"context"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
)

// status is the node as the HTTP side sees it.
type status struct{ n *Node }

var _ api.Node = status{}

// Readiness implements api.Node. A node that is stopping isn't ready any more;
// what it may be asked for is as before: it may have stood still, or not have
// synced yet.
func (s status) Readiness() api.Readiness {
	out := s.serving()
	if out.Reads && s.n.empty.waits(s.n.opts.WaitWhenEmpty) {
		// It stays ready: a load balancer must not keep away the clients that are to register.
		out.Empty = true
		if out.State == string(cluster.Ready) {
			out.State = "waiting: nothing to serve, lists are refused"
		}
	}
	select {
	case <-s.n.ending:
		out.State, out.Ready = "stopping", false
	default:
	}
	return out
}

// serving is Readiness but for stopping. A node without its broker, or whose
// broker has no route to the others', replicates nothing but serves its clients:
// it is ready, and says that it is degraded.
func (s status) serving() api.Readiness {
	select {
	case <-s.n.cluster.Ready():
	default:
		return api.Readiness{State: string(cluster.Syncing)}
	}
	select {
	case <-s.n.cluster.Started():
	default:
		return api.Readiness{State: "starting", Reads: true}
	}
	if s.n.cluster.Stalled() {
		return api.Readiness{State: "syncing: stood still", Stale: true}
	}
	if s.n.cluster.Superseded() {
		return api.Readiness{State: "superseded: another node has this node's name", Reads: true}
	}
	if !s.n.broker.Connected() {
		return api.Readiness{State: "degraded: not connected to a broker", Ready: true, Reads: true}
	}
	if denied := s.n.broker.Denied(); len(denied) > 0 {
		// It may hear or be heard by nobody.
		state := "degraded: broker refuses " + denied[0].Op + " on " + denied[0].Subject
		return api.Readiness{State: state, Ready: true, Reads: true}
	}
	if s.n.alone.Load() {
		return api.Readiness{State: "degraded: no route to another broker", Ready: true, Reads: true}
	}
	return api.Readiness{State: string(cluster.Ready), Ready: true, Reads: true}
}

// Overview implements api.Node.
func (s status) Overview() api.Overview { return s.n.Overview() }

// Apply implements api.Node.
func (s status) Apply(_ context.Context, list eureka.ReplicationList) eureka.ReplicationListResponse {
	return s.n.consumer.Apply(list)
}

// Repair implements api.Node.
func (s status) Repair() { s.n.cluster.Repair() }

// MaxTask implements api.Node.
func (s status) MaxTask() int { return s.n.cluster.MaxTask() }
