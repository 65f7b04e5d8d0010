package node

import (
	"context"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/registry"
)

// status is the node as the HTTP side sees it.
type status struct{ n *Node }

var _ api.Node = status{}

// Readiness implements api.Node. A stopping node is no longer ready. What it serves
// does not change: it may have been suspended, or may not have synced yet.
func (s status) Readiness() api.Readiness {
	out := s.serving()
	select {
	case <-s.n.ending:
		out.State, out.Ready = "stopping", false
	default:
	}
	return out
}

// serving is Readiness, ignoring shutdown.
func (s status) serving() api.Readiness {
	is := s.n.cluster.Status()
	return api.Readiness{State: is.Text, Ready: is.Ready, Reads: is.Reads, Empty: is.Empty, Stale: !is.Writes}
}

// Name implements api.Node.
func (s status) Name() string { return s.n.opts.Name }

// Overview implements api.Node.
func (s status) Overview() api.Overview { return s.n.Overview() }

// Apply implements api.Node.
func (s status) Apply(_ context.Context, from string, list eureka.ReplicationList) eureka.ReplicationListResponse {
	return s.n.consumer.Apply(from, list)
}

// Repair implements api.Node.
func (s status) Repair() { s.n.cluster.Repair() }

// MaxTask implements api.Node.
func (s status) MaxTask() int { return s.n.cluster.MaxTask() }

var _ page.Node = status{}

// Look implements page.Node.
func (s status) Look(ctx context.Context, key registry.Key) []page.Held {
	var out []page.Held
	for _, h := range s.n.cluster.Look(ctx, key) {
		held := page.Held{Node: h.Peer, Known: h.Known, Entry: h.Entry, Evicted: h.Entry.Evicted}
		if h.Err != nil {
			held.Trouble = h.Err.Error()
		}
		out = append(out, held)
	}
	return out
}

// Differences implements page.Node.
func (s status) Differences() []page.Difference {
	var out []page.Difference
	for peer, differ := range s.n.cluster.Differences() {
		for _, d := range differ {
			out = append(out, page.Difference{Peer: peer, Key: d.Key, Ours: d.Ours, Theirs: d.Theirs})
		}
	}
	return out
}

// Drain implements page.Node.
func (s status) Drain(key registry.Key, by registry.Origin) registry.Outcome {
	handler := s.n.handler.Load()
	if handler == nil {
		return registry.NotFound // it does not serve yet
	}
	return handler.Drain(key, by)
}

// DrainState implements page.Node.
func (s status) DrainState(ctx context.Context, key registry.Key) api.Drain {
	handler := s.n.handler.Load()
	if handler == nil {
		return api.Drain{} // it does not serve yet
	}
	return handler.DrainState(ctx, key)
}
