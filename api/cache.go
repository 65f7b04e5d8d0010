package api

import (
	"bytes"
	"compress/gzip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// listCache holds the answers to one list, one for each form. An answer is
// never older than the request: it is served as long as the registry is at the
// generation that was read before the list was collected. Leases renew without
// a new generation, so an answer is also given up at maxAge.
//
// Requests that find none wait for one rendering, and share it if it was begun
// at a generation that is not below the one that they found on arrival.
type listCache struct {
	generation func() uint64
	collect    func() eureka.Applications
	maxAge     time.Duration
	hits       prometheus.Counter
	misses     prometheus.Counter

	slots [4]listSlot
	gzips sync.Pool // of *gzip.Writer
}

// listSlot holds the newest answer in one form.
type listSlot struct {
	rendering sync.Mutex // held by who renders; a leaf, but for the registry's
	newest    atomic.Pointer[listAnswer]
}

// listAnswer is one answer. It is never changed, and so outlives its slot while
// it is being sent.
type listAnswer struct {
	generation uint64
	made       time.Time
	body       []byte

	zip    sync.Once
	zipped []byte

	readers readers
}

// cacheMetrics count the answers taken from a cache, and those made for it.
type cacheMetrics struct{ hits, misses prometheus.Counter }

func newListCache(generation func() uint64, collect func() eureka.Applications, maxAge time.Duration, m cacheMetrics) *listCache {
	return &listCache{generation: generation, collect: collect, maxAge: maxAge, hits: m.hits, misses: m.misses}
}

func (c *listCache) slot(f eureka.Form) *listSlot {
	i := 0
	if f.Format == eureka.XML {
		i = 1
	}
	if f.Compact {
		i += 2
	}
	return &c.slots[i]
}

// get returns an answer that is right at a moment within the call.
func (c *listCache) get(f eureka.Form) *listAnswer {
	return c.since(f, time.Now(), c.generation())
}

// since returns an answer for a request that arrived at a time and generation.
func (c *listCache) since(f eureka.Form, arrived time.Time, generation uint64) *listAnswer {
	slot := c.slot(f)
	if a := slot.newest.Load(); c.serves(a, generation, arrived) {
		c.hits.Inc()
		return a
	}
	slot.rendering.Lock()
	defer slot.rendering.Unlock()
	a := slot.newest.Load()
	if c.serves(a, generation, arrived) {
		c.hits.Inc()
		return a
	}
	c.misses.Inc()
	room := 0
	if a != nil {
		room = len(a.body) + len(a.body)/16
	}
	// The generation is read first: a change in between makes the answer newer
	// than it claims, never older.
	next := &listAnswer{made: time.Now(), generation: c.generation()}
	next.body = f.AppendApplications(make([]byte, 0, room), c.collect())
	slot.newest.Store(next)
	return next
}

// serves says whether a is right for a request that arrived at a time and
// generation.
func (c *listCache) serves(a *listAnswer, generation uint64, arrived time.Time) bool {
	return a != nil && a.generation >= generation && arrived.Sub(a.made) < c.maxAge
}

// compressed returns the answer gzipped, which is done once; nil if that can't
// be done. The fastest level: lists shrink to a tenth by it, and half the time
// again is not worth a few percent.
func (a *listAnswer) compressed(pool *sync.Pool) []byte {
	a.zip.Do(func() {
		var out bytes.Buffer
		out.Grow(len(a.body)/8 + 64)
		z, ok := pool.Get().(*gzip.Writer)
		if ok {
			z.Reset(&out)
		} else {
			var err error
			if z, err = gzip.NewWriterLevel(&out, gzip.BestSpeed); err != nil {
				return
			}
		}
		if _, err := z.Write(a.body); err != nil || z.Close() != nil {
			return
		}
		pool.Put(z)
		a.zipped = out.Bytes()
	})
	return a.zipped
}
