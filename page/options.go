package page

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
)

// DefaultMaxLive is how many pages are kept up to date at a time. Others can be read,
// and say that they are not live.
const DefaultMaxLive = 64

// Node is what a page shows beside the registry. Its methods are called from many
// goroutines.
type Node interface {
	Overview() api.Overview
	Readiness() api.Readiness
}

// Options of a [Page]. A zero field means its default.
type Options struct {
	// Node is the node that is shown. It is required.
	Node Node
	// MaxLive bounds the pages that are live at a time; the others are answered 503 at
	// /page/live. Default DefaultMaxLive.
	MaxLive int
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
