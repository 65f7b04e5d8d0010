package cluster

import (
	"context"
	"sync"

	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// Held is what a node of the cluster holds of an instance.
type Held struct {
	Peer  string
	Known bool
	Entry registry.Entry // if Known; its Age counts from the answer
	Err   error          // why there is no answer
}

// Look asks all nodes that have not left what they hold of an instance, at the same time,
// and joins nothing of it. It returns within two seconds, by name.
func (c *Cluster) Look(ctx context.Context, key registry.Key) []Held {
	peers := c.there()
	out := make([]Held, len(peers))
	var asking sync.WaitGroup
	for n, name := range peers {
		asking.Go(func() {
			out[n].Peer = name
			out[n].Entry, out[n].Known, out[n].Err = c.repair.Look(ctx, name, key)
		})
	}
	asking.Wait()
	return out
}

// Differences returns the instances that stay different on a node of the cluster, at most
// 100 each, by peer. Any goroutine may call it; nobody may change them.
func (c *Cluster) Differences() map[string][]repair.Difference {
	out := make(map[string][]repair.Difference)
	for _, p := range *c.fanOut.Load() {
		if differ := p.repair.Differences(); len(differ) > 0 {
			out[p.name] = differ
		}
	}
	return out
}
