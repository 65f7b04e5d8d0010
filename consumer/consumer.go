package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// The bounds, where Options leave them out.
const (
	// DefaultQueue is how many batches of one sender may wait.
	DefaultQueue = 16
	// DefaultLanes is how many senders may have a lane at a time.
	DefaultLanes = 1024
	// DefaultMaxReply is how many bytes a reply may have: NATS's default.
	DefaultMaxReply = 1 << 20
	// laneIdle is how long a lane without work is kept.
	laneIdle = 5 * time.Minute
)

// Codes with which a whole batch is refused, as in the micro protocol.
const (
	CodeMalformed = 400
	CodeBusy      = 503
)

// Request is one batch from a NATS peer. Exactly one of Respond and Fail is
// called, once: Fail also by Deliver itself, when there is no room.
type Request struct {
	From    string // the sender's node name
	Batch   string // its id, for the log
	Body    []byte // a ReplicationList; not changed by anybody afterwards
	Respond func(body []byte) error
	Fail    func(code int, text string) error
}

// Options of a [Consumer]. A zero field means its default.
type Options struct {
	Queue int // batches of one sender that may wait; default DefaultQueue
	Lanes int // senders served at a time; default DefaultLanes
	// MaxReply tells how many bytes a reply may have at present; default
	// DefaultMaxReply. Beyond three quarters of it conflicts are answered
	// without the copy.
	MaxReply func() int
	// Stale says that what has queued up may be old, because the process has
	// stood still: batches are then refused as busy. nil: never.
	Stale   func() bool
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: nowhere
}

func (o *Options) setDefaults() error {
	if o.Queue == 0 {
		o.Queue = DefaultQueue
	}
	if o.Lanes == 0 {
		o.Lanes = DefaultLanes
	}
	if o.MaxReply == nil {
		o.MaxReply = func() int { return DefaultMaxReply }
	}
	if o.Stale == nil {
		o.Stale = func() bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Queue < 0 {
		errs = append(errs, fmt.Errorf("queue %d: less than 1", o.Queue))
	}
	if o.Lanes < 0 {
		errs = append(errs, fmt.Errorf("lanes %d: less than 1", o.Lanes))
	}
	return errors.Join(errs...)
}

// Consumer applies batches, those of one sender one after the other.
type Consumer struct {
	reg     *registry.Registry
	opts    Options
	log     *slog.Logger
	metrics *metrics

	mu      sync.Mutex
	lanes   map[string]chan Request // guarded by mu, sends too: a lane in it is being read
	closed  bool                    // guarded by mu
	running sync.WaitGroup
}

// New returns a consumer that applies to reg. It starts no goroutine; Deliver
// starts one per sender, Close ends them.
func New(reg *registry.Registry, opts Options) (*Consumer, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	c := &Consumer{
		reg: reg, opts: opts, log: opts.Logger.With("component", "consumer"),
		metrics: newMetrics(), lanes: make(map[string]chan Request),
	}
	if opts.Metrics != nil {
		if err := c.metrics.register(opts.Metrics, c.queued); err != nil {
			return nil, fmt.Errorf("consumer: %w", err)
		}
	}
	return c, nil
}

// Deliver takes a batch. It never blocks: a sender whose lane is full is told to
// wait. NATS's goroutine calls it.
func (c *Consumer) Deliver(req Request) {
	c.mu.Lock()
	taken := c.enqueue(req)
	c.mu.Unlock()
	if !taken {
		c.metrics.batches.WithLabelValues(batchBusy).Inc()
		c.fail(req, CodeBusy, "busy")
	}
}

// enqueue puts req into its sender's lane. mu is held.
func (c *Consumer) enqueue(req Request) bool {
	if c.closed {
		return false
	}
	lane := c.lanes[req.From]
	if lane == nil {
		if len(c.lanes) >= c.opts.Lanes {
			return false
		}
		lane = make(chan Request, c.opts.Queue)
		c.lanes[req.From] = lane
		c.running.Go(func() { c.runLane(req.From, lane) })
	}
	select {
	case lane <- req:
		return true
	default:
		return false
	}
}

// runLane applies the batches of one sender until Close, or until there has been
// none for a while.
func (c *Consumer) runLane(from string, lane chan Request) {
	idle := time.NewTimer(laneIdle)
	defer idle.Stop()
	for {
		select {
		case req, open := <-lane:
			if !open {
				return
			}
			c.apply(req)
			idle.Reset(laneIdle)
		case <-idle.C:
			if c.retire(from, lane) {
				return
			}
			idle.Reset(laneIdle)
		}
	}
}

// retire takes an empty lane out of the map.
func (c *Consumer) retire(from string, lane chan Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(lane) > 0 {
		return false // closed: the channel tells
	}
	delete(c.lanes, from)
	return true
}

// Close applies what waits, refuses what comes, and returns when every lane has
// ended.
func (c *Consumer) Close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		for _, lane := range c.lanes {
			close(lane)
		}
	}
	c.mu.Unlock()
	c.running.Wait()
}

// queued returns how many batches wait in all lanes.
func (c *Consumer) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, lane := range c.lanes {
		n += len(lane)
	}
	return n
}

// apply applies one batch and answers it.
func (c *Consumer) apply(req Request) {
	if c.opts.Stale() {
		c.metrics.batches.WithLabelValues(batchStale).Inc()
		c.fail(req, CodeBusy, "stood still, syncing")
		return
	}
	list, err := eureka.DecodeReplicationList(req.Body, eureka.ListOptions{NATS: true})
	if err != nil {
		c.metrics.batches.WithLabelValues(batchMalformed).Inc()
		c.log.Warn("malformed batch refused", "peer", req.From, "batch", req.Batch, "err", err)
		c.fail(req, CodeMalformed, err.Error())
		return
	}
	body, counts := c.joinAll(list)
	if counts.malformed > 0 {
		c.log.Warn("malformed tasks refused", "peer", req.From, "batch", req.Batch,
			"tasks", counts.malformed, "err", counts.sample)
	}
	c.metrics.batches.WithLabelValues(batchApplied).Inc()
	if err := req.Respond(body); err != nil {
		// The sender resends; applying again is a join and changes nothing.
		c.metrics.unanswered.Inc()
		c.log.Debug("answer not sent", "peer", req.From, "batch", req.Batch, "err", err)
	}
}

func (c *Consumer) fail(req Request, code int, text string) {
	if err := req.Fail(code, text); err != nil {
		c.metrics.unanswered.Inc()
		c.log.Debug("refusal not sent", "peer", req.From, "batch", req.Batch, "err", err)
	}
}
