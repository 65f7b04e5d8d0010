package node

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Times of a start with routes to other nodes' embedded brokers.
const (
	// routesWait is how long a node waits for the first route to be up.
	routesWait = 3 * time.Second
	routesPoll = 20 * time.Millisecond
)

// reach waits until the embedded broker has a route to another node's: without
// one, nobody hears whom this node asks. When every other broker refuses the
// connection there is nobody to wait for.
func (n *Node) reach(ctx context.Context) {
	server := n.broker.Server()
	if server == nil {
		return
	}
	var others []string // the same list may be given to all nodes
	for _, route := range n.opts.Embedded.Routes {
		if address := hostPort(route); address != n.opts.Embedded.RouteListen && address != server.RouteAddress() {
			others = append(others, address)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, routesWait)
	defer cancel()
	if allRefused(ctx, others) {
		return
	}
	poll := time.NewTicker(routesPoll)
	defer poll.Stop()
	for server.Routes() == 0 {
		select {
		case <-ctx.Done():
			n.log.Warn("no route to another broker is up yet, serving what is here", "component", "broker", "elapsed", routesWait)
			return
		case <-poll.C:
		}
	}
}

// allRefused says whether nobody listens at any of the addresses.
func allRefused(ctx context.Context, addresses []string) bool {
	refused := make(chan bool, len(addresses))
	for _, address := range addresses {
		go func() { // ends with ctx
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", address)
			if err == nil {
				err = conn.Close()
			}
			refused <- errors.Is(err, syscall.ECONNREFUSED)
		}()
	}
	all := true
	for range addresses {
		all = <-refused && all
	}
	return all
}

// hostPort takes a route's URL down to its address.
func hostPort(route string) string {
	if u, err := url.Parse(route); err == nil && u.Host != "" && strings.Contains(route, "://") {
		return u.Host
	}
	return route
}
