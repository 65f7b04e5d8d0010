package page

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// DefaultMaxLive is how many pages are kept up to date at a time. Others can be read,
// and say that they are not live.
const DefaultMaxLive = 64

// Node is what a page shows beside the registry. Its methods are called from many
// goroutines.
type Node interface {
	Overview() api.Overview
	Readiness() api.Readiness
	// Look asks the other nodes what they hold of an instance. It returns when ctx ends, or
	// before.
	Look(ctx context.Context, key registry.Key) []Held
	// Drain takes an instance out of service, and begins to note which clients know it.
	Drain(key registry.Key, by registry.Origin) registry.Outcome
	// DrainState returns how far it is known that an instance is out of service: this node's
	// clients first, then those of the others. It returns when ctx ends, or before.
	DrainState(ctx context.Context, key registry.Key) api.Drain
	// Differences returns the instances that stay different on a peer.
	Differences() []Difference
	// Repair has the node compare itself with all peers at once.
	Repair()
}

// Options of a [Page]. A zero field means its default.
type Options struct {
	// Node is the node that is shown. It is required.
	Node Node
	// MaxLive bounds the pages that are live at a time; the others are answered 503 at
	// /page/live. Default DefaultMaxLive.
	MaxLive int
	// History is what happened to instances; nil: nothing is shown of it.
	History *history.History
	// Actions lets the page change something: statuses, cancels, comparisons. Where the node
	// has logins, those of role admin may then do so, else anybody who can open it.
	Actions bool
	// Settings are the options of the node as they are in force, without secrets.
	Settings []Setting

	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // nil: nowhere
}

func (o Options) withDefaults() (Options, error) {
	o.MaxLive = cmp.Or(o.MaxLive, DefaultMaxLive)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Node == nil {
		errs = append(errs, errors.New("node is missing"))
	}
	if o.MaxLive < 0 {
		errs = append(errs, fmt.Errorf("max live %d: less than 1", o.MaxLive))
	}
	return o, errors.Join(errs...)
}
