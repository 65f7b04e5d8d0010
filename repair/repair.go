package repair

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/registry"
)

// Transport carries sync requests to peers.
type Transport interface {
	// Sync sends a sync request to a peer and returns its answer. Any goroutine
	// may call it.
	Sync(ctx context.Context, to string, body []byte) ([]byte, error)
	// MaxPayload returns how many bytes a message may have at present. It is
	// cheap, and any goroutine may call it.
	MaxPayload() int
}

// Options of a [Repair]. The zero value of a field means its default.
type Options struct {
	// BatchDelay is how long a change waits for its batch. A difference counts only
	// when it has lasted for twice the time that a change takes to the peer.
	BatchDelay time.Duration
	// Up returns for how long this node has known every change; 0: it may
	// lack some. Any goroutine may call it. Default: always 0.
	Up func() time.Duration
	// Suspended reports whether this process was suspended and has not noticed
	// yet: an answer that waited meanwhile is older than it looks. Any goroutine
	// may call it. Default: never.
	Suspended func() bool

	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: nowhere
}

func (o Options) withDefaults() Options {
	if o.Up == nil {
		o.Up = func() time.Duration { return 0 }
	}
	if o.Suspended == nil {
		o.Suspended = func() bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Repair is one node's end of the sync protocol.
type Repair struct {
	opts      Options
	reg       *registry.Registry
	transport Transport
	log       *slog.Logger
	metrics   *metrics

	requests chan Request
	ended    chan struct{} // closed when Serve answers no more
	omitted  sample.Sample
}

// New returns the sync protocol of a node that holds reg. It starts no goroutine.
// Its error is that of a metric that can't be registered.
func New(reg *registry.Registry, transport Transport, opts Options) (*Repair, error) {
	opts = opts.withDefaults()
	r := &Repair{
		opts: opts, reg: reg, transport: transport, log: opts.Logger.With("component", "repair"),
		requests: make(chan Request, serveQueue), ended: make(chan struct{}),
	}
	var err error
	r.metrics, err = newMetrics(opts.Metrics)
	return r, err
}

// room is the bound of a request or an answer, in bytes: three quarters of a
// message. The rest is for headers and the text around the entries.
func (r *Repair) room() int { return r.transport.MaxPayload() * 3 / 4 }

// sampleEvery is the least time between two log lines about one kind of event.
const sampleEvery = 10 * time.Second
