package broker

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// inbox pairs replies with the requests that wait for them, over one subscription.
type inbox struct {
	prefix string // With its final dot.
	limit  int
	log    *slog.Logger

	metrics *metrics
	named   sync.Once // Names the first foreign reply.

	mu      sync.Mutex
	waiting map[string]chan outcome // By token; each channel holds one outcome.
	closed  bool
}

// outcome is how a request ended.
type outcome struct {
	body []byte
	err  error
}

func newInbox(prefix string, limit int, metrics *metrics, log *slog.Logger) *inbox {
	return &inbox{prefix: prefix + ".", limit: limit, metrics: metrics, log: log, waiting: map[string]chan outcome{}}
}

// expect makes room for one reply on subject, which must begin with the inbox's prefix.
func (i *inbox) expect(subject string) (<-chan outcome, error) {
	ch := make(chan outcome, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, ErrClosed
	}
	if len(i.waiting) >= i.limit {
		return nil, ErrTooMany
	}
	i.waiting[subject[len(i.prefix):]] = ch
	return ch, nil
}

// forget gives the room back. An outcome that came before is still in the channel.
func (i *inbox) forget(subject string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.waiting, subject[len(i.prefix):])
}

// size returns how many requests are waiting.
func (i *inbox) size() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.waiting)
}

// failAll ends every request that is waiting.
func (i *inbox) failAll(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, ch := range i.waiting {
		ch <- outcome{err: err}
	}
	clear(i.waiting)
}

// close ends every request and takes no more.
func (i *inbox) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.failAll(ErrClosed)
}

func (i *inbox) take(subject string) (chan outcome, bool) {
	token, _ := strings.CutPrefix(subject, i.prefix)
	i.mu.Lock()
	defer i.mu.Unlock()
	ch, ok := i.waiting[token]
	delete(i.waiting, token)
	return ch, ok
}

// receive handles one message on the inbox's subjects. It never blocks.
func (i *inbox) receive(msg *nats.Msg) {
	if strings.HasPrefix(msg.Subject[min(len(i.prefix), len(msg.Subject)):], mirrored) {
		return // shown for a Watcher
	}
	var result outcome
	version := msg.Header.Get(HeaderVersion)
	switch {
	case noResponders(msg):
		result.err = ErrAbsent
	case version == "":
		i.metrics.ignored.WithLabelValues("foreign").Inc()
		i.named.Do(func() { i.nameForeign(msg) })
		return
	default:
		result = readReply(version, msg)
	}
	ch, ok := i.take(msg.Subject)
	if !ok {
		i.metrics.ignored.WithLabelValues("late").Inc()
		return
	}
	ch <- result
}

func readReply(version string, msg *nats.Msg) outcome {
	if version != strconv.Itoa(ProtocolVersion) {
		return outcome{err: &VersionError{Got: cut(version, maxVersionText)}}
	}
	if failed := newMessage(msg).Failed(); failed != nil {
		return outcome{err: failed}
	}
	return outcome{body: msg.Data}
}

// noResponders reports whether the broker itself answered, because nobody subscribes.
func noResponders(msg *nats.Msg) bool {
	return len(msg.Data) == 0 && msg.Header.Get("Status") == "503" && msg.Header.Get(HeaderVersion) == ""
}

// nameForeign says who answers our requests, as far as the answer tells.
func (i *inbox) nameForeign(msg *nats.Msg) {
	var ack struct {
		Stream string `json:"stream"`
	}
	if json.Unmarshal(msg.Data, &ack) == nil && ack.Stream != "" {
		i.log.Warn("a JetStream stream acknowledges our requests; its answers are ignored and counted, but an absent "+
			"node now shows only as a time-out", "reason", "foreign_reply", "stream", cut(ack.Stream, maxErrorText))
		return
	}
	i.log.Warn("somebody else answers our requests; such answers are ignored and counted",
		"reason", "foreign_reply", "subject", msg.Subject)
}
