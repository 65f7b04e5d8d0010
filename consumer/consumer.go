package consumer

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/registry"
)

// The bounds of a consumer. A batch beyond them is refused as busy (503), and its
// sender sends it again.
const (
	// maxQueue is how many batches of one sender may wait.
	maxQueue = 16
	// maxLanes is how many senders may have a lane at a time.
	maxLanes = 1024
	// maxBytes is how many bytes of batches may wait or be applied, of all senders
	// together. A larger batch is taken when it is alone.
	maxBytes = 64 << 20
	// defaultMaxReply is how many bytes a reply may have: NATS's default.
	defaultMaxReply = 1 << 20
	// laneIdle is how long a lane without work is kept.
	laneIdle = 5 * time.Minute
)

// Request is one batch from a NATS peer. Exactly one of Respond and Fail is
// called, once. Deliver itself calls Fail when there is no room. The codes of
// Fail are those of HTTP, as in NATS's micro protocol: 400 for a batch that can't
// be read, 503 for one that can't be taken now.
type Request struct {
	From    string // the sender's node name
	Batch   string // its id, for the log
	Body    []byte // a ReplicationList; not changed by anybody afterwards
	Respond func(body []byte) error
	Fail    func(code int, text string) error
}

// Options of a [Consumer]. A zero field means its default.
type Options struct {
	// MaxReply returns how many bytes a reply may have at present; default 1 MiB.
	// Beyond three quarters of it conflicts are answered without the copy.
	MaxReply func() int
	// Stale reports whether what has queued up may be old, because the process
	// was suspended: batches are then refused as busy. nil: never.
	Stale   func() bool
	Logger  *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: nowhere

	queue, lanes, bytes int // tests have smaller bounds
}

func (o Options) withDefaults() Options {
	o.queue = cmp.Or(o.queue, maxQueue)
	o.lanes = cmp.Or(o.lanes, maxLanes)
	o.bytes = cmp.Or(o.bytes, maxBytes)
	if o.MaxReply == nil {
		o.MaxReply = func() int { return defaultMaxReply }
	}
	if o.Stale == nil {
		o.Stale = func() bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Consumer applies batches, those of one sender one after the other.
type Consumer struct {
	reg     *registry.Registry
	opts    Options
	log     *slog.Logger
	metrics *metrics

	malformedBatches, malformedTasks sampler

	mu      sync.Mutex
	lanes   map[string]chan Request // guarded by mu, sends too: a lane in it is being read
	bytes   int                     // guarded by mu; of batches that wait or are being applied
	closed  bool                    // guarded by mu
	running sync.WaitGroup
}

// New returns a consumer that applies to reg. It starts no goroutine; Deliver
// starts one per sender, Close ends them. Its error is that of a metric that
// can't be registered.
func New(reg *registry.Registry, opts Options) (*Consumer, error) {
	opts = opts.withDefaults()
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

// Deliver takes a batch. It never blocks: a batch beyond the bounds is refused as
// busy. Any goroutine may call it.
func (c *Consumer) Deliver(req Request) {
	c.mu.Lock()
	taken := c.enqueue(req)
	c.mu.Unlock()
	if !taken {
		c.metrics.batches.WithLabelValues(batchBusy).Inc()
		c.fail(req, http.StatusServiceUnavailable, "busy")
	}
}

// enqueue puts req into its sender's lane, and reports whether there was room.
// mu is held.
func (c *Consumer) enqueue(req Request) bool {
	if c.closed || c.bytes > 0 && c.bytes+len(req.Body) > c.opts.bytes {
		return false
	}
	lane := c.lanes[req.From]
	if lane == nil {
		if len(c.lanes) >= c.opts.lanes {
			return false
		}
		lane = make(chan Request, c.opts.queue)
		c.lanes[req.From] = lane
		c.running.Go(func() { c.runLane(req.From, lane) })
	}
	select {
	case lane <- req:
		c.bytes += len(req.Body)
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
			c.mu.Lock()
			c.bytes -= len(req.Body)
			c.mu.Unlock()
			idle.Reset(laneIdle)
		case <-idle.C:
			if c.retire(from, lane) {
				return
			}
			idle.Reset(laneIdle)
		}
	}
}

// retire takes an empty lane out of the map, and reports whether it did.
func (c *Consumer) retire(from string, lane chan Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(lane) > 0 {
		return false // closed: runLane sees it in the channel
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

// queued returns how many batches wait in all lanes, and the bytes of those and
// of the batches that are being applied.
func (c *Consumer) queued() (batches, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, lane := range c.lanes {
		batches += len(lane)
	}
	return batches, c.bytes
}

// apply applies one batch and answers it.
func (c *Consumer) apply(req Request) {
	if c.opts.Stale() {
		c.metrics.batches.WithLabelValues(batchStale).Inc()
		c.fail(req, http.StatusServiceUnavailable, "process was suspended, syncing")
		return
	}
	list, err := eureka.DecodeReplicationList(req.Body, eureka.ListOptions{NATS: true})
	if err != nil {
		c.metrics.batches.WithLabelValues(batchMalformed).Inc()
		if n := c.malformedBatches.add(1); n > 0 {
			c.log.Warn("malformed batch refused", "peer", req.From, "batch", req.Batch, "batches", n, "err", err)
		}
		c.fail(req, http.StatusBadRequest, err.Error())
		return
	}
	body, counts := c.joinAll(req.From, list)
	if n := c.malformedTasks.add(counts.malformed); n > 0 {
		c.log.Warn("malformed tasks refused", "peer", req.From, "batch", req.Batch, "tasks", n, "err", counts.sample)
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

// sampleInterval is the least time between two log lines about one kind of fault.
const sampleInterval = 10 * time.Second

// sampler bounds the log lines that a faulty peer can cause.
type sampler struct {
	lines  sample.Sample
	faults atomic.Int64 // since the last line
}

// add counts faults, and returns how many a log line should report now; 0: no line.
func (s *sampler) add(faults int) (report int) {
	if s.faults.Add(int64(faults)); faults == 0 || !s.lines.Due(sampleInterval) {
		return 0
	}
	return int(s.faults.Swap(0))
}
