package node

import (
	"context"
	"errors"
	"fmt"
)

// Name returns the node's name.
func (n *Node) Name() string { return n.opts.Name }

// URL returns the service URL for clients.
func (n *Node) URL() string { return n.url }

// BrokerAddress returns the host:port where others may join the node's embedded
// broker. It is "" if there is none, or if it doesn't listen.
func (n *Node) BrokerAddress() string {
	if s := n.broker.Server(); s != nil {
		return s.Address()
	}
	return ""
}

// Done is closed when the node can't go on; Close then returns why.
func (n *Node) Done() <-chan struct{} { return n.ending }

// end closes Done. The first cause counts: why the node can't go on, or nil.
func (n *Node) end(cause error) {
	n.endOnce.Do(func() {
		n.cause = cause
		close(n.ending)
	})
}

// Leave turns the node unready: /readyz is 503, with the state "stopping". All else goes
// on until Close, so that load balancers have time to send clients elsewhere. It closes
// Done.
func (n *Node) Leave() { n.end(nil) }

// Close stops the node: it turns unready, takes no more requests, applies what
// peers have sent, says goodbye, drains its pipelines, and ends its broker. All
// of it is bounded by Options.ShutdownTimeout. Changes that could not be sent are
// counted and logged. The error joins the reason why the node could not go on, if
// any, and what failed while it stopped. Later calls return the same.
func (n *Node) Close() error { return n.Shutdown(context.Background()) }

// Shutdown is Close, bounded by ctx as well. When ctx ends, nothing waits any more.
func (n *Node) Shutdown(ctx context.Context) error {
	n.closeOnce.Do(func() {
		n.end(nil)
		ctx, cancel := context.WithTimeout(ctx, n.opts.ShutdownTimeout)
		defer cancel()
		n.closeErr = errors.Join(n.cause, n.unwind(ctx))
	})
	return n.closeErr
}

func (n *Node) onStop(name string, stop func(context.Context) error) {
	n.steps = append(n.steps, step{name, stop})
}

// unwind runs all steps, last first, also after one has failed.
func (n *Node) unwind(ctx context.Context) error {
	var errs []error
	for len(n.steps) > 0 {
		last := n.steps[len(n.steps)-1]
		n.steps = n.steps[:len(n.steps)-1]
		if err := last.stop(ctx); err != nil && (n.cause == nil || !errors.Is(n.cause, err)) {
			errs = append(errs, fmt.Errorf("stop %s: %w", last.name, err))
		}
	}
	return errors.Join(errs...)
}
