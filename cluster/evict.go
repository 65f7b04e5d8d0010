package cluster

import (
	"context"

	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

var _ registry.Asker = (*Cluster)(nil)

// EvictOutlived implements registry.Asker. It returns within a second.
func (c *Cluster) EvictOutlived(ctx context.Context) { c.repair.EvictOutlived(ctx, c.complete()) }

// AskAges implements registry.Asker: it asks all peers that have not left. It
// returns within a second.
func (c *Cluster) AskAges(ctx context.Context, keys []registry.Key) {
	c.repair.AskAges(ctx, c.there(), keys)
}

// there returns the peers that have not left. A silent one may come back.
func (c *Cluster) there() []string {
	return c.named(func(p *membership.Peer) bool { return p.Status != membership.Left })
}

// complete returns the peers that know everything.
func (c *Cluster) complete() []string {
	return c.named(func(p *membership.Peer) bool {
		return p.Status == membership.Reachable && p.Presence.State == membership.Ready && p.Presence.Synced
	})
}

func (c *Cluster) named(match func(*membership.Peer) bool) []string {
	var out []string
	all := c.view.Load().peers
	for i := range all {
		if p := &all[i]; match(p) {
			out = append(out, p.Presence.Node)
		}
	}
	return out
}
