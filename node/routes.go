package node

import (
	"context"
	"time"
)

const (
	// routesWait is how long a node waits for the first route to another node's
	// embedded broker: without one, nobody hears whom this node asks.
	routesWait = 3 * time.Second
	// routesCheck is the time between two looks at the routes.
	routesCheck = time.Second
)

// reach waits until other nodes can be heard, or until there is nobody to wait
// for.
func (n *Node) reach(ctx context.Context) {
	server := n.broker.Server()
	if server == nil || len(n.opts.Embedded.Routes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, routesWait)
	defer cancel()
	if up, err := server.WaitRoutes(ctx); !up && err != nil && ctx.Err() != nil {
		n.log.Warn("no route to another broker is up yet, serving what is here", "component", "broker", "elapsed", routesWait)
	}
}

// lookAtRoutes keeps what /readyz says of the routes, and logs when the last one
// is lost and when one is back.
func (n *Node) lookAtRoutes() {
	switch alone := n.broker.Server().Alone(); {
	case alone == n.alone.Swap(alone):
	case alone:
		n.log.Warn("no route to another broker, trying again for ever", "component", "broker")
	default:
		n.log.Info("a route to another broker is up", "component", "broker")
	}
}
