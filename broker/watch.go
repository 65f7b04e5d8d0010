package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
}

// WatchStats is a snapshot of a Watcher's counters.
type WatchStats struct {
	Connected bool
	Received  uint64 // Messages handed to the reader.
	Dropped   uint64 // Messages dropped because the reader was behind by the whole buffer.
}

// Watcher listens to the batches and replies of a cluster. It publishes nothing. Its being there has one effect, which
// is NATS's: with a subscriber on a node's subject, requests to that node while it is absent time out instead of failing
// at once.
//
// The NATS client puts every message into one bounded channel, in the order in which it read them, and drops and counts
// what doesn't fit; one goroutine, pump, moves them on to the reader.
type Watcher struct {
	link *link
	subs []*nats.Subscription
	in   chan *nats.Msg
	out  chan Message

	received atomic.Uint64
	dropped  atomic.Uint64 // As last read from the subscriptions, which forget it when they close.

	stop   chan struct{} // Closed by Close; ends pump.
	ended  chan struct{} // Closed by pump.
	once   sync.Once
	closed error
}

// Watch begins to listen. ctx bounds the start only. Like Start it doesn't fail for a broker that can't be reached: it
// says so, through its logger, and tries for ever.
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
	w := &Watcher{
		in:    make(chan *nats.Msg, cmp.Or(options.Buffer, DefaultWatchBuffer)),
		out:   make(chan Message),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	log := component(options.Logger, "broker")
	w.link, err = connect(ctx, options.Access, log, nil, nats.Name("registryd tail"))
	if err != nil {
		return nil, err
	}
	go w.pump()
	// Replies first: the reply to a batch that was seen is then seen too.
	wanted := []string{subjects.AllReplies(), subjects.AllBatches()}
	if options.Node != "" {
		wanted = []string{subjects.AllReplies(), subjects.Batch(options.Node, "*"), subjects.Batch("*", options.Node)}
	}
	for _, subject := range wanted {
		sub, err := w.link.nc.ChanSubscribe(subject, w.in)
		if err != nil {
			_ = w.Close(ctx) //nolint:errcheck // The subscription's error is the one to tell.
			return nil, fmt.Errorf("watch %q: %w", subject, err)
		}
		w.subs = append(w.subs, sub)
	}
	w.link.settle()
	return w, nil
}

// Messages is where batches and replies come out, in the order in which they came in: a reply's subject is its batch's
// Reply. The channel has no buffer of its own; Close closes it.
func (w *Watcher) Messages() <-chan Message { return w.out }

// Stats returns the counters now.
func (w *Watcher) Stats() WatchStats {
	return WatchStats{
		Connected: w.link.connected.Load(),
		Received:  w.received.Load(),
		Dropped:   w.countDropped(),
	}
}

func (w *Watcher) countDropped() uint64 {
	var sum uint64
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
		w.countDropped()
		w.closed = w.link.close(ctx)
		close(w.stop)
		<-w.ended
	})
	return w.closed
}
