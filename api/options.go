package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
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
	// DefaultMaxAge is how old lists may be in what they say of renewals
	// (lastRenewalTimestamp): less than the 30 s of Eureka's response cache. Lists of more
	// than 200,000 instances may be older in proportion, see [registry.Registry.List].
	DefaultMaxAge = 20 * time.Second
)

// Node is what a [Handler] asks of its node, apart from the registry. Its methods are
// called from many goroutines.
type Node interface {
	// Readiness is called with nearly every request. It must not block.
	Readiness() Readiness
	// Name is the name of the node.
	Name() string
	// Overview describes the node for people and tools. The handler sets Overdue.
	Overview() Overview
	// Apply applies a ReplicationList that a Java peer sent, by Eureka's rules
	// with isReplication, in order, and returns a result for each item.
	Apply(ctx context.Context, from string, list eureka.ReplicationList) eureka.ReplicationListResponse
	// DrainPeers asks all peers how far a drain is. It returns within a few seconds.
	DrainPeers(ctx context.Context, key registry.Key) []DrainNode
	// Repair has the node compare itself with all peers at once.
	Repair()
	// MaxTask returns the bytes that an instance may have at present as one task of
	// a batch to a peer. A larger one would never leave this node.
	MaxTask() int
}

// Readiness is what a node may be asked for.
type Readiness struct {
	// State is a word or a few: ready, syncing, degraded, … It is the body of
	// /readyz.
	State string
	// Ready makes /readyz answer 200, else 503.
	Ready bool
	// Reads reports that this node knows what its peers know. Until then lists are
	// answered with 403, and requests for an unknown instance with 503: a 404 would
	// make its client register again.
	Reads bool
	// Empty makes lists answer 403 all the same: this node started without
	// anything to serve, and waits for clients to register. All else is answered
	// as usual. This rule is Eureka's (waitTimeInMsWhenSyncEmpty).
	Empty bool
	// Stale reports that this process was suspended. Requests may have waited in its
	// sockets since, while their clients went to other nodes: an old cancel or an
	// old status would undo a newer one. All writes of clients are answered with 503
	// and no body, which sends the client to the next server.
	Stale bool
}

// Options of a [Handler]. A zero field means its default.
type Options struct {
	// Node is the node that is served. It is required.
	Node Node

	// Hosts are the host names under which browsers may ask: the advertised one, and
	// those of load balancers. Addresses, localhost and names without a dot are
	// always allowed, and * allows all. Other clients may use any name.
	Hosts []string

	// Cluster is the name of this node's cluster, which answers to batches show
	// (eureka.ClusterHeader); "": they do not.
	Cluster string

	MaxBody      int           // bytes, see DefaultMaxBody
	MaxBatchBody int           // bytes, see DefaultMaxBatchBody
	MaxBatches   int           // see DefaultMaxBatches
	MaxBodyBytes int           // see DefaultMaxBodyBytes; beyond it bodies get 503
	MaxWaiting   int           // see DefaultMaxWaitingRegisters; beyond it registrations get 503
	MaxListBytes int           // see DefaultMaxListBytes; beyond it lists get 503
	MaxAge       time.Duration // see DefaultMaxAge

	// History is what happened to the instances of the registry, whose recorder it is; nil:
	// it is not kept, and what is made of it is not served.
	History *history.History

	// MaxWatchers bounds the requests that wait for changes, see DefaultMaxWatchers.
	MaxWatchers int

	// Regions are the instances of other regions, shown beside the local ones; nil: there
	// are none.
	Regions *regions.Set

	// Page answers at / and below /page/; nil: nothing is there. It is called when the
	// checks for browsers have passed.
	Page http.Handler

	RateLimit RateLimit // of lists; the zero value counts, and refuses nothing

	// Access knows the logins; nil: anybody may do anything. Its owner runs it.
	Access *access.Guard
	// OpenMetrics shows /metrics to who has no login.
	OpenMetrics bool
	// Debug serves /debug/… also without logins. With them it is for admins.
	Debug bool
	// LogLevel is what /debug/log-level shows and sets; nil: that path is not served.
	LogLevel *slog.LevelVar

	Logger   *slog.Logger
	Metrics  prometheus.Registerer // where the handler's own metrics go; nil: nowhere
	Gatherer prometheus.Gatherer   // what /metrics shows; nil: that path is not served
}

// withDefaults returns the options in full, or all that is wrong with them.
func (o Options) withDefaults() (Options, error) {
	o.MaxBody = cmp.Or(o.MaxBody, DefaultMaxBody)
	o.MaxBatchBody = cmp.Or(o.MaxBatchBody, DefaultMaxBatchBody)
	o.MaxBatches = cmp.Or(o.MaxBatches, DefaultMaxBatches)
	o.MaxBodyBytes = cmp.Or(o.MaxBodyBytes, DefaultMaxBodyBytes)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, DefaultMaxWaitingRegisters)
	o.MaxListBytes = cmp.Or(o.MaxListBytes, DefaultMaxListBytes)
	o.MaxWatchers = cmp.Or(o.MaxWatchers, DefaultMaxWatchers)
	o.MaxAge = cmp.Or(o.MaxAge, DefaultMaxAge)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var missing error
	if o.Node == nil {
		missing = errors.New("node is missing")
	}
	return o, errors.Join(
		missing,
		atLeastOne("max body", o.MaxBody), atLeastOne("max batch body", o.MaxBatchBody),
		atLeastOne("max batches", o.MaxBatches), atLeastOne("max watchers", o.MaxWatchers),
		atLeastOne("max body bytes", o.MaxBodyBytes), atLeastOne("max waiting registrations", o.MaxWaiting),
		atLeastOne("max list bytes", o.MaxListBytes), notNegative("max age", o.MaxAge),
	)
}

func atLeastOne(name string, n int) error {
	if n < 1 {
		return fmt.Errorf("%s %d: less than 1", name, n)
	}
	return nil
}

func notNegative(name string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s %v: less than 0", name, d)
	}
	return nil
}
