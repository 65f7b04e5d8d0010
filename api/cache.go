package api

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// listCache holds the newest answer to one list in each variant. An answer is never
// older than its request: it is valid while the registry's generation is the one read
// before the list was collected. Renewals do not change the generation, so an answer
// also expires after maxAge.
//
// Requests that find no valid answer wait for one rendering. They share it if its
// generation is not below the one they saw on arrival.
type listCache struct {
	generation func() uint64
	source     func() renderer // makes what renders one variant
	maxAge     time.Duration
	hits       prometheus.Counter
	misses     prometheus.Counter

	slots [variants]listSlot
}

// renderer renders a list in one variant. One goroutine at a time calls it.
type renderer interface {
	// render returns the body of an answer, and its length. The generation of what is
	// rendered is at least that of the call.
	render(v variant) (chunks [][]byte, size int)
}

// variant is a form, as it is or gzipped.
type variant struct {
	form eureka.Form
	gzip bool
}

const variants = 8

func (v variant) index() int {
	i := 0
	if v.form.Format == eureka.XML {
		i = 1
	}
	if v.form.Compact {
		i += 2
	}
	if v.gzip {
		i += 4
	}
	return i
}

// unusedAfter is how long a variant for which nobody asks is kept.
const unusedAfter = 5 * time.Minute

// listSlot holds the newest answer in one variant.
type listSlot struct {
	used   atomic.Int64 // when it was asked for last; ns since 1970
	newest atomic.Pointer[listAnswer]

	rendering sync.Mutex // held while rendering; only the registry's lock is taken under it
	renderer  renderer   // guarded by rendering; nil: dropped, or not used yet
}

// listAnswer is one answer. Its body is never changed, so requests may send it
// after the slot has a newer one.
type listAnswer struct {
	generation uint64
	made       time.Time
	chunks     [][]byte
	size       int // of all chunks, in bytes

	readers readers
}

// cacheMetrics count the answers found in a cache, and those rendered for it.
type cacheMetrics struct{ hits, misses prometheus.Counter }

func newListCache(generation func() uint64, source func() renderer, maxAge time.Duration, m cacheMetrics) *listCache {
	return &listCache{generation: generation, source: source, maxAge: maxAge, hits: m.hits, misses: m.misses}
}

// get returns an answer that is up to date as of the call.
func (c *listCache) get(v variant) *listAnswer { return c.since(v, time.Now(), c.generation()) }

// since returns an answer for a request that arrived at a time and generation.
func (c *listCache) since(v variant, arrived time.Time, generation uint64) *listAnswer {
	slot := &c.slots[v.index()]
	slot.used.Store(arrived.UnixNano())
	if a := slot.newest.Load(); c.serves(a, generation, arrived) {
		c.hits.Inc()
		return a
	}
	slot.rendering.Lock()
	defer slot.rendering.Unlock()
	if a := slot.newest.Load(); c.serves(a, generation, arrived) {
		c.hits.Inc()
		return a
	}
	c.misses.Inc()
	if slot.renderer == nil {
		slot.renderer = c.source()
	}
	// The generation is read first. A change in between makes the answer newer
	// than its generation, never older.
	next := &listAnswer{made: time.Now(), generation: c.generation()}
	next.chunks, next.size = slot.renderer.render(v)
	slot.newest.Store(next)
	c.dropUnused(arrived)
	return next
}

// serves reports whether a is valid for a request that arrived at a time and
// generation.
func (c *listCache) serves(a *listAnswer, generation uint64, arrived time.Time) bool {
	return a != nil && a.generation >= generation && arrived.Sub(a.made) < c.maxAge
}

// dropUnused gives up the variants for which nobody has asked for a while. Whoever
// renders another variant does so.
func (c *listCache) dropUnused(now time.Time) {
	for i := range c.slots {
		slot := &c.slots[i]
		if now.UnixNano()-slot.used.Load() < unusedAfter.Nanoseconds() || !slot.rendering.TryLock() {
			continue
		}
		slot.renderer = nil
		slot.newest.Store(nil)
		slot.rendering.Unlock()
	}
}

// wholeList renders a list as a whole: one that is put together from several places.
type wholeList struct {
	collect  func() eureka.Applications
	last     int // bytes of the last one
	deflater deflater
}

func (w *wholeList) render(v variant) (chunks [][]byte, size int) {
	body := v.form.AppendApplications(make([]byte, 0, w.last+w.last/16), w.collect())
	w.last = len(body)
	if !v.gzip {
		return [][]byte{body}, len(body)
	}
	var z member
	z.add(w.deflater.deflate(nil, body), body)
	return z.finish()
}
