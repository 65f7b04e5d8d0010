package history

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/registry"
)

// The bounds of [Options.Bytes].
const (
	DefaultBytes = 32 << 20
	MinBytes     = 1 << 20
	MaxBytes     = 1 << 30
)

const (
	// chunkBytes is how many bytes of events the ring gains and loses at a time.
	chunkBytes = 64 << 10
	// smallChunk is what the first chunk begins with.
	smallChunk = 4 << 10
	// bytesPerChain is how many bytes of events one chain of instances has in a full ring.
	bytesPerChain = 256
	// appChains is how many chains there are for applications, and how many groups of
	// applications a reader can wait for. A power of two.
	appChains = 4096
)

// Options of a [History]. A zero field means its default.
type Options struct {
	// Bytes bounds the encoded events with what finds them, from MinBytes to MaxBytes. The
	// memory is taken as the events come. Default DefaultBytes.
	Bytes int
	// Metrics is where the metrics are registered; nil: nowhere.
	Metrics prometheus.Registerer
}

// Check returns the fault of the options, or nil.
func (o Options) Check() error {
	if o.Bytes != 0 && (o.Bytes < MinBytes || o.Bytes > MaxBytes) {
		return fmt.Errorf("history bytes %d: not in %d..%d", o.Bytes, MinBytes, MaxBytes)
	}
	return nil
}

// History holds the latest events. The zero value is not ready; see [New].
type History struct {
	bytes   int // at most
	chains  int // of instances; a power of two
	seed    maphash.Seed
	metrics *metrics
	encode  sync.Pool // of *encoding

	// mu guards all below it. It is a leaf, held to copy some bytes.
	mu      sync.RWMutex
	ring    []*chunk // oldest first; the last one is written to
	full    int      // bytes of all chunks but the last one
	next    uint64   // the next sequence number
	byKey   []uint64 // the last event of each chain, 0: none; made with the first event
	byApp   []uint64
	waiting [appChains]chan struct{} // by application; nil: nobody waits
	waitAll chan struct{}
}

// chunk is a run of events. Bytes that were written are never written again, so a reader
// may hold them without a lock.
type chunk struct {
	first uint64 // sequence number
	data  []byte
	ends  []uint32 // of each event in data
}

// encoding is a batch of encoded events, before they have a place.
type encoding struct {
	data   []byte
	events []encoded
}

type encoded struct {
	end      int // in data
	app, key uint64
}

// cost is the memory of a chunk.
func (c *chunk) cost() int { return cap(c.data) + 4*cap(c.ends) }

// maxChunk bounds the cost of a chunk: no event has less than 12 bytes.
const maxChunk = chunkBytes + 4*2*chunkBytes/12

var _ registry.Recorder = (*History)(nil)

// New returns an empty history. Its error is that of an option out of bounds, or of a
// metric that can't be registered.
func New(opts Options) (*History, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	if opts.Bytes == 0 {
		opts.Bytes = DefaultBytes
	}
	chains := 1 << (bits.Len(uint(opts.Bytes/bytesPerChain)) - 1)
	h := &History{
		bytes: opts.Bytes - 8*(chains+appChains), chains: chains, seed: maphash.MakeSeed(), next: 1,
	}
	h.metrics = newMetrics(h, opts.Bytes)
	if opts.Metrics != nil {
		if err := h.metrics.register(opts.Metrics); err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
	}
	return h, nil
}

// hashes returns the hashes of a key's application and of the whole key.
func (h *History) hashes(key registry.Key) (app, whole uint64) {
	app = maphash.String(h.seed, key.App)
	return app, maphash.String(h.seed, key.ID) ^ bits.RotateLeft64(app, 32)
}

// Record adds events, in this order. It does not keep the slice, and never blocks for
// longer than it takes to copy their bytes. It implements [registry.Recorder], and may be
// called from any goroutine.
func (h *History) Record(events []registry.Event) {
	if len(events) == 0 {
		return
	}
	enc, ok := h.encode.Get().(*encoding)
	if !ok {
		enc = new(encoding)
	}
	enc.data, enc.events = enc.data[:0], enc.events[:0]
	for i := range events {
		e := &events[i]
		enc.data = appendBody(enc.data, e)
		app, key := h.hashes(e.Key)
		enc.events = append(enc.events, encoded{end: len(enc.data), app: app, key: key})
		h.metrics.recorded(e.Kind)
	}
	for _, woken := range h.append(enc) {
		close(woken)
	}
	if cap(enc.data) <= chunkBytes {
		h.encode.Put(enc)
	}
}

// append puts encoded events into the ring, and returns the channels of those who wait for
// them.
func (h *History) append(enc *encoding) (wake []chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byKey == nil {
		h.byKey, h.byApp = make([]uint64, h.chains), make([]uint64, appChains)
	}
	at := 0
	for _, e := range enc.events {
		h.put(enc.data[at:e.end], e.key&uint64(h.chains-1), e.app%appChains)
		at = e.end
		if w := &h.waiting[e.app%appChains]; *w != nil {
			wake, *w = append(wake, *w), nil
		}
	}
	if h.waitAll != nil {
		wake, h.waitAll = append(wake, h.waitAll), nil
	}
	return wake
}

// put adds one event. The lock is held.
func (h *History) put(body []byte, keyChain, appChain uint64) {
	const head = 2 * binary.MaxVarintLen64
	c := h.room(head + len(body))
	seq := h.next
	h.next++
	c.data = binary.AppendUvarint(c.data, back(seq, h.byKey[keyChain]))
	c.data = binary.AppendUvarint(c.data, back(seq, h.byApp[appChain]))
	c.data = append(c.data, body...)
	c.ends = append(c.ends, uint32(len(c.data)))
	h.byKey[keyChain], h.byApp[appChain] = seq, seq
}

// back is how far an event is from the one before it in a chain; 0: there is none.
func back(seq, before uint64) uint64 {
	if before == 0 {
		return 0
	}
	return seq - before
}

// room returns the chunk that has room for an event. The oldest one may have to go for it.
// The lock is held.
func (h *History) room(size int) *chunk {
	if n := len(h.ring); n > 0 {
		c := h.ring[n-1]
		if len(c.data)+size <= cap(c.data) {
			return c
		}
		if len(c.data)+size <= chunkBytes {
			c.data = append(make([]byte, 0, min(chunkBytes, max(2*cap(c.data), cap(c.data)+size))), c.data...)
			return c
		}
	}
	start := chunkBytes
	if len(h.ring) == 0 {
		start = smallChunk
	}
	if n := len(h.ring); n > 0 {
		h.full += h.ring[n-1].cost()
	}
	for h.full > 0 && h.full+maxChunk > h.bytes {
		h.full -= h.ring[0].cost()
		h.ring = slices.Delete(h.ring, 0, 1)
	}
	c := &chunk{first: h.next, data: make([]byte, 0, max(start, size))}
	h.ring = append(h.ring, c)
	return c
}

// first returns the oldest sequence number that is there, or next. The lock is held, shared
// or not.
func (h *History) first() uint64 {
	if len(h.ring) == 0 {
		return h.next
	}
	return h.ring[0].first
}

// raw is an event as it is kept.
type raw struct {
	seq                  uint64
	beforeKey, beforeApp uint64 // in their chains; 0: none
	body                 []byte
}

// look returns the event of a sequence number, if it is there.
func (h *History) look(seq uint64) (raw, bool) {
	h.mu.RLock()
	if seq < h.first() || seq >= h.next {
		h.mu.RUnlock()
		return raw{}, false
	}
	i, exact := slices.BinarySearchFunc(h.ring, seq, func(c *chunk, seq uint64) int {
		switch {
		case c.first < seq:
			return -1
		case c.first > seq:
			return 1
		}
		return 0
	})
	if !exact {
		i--
	}
	c := h.ring[i]
	n := seq - c.first
	start := uint32(0)
	if n > 0 {
		start = c.ends[n-1]
	}
	data := c.data[start:c.ends[n]]
	h.mu.RUnlock()
	d := decoder{b: data}
	key, app := d.uvarint(), d.uvarint()
	out := raw{seq: seq, body: d.b}
	if key != 0 {
		out.beforeKey = seq - key
	}
	if app != 0 {
		out.beforeApp = seq - app
	}
	return out, true
}
