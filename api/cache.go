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

// listCache holds the newest answer to one list in each form. An answer is never
// older than its request: it is valid while the registry's generation is the one
// read before the list was collected. Renewals do not change the generation, so
// an answer also expires after maxAge.
//
// Requests that find no valid answer wait for one rendering. They share it if its
// generation is not below the one they saw on arrival.
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
	rendering sync.Mutex // held while rendering; only the registry's lock is taken under it
	newest    atomic.Pointer[listAnswer]
}

// listAnswer is one answer. Its body is never changed, so requests may send it
// after the slot has a newer one.
type listAnswer struct {
	generation uint64
	made       time.Time
	body       []byte

	zip    sync.Once
	zipped []byte

	readers readers
}

// cacheMetrics count the answers found in a cache, and those rendered for it.
type cacheMetrics struct{ hits, misses prometheus.Counter }

func newListCache(
	generation func() uint64, collect func() eureka.Applications, maxAge time.Duration, m cacheMetrics,
) *listCache {
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

// get returns an answer that is up to date as of the call.
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
	// The generation is read first. A change in between makes the answer newer
	// than its generation, never older.
	next := &listAnswer{made: time.Now(), generation: c.generation()}
	next.body = f.AppendApplications(make([]byte, 0, room), c.collect())
	slot.newest.Store(next)
	return next
}

// serves reports whether a is valid for a request that arrived at a time and
// generation.
func (c *listCache) serves(a *listAnswer, generation uint64, arrived time.Time) bool {
	return a != nil && a.generation >= generation && arrived.Sub(a.made) < c.maxAge
}

// compressed returns the answer gzipped, or nil if that fails. It compresses once,
// at the fastest level: lists shrink to a tenth, and better levels cost half as
// much time again for a few percent.
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
