package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// DefaultWatchBuffer is how many messages a Watcher keeps for a reader that is behind.
const DefaultWatchBuffer = 4096

// WatchOptions configures a Watcher.
type WatchOptions struct {
	Access  Access // Where to listen. A user that may only subscribe is enough.
	Cluster string
	Node    string // Batches from or to this node only; empty: all. Replies come all, the reader pairs them.
	Buffer  int    // Messages. Default DefaultWatchBuffer.
	Logger  *slog.Logger

	Presence bool // The presence of all nodes too, also of other clusters.
}

// WatchStats is a snapshot of a Watcher's counters.
type WatchStats struct {
	Connected bool
	Received  uint64 // Messages handed to the reader.
	Dropped   uint64 // Messages dropped because the reader was behind by the whole buffer.
}

// Watcher listens to the batches and replies of a cluster. It publishes nothing. Its being there has one effect, which
// is NATS's: with a subscriber on a node's subject, requests to that node while it is absent time out instead of
// failing at once.
//
// The NATS client puts every message into one bounded channel, in the order in which it read them, and drops and counts
// what doesn't fit; one goroutine, pump, moves them on to the reader.
type Watcher struct {
	link   *link
	wanted []string // Subjects.
	in     chan *nats.Msg
	out    chan Message

	subs []*nats.Subscription // Guarded by the link's mu; of its current connection.
	past uint64               // Guarded by the link's mu; what connections before that dropped.

	received atomic.Uint64
	dropped  atomic.Uint64 // As last read from the subscriptions, which forget it when they close.

	stop   chan struct{} // Closed by Close; ends pump.
	ended  chan struct{} // Closed by pump.
	once   sync.Once
	closed error
}

// Watch begins to listen. ctx bounds the start only. Like Start it doesn't fail for a broker that can't be reached: it
// logs that, and tries until Close.
func Watch(ctx context.Context, options WatchOptions) (*Watcher, error) {
	faults := options.Access.faults()
	if options.Access.Server == nil && len(options.Access.URLs) == 0 {
		faults = append(faults, fmt.Errorf("%w: a watcher needs a broker's URL", ErrOptions))
	}
	if options.Node != "" && !ValidNode(options.Node) {
		faults = append(faults, fmt.Errorf("node %q: %w", options.Node, ErrName))
	}
	if options.Buffer < 0 {
		faults = append(faults, fmt.Errorf("%w: buffer %d is negative", ErrOptions, options.Buffer))
	}
	subjects, err := NewSubjects(options.Cluster)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	// Replies first: the reply to a batch that was seen is then seen too.
	wanted := []string{subjects.AllReplies(), subjects.AllBatches()}
	if options.Node != "" {
		wanted = []string{subjects.AllReplies(), subjects.Batch(options.Node, "*"), subjects.Batch("*", options.Node)}
	}
	if options.Presence {
		wanted = append(wanted, PresenceAnywhere())
	}
	w := &Watcher{
		wanted: wanted,
		in:     make(chan *nats.Msg, cmp.Or(options.Buffer, DefaultWatchBuffer)),
		out:    make(chan Message),
		stop:   make(chan struct{}),
		ended:  make(chan struct{}),
	}
	log := component(options.Logger, "broker")
	w.link, err = connect(ctx, options.Access, log, newMetrics(), nil, []interest{w}, nats.Name("registryd tail"))
	if err != nil {
		return nil, err
	}
	go w.pump()
	return w, nil
}

var _ interest = (*Watcher)(nil)

func (w *Watcher) name() string               { return w.wanted[0] }
func (w *Watcher) covers(subject string) bool { return slices.Contains(w.wanted, subject) }

func (w *Watcher) attach(nc *nats.Conn) error {
	w.past = w.countDropped()
	for _, sub := range w.subs {
		_ = sub.Unsubscribe() //nolint:errcheck // The only error is a connection that is closed already.
	}
	w.subs = nil
	for _, subject := range w.wanted {
		sub, err := nc.ChanSubscribe(subject, w.in)
		if err != nil {
			return err
		}
		w.subs = append(w.subs, sub)
	}
	return nil
}

// Messages is where batches and replies come out, in the order in which they came in: a reply's subject is its batch's
// Reply. The channel has no buffer of its own; Close closes it.
func (w *Watcher) Messages() <-chan Message { return w.out }

// Stats returns the counters now.
func (w *Watcher) Stats() WatchStats {
	w.link.mu.Lock()
	defer w.link.mu.Unlock()
	return WatchStats{
		Connected: w.link.state.Load().Up,
		Received:  w.received.Load(),
		Dropped:   w.countDropped(),
	}
}

// countDropped is called with the link's lock held.
func (w *Watcher) countDropped() uint64 {
	sum := w.past
	for _, sub := range w.subs {
		dropped, err := sub.Dropped()
		if err != nil {
			return w.dropped.Load() // Closed.
		}
		sum += uint64(max(dropped, 0))
	}
	w.dropped.Store(sum)
	return sum
}

func (w *Watcher) pump() {
	defer close(w.ended)
	defer close(w.out)
	for {
		select {
		case msg := <-w.in:
			if msg.Header.Get(HeaderProbe) != "" {
				continue
			}
			select {
			case w.out <- newMessage(msg):
				w.received.Add(1)
			case <-w.stop:
				return
			}
		case <-w.stop:
			return
		}
	}
}

// Close ends the watch and closes the channel; what the reader has not taken by then is gone. ctx bounds it.
func (w *Watcher) Close(ctx context.Context) error {
	w.once.Do(func() {
		w.Stats() // The last one that can be read.
		w.closed = w.link.close(ctx)
		close(w.stop)
		<-w.ended
	})
	return w.closed
}
