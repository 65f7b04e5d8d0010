package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// Bounds of a [Handler], where Options leave them out.
const (
	// DefaultMaxBody bounds the body of a registration, in bytes after
	// decompression, and an instance's metadata.
	DefaultMaxBody = 256 << 10
	// DefaultMaxBatchBody bounds the body of a ReplicationList, in bytes after
	// decompression.
	DefaultMaxBatchBody = 4 << 20
	// DefaultMaxBatches is how many ReplicationLists are held at a time. A Java
	// peer has 20 workers.
	DefaultMaxBatches = 64
	// DefaultMaxListBytes bounds the lists that are being sent at a time, in
	// bytes. Readers of one state of the list share its bytes.
	DefaultMaxListBytes = 256 << 20
	// DefaultMaxAge is how old an answer with all instances may be while nothing
	// but renewals happens.
	DefaultMaxAge = time.Second
)

// Replicator applies a ReplicationList that a Java peer sent over HTTP, by
// Eureka's rules with isReplication, in order, and returns a result for each
// item. It is called from many goroutines.
type Replicator func(ctx context.Context, list eureka.ReplicationList) eureka.ReplicationListResponse

// Readiness says what a node can be asked for.
type Readiness struct {
	// State is one word, or a few: ready, syncing, degraded, … It is the body
	// of /readyz.
	State string
	// Ready makes /readyz answer 200, else 503.
	Ready bool
	// Reads says that this node knows what its peers know. Until then lists
	// are refused with 403, and what is asked of an unknown instance with 503:
	// a 404 would make its client register again.
	Reads bool
	// Stale says that this process has stood still, and that what comes now may
	// have waited in its sockets: its client has gone on elsewhere, and an old
	// cancel or an old status would undo what is newer. Every write of a client
	// is refused with 503 and no body, which sends it to the next server.
	Stale bool
}

// Node describes a node for the page and for Eureka's status resource.
type Node struct {
	Name    string
	Cluster string
	Version string
	URL     string // where clients reach it
	Started time.Time
	Peers   []Peer
}

// Peer describes one peer of a node.
type Peer struct {
	Name  string
	URL   string
	State string // one word
	// Available says that replication reaches it.
	Available bool
	Version   string
	Pending   int           // actions waiting for a batch
	InFlight  int           // actions sent and not yet answered
	Lag       time.Duration // age of the oldest action that waits
	Seen      time.Duration // since it was last heard of
}

// Status tells how the node is. Its methods are called from many goroutines.
type Status interface {
	// Readiness is asked with nearly every request: it must not block.
	Readiness() Readiness
	// Node is asked for the page.
	Node() Node
}

// Options of a [Handler]. A zero field means its default.
type Options struct {
	// Replicate applies what Java peers send to peerreplication/batch. nil:
	// that path is not served.
	Replicate Replicator
	// Repair has the node compare itself with all peers at once. nil: POST
	// /repair is not served.
	Repair func()
	// Status tells how the node is. nil: it is always ready and has no name.
	Status Status

	// Hosts are the names, beside addresses, localhost and names without a dot,
	// under which browsers may ask: the advertised host, and those of load
	// balancers. * allows all. Other clients may ask under any name.
	Hosts []string

	MaxBody int // bytes, see DefaultMaxBody
	// MaxInstance tells how many bytes an instance may take at present as one
	// task of a batch to a peer: a larger one would never leave this node. It
	// is called from many goroutines. nil: as many as MaxBody lets in.
	MaxInstance func() int

	MaxBatchBody int           // bytes, see DefaultMaxBatchBody
	MaxBatches   int           // see DefaultMaxBatches
	MaxListBytes int           // see DefaultMaxListBytes; beyond it lists get 503
	MaxAge       time.Duration // see DefaultMaxAge

	Logger   *slog.Logger
	Metrics  prometheus.Registerer // where the handler's own metrics go; nil: nowhere
	Gatherer prometheus.Gatherer   // what /metrics shows; nil: that path is not served
}

func (o *Options) setDefaults() error {
	if o.Status == nil {
		o.Status = alwaysReady{}
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.MaxBatchBody == 0 {
		o.MaxBatchBody = DefaultMaxBatchBody
	}
	if o.MaxBatches == 0 {
		o.MaxBatches = DefaultMaxBatches
	}
	if o.MaxListBytes == 0 {
		o.MaxListBytes = DefaultMaxListBytes
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	for _, bound := range []struct {
		name string
		n    int
	}{{"max body", o.MaxBody}, {"max batch body", o.MaxBatchBody}, {"max batches", o.MaxBatches}, {"max list bytes", o.MaxListBytes}} {
		if bound.n < 1 {
			errs = append(errs, fmt.Errorf("%s %d: less than 1", bound.name, bound.n))
		}
	}
	if o.MaxAge < 0 {
		errs = append(errs, fmt.Errorf("max age %v: less than 0", o.MaxAge))
	}
	return errors.Join(errs...)
}

// alwaysReady is the Status of a handler that stands alone.
type alwaysReady struct{}

func (alwaysReady) Readiness() Readiness {
	return Readiness{State: "ready", Ready: true, Reads: true}
}
func (alwaysReady) Node() Node { return Node{} }
