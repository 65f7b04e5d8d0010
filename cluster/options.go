package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// Transport carries the cluster's messages. Its methods may be called from any
// goroutine.
type Transport interface {
	repair.Transport
	// Request sends a batch to a peer and returns its reply, whole.
	Request(ctx context.Context, to, batch string, body []byte) ([]byte, error)
	// Announce publishes this node's presence. Every node receives it, this one too.
	Announce(p membership.Presence) error
	// Ask asks all nodes to announce themselves.
	Ask() error
	// Link returns the state of the connection to the broker. It does not wait.
	Link() membership.Link
}

// Clock is a node's time. Wall is the time of day; Elapsed is monotonic, from any
// moment on, and may stop while the machine is suspended. Both may be called from
// any goroutine.
type Clock struct {
	Wall    func() time.Time
	Elapsed func() time.Duration
}

// machineClock is the clock of this machine.
func machineClock() Clock {
	begun := time.Now()
	return Clock{Wall: time.Now, Elapsed: func() time.Duration { return time.Since(begun) }}
}

// Options of a [Cluster]. Node is required. The zero value of any other field
// means its default.
type Options struct {
	Node    string // this node's name
	URL     string // where its clients reach it, announced to the peers
	Version string // of the program, announced to the peers

	// Members are the options of the membership. Node, URL, Version and Incarnation
	// are filled in.
	Members membership.Options

	// Foreign are peers that are no nodes of this cluster, by name.
	Foreign []Foreign

	BatchDelay time.Duration // default acceptor.DefaultDelay, 500 ms
	BatchSize  int           // default batcher.DefaultSize, 250
	BatchMode  acceptor.Mode // default acceptor.Fixed
	// QueueLen is the length of each peer's acceptorQueue, in actions; default
	// acceptor.DefaultQueueLen. Beyond it actions are merged by instance.
	QueueLen int
	// MaxPending bounds each peer's processingOrder, in slots. Default
	// acceptor.DefaultLimit or the registry's size, whichever is greater: then
	// only slots of instances that were forgotten since can overflow it.
	MaxPending int
	// Classify sorts the transport's errors into the batcher's classes. Default:
	// batcher.ClassOf.
	Classify func(error) batcher.Class
	// Rand returns numbers in [0, 1), for the jitter of waits and the choice of
	// the peer to sync from. Any goroutine may call it. Default math/rand/v2.Float64.
	Rand  func() float64
	Clock Clock // default: the machine's

	// Recorder takes what the peers answered to changes of state. nil: nobody does.
	Recorder registry.Recorder

	Logger  *slog.Logger          // must not block: the node would count as suspended. Default: none
	Metrics prometheus.Registerer // nil: nowhere
}

func (o Options) withDefaults() (Options, error) {
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Clock.Wall == nil || o.Clock.Elapsed == nil {
		o.Clock = machineClock()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Node == "" {
		errs = append(errs, errors.New("node: missing"))
	}
	if o.QueueLen < 0 {
		errs = append(errs, fmt.Errorf("queue length %d: negative", o.QueueLen))
	}
	if o.MaxPending < 0 {
		errs = append(errs, fmt.Errorf("max pending %d: negative", o.MaxPending))
	}
	incarnation, err := uuid.NewV7()
	if err != nil {
		errs = append(errs, fmt.Errorf("incarnation: %w", err))
	}
	o.Members.Outside = len(o.Foreign) > 0
	o.Members.Node, o.Members.URL, o.Members.Version, o.Members.Incarnation = o.Node, o.URL, o.Version, incarnation
	return o, errors.Join(errs...)
}
