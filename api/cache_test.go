package api

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// source stands for a registry: a generation, and lists that tell which
// collection they are.
type source struct {
	generation atomic.Uint64
	collected  atomic.Int64
	during     func(collection int64) // called while a list is collected
}

func (s *source) collect() eureka.Applications {
	n := s.collected.Add(1)
	if s.during != nil {
		s.during(n)
	}
	return eureka.Applications{Version: "1", HashCode: "collection " + strconv.FormatInt(n, 10)}
}

func newTestCache(s *source) *listCache {
	m := cacheMetrics{prometheus.NewCounter(prometheus.CounterOpts{}), prometheus.NewCounter(prometheus.CounterOpts{})}
	return newListCache(s.generation.Load, func() renderer { return &wholeList{collect: s.collect} }, time.Second, m)
}

// collection returns the number that the answer's list has.
func collection(t testing.TB, a *listAnswer) int {
	t.Helper()
	_, rest, _ := strings.Cut(string(a.chunks[0]), "collection ")
	number, _, _ := strings.Cut(rest, `"`)
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Errorf("body %q: %v", a.chunks, err)
	}
	return n
}

func TestCacheServesOneGeneration(t *testing.T) {
	s := &source{}
	c := newTestCache(s)
	for i, want := range []int{1, 1, 2, 2} {
		if i == 2 {
			s.generation.Add(1)
		}
		if got := collection(t, c.get(variant{})); got != want {
			t.Errorf("get %d: collection %d, want %d", i, got, want)
		}
	}
	// Every form has its own answer.
	forms := []eureka.Form{{Format: eureka.XML}, {Compact: true}, {Format: eureka.XML, Compact: true}}
	for _, f := range forms {
		c.get(variant{form: f})
		c.get(variant{form: f})
	}
	if got := s.collected.Load(); got != 5 {
		t.Errorf("%d collections after three more forms, want 5", got)
	}
}

func TestCacheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		c := newTestCache(s)
		for _, step := range []struct {
			wait time.Duration
			want int
		}{
			{0, 1},
			{999 * time.Millisecond, 1},
			{time.Millisecond, 2},
			{999 * time.Millisecond, 2},
		} {
			time.Sleep(step.wait) // the bubble's clock
			if got := collection(t, c.get(variant{})); got != step.want {
				t.Errorf("%v later: collection %d, want %d", step.wait, got, step.want)
			}
		}
	})
}

// TestCacheChangeWhileCollecting has a change happen after the list was read and
// before it was cached: the answer must not pass for newer than it is.
func TestCacheChangeWhileCollecting(t *testing.T) {
	s := &source{}
	s.during = func(n int64) {
		if n == 1 {
			s.generation.Add(1)
		}
	}
	c := newTestCache(s)
	c.get(variant{})
	if got := collection(t, c.get(variant{})); got != 2 {
		t.Errorf("collection %d after a change, want 2", got)
	}
}

func TestCacheOneRenderingForAll(t *testing.T) {
	const readers = 1000
	s := &source{}
	var started sync.WaitGroup
	started.Add(readers)
	s.during = func(int64) { started.Wait() }
	c := newTestCache(s)
	c.maxAge = time.Hour
	var done sync.WaitGroup
	for range readers {
		done.Go(func() {
			started.Done()
			if got := collection(t, c.get(variant{})); got != 1 {
				t.Errorf("collection %d, want 1", got)
			}
		})
	}
	done.Wait()
	if got := s.collected.Load(); got != 1 {
		t.Errorf("%d renderings for %d readers, want 1", got, readers)
	}
}

// TestCacheReadersAfterAChange has readers arrive after a change while an answer
// from before it is still being made: they must not get it, and share the next.
func TestCacheReadersAfterAChange(t *testing.T) {
	const readers = 200
	s := &source{}
	begun, release := make(chan struct{}), make(chan struct{})
	s.during = func(n int64) {
		if n == 1 {
			close(begun)
			<-release
		}
	}
	c := newTestCache(s)
	c.maxAge = time.Hour
	var done sync.WaitGroup
	done.Go(func() { c.get(variant{}) })
	<-begun
	s.generation.Add(1)
	var started sync.WaitGroup
	started.Add(readers)
	for range readers {
		done.Go(func() {
			started.Done()
			if got := collection(t, c.get(variant{})); got != 2 {
				t.Errorf("collection %d, want 2", got)
			}
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	if got := s.collected.Load(); got != 2 {
		t.Errorf("%d renderings, want 2", got)
	}
}

// TestCacheUnderChanges has a change happen during every rendering: the readers
// that waited came before it, and share that rendering all the same.
func TestCacheUnderChanges(t *testing.T) {
	const readers = 200
	s := &source{}
	var started sync.WaitGroup
	started.Add(readers)
	s.during = func(int64) {
		started.Wait()
		s.generation.Add(1)
	}
	c := newTestCache(s)
	c.maxAge = time.Hour
	var done sync.WaitGroup
	for range readers {
		done.Go(func() {
			arrived, generation := time.Now(), s.generation.Load()
			started.Done()
			c.since(variant{}, arrived, generation)
		})
	}
	done.Wait()
	if got := s.collected.Load(); got != 1 {
		t.Errorf("%d renderings for %d readers who all came before the first change, want 1", got, readers)
	}
}

func TestCacheCompressesOnce(t *testing.T) {
	s := &source{}
	c := newTestCache(s)
	plain := c.get(variant{})
	first, second := c.get(variant{gzip: true}), c.get(variant{gzip: true})
	if first != second || first == plain || s.collected.Load() != 2 {
		t.Errorf("%d collections, want one a variant", s.collected.Load())
	}
}

// TestCacheDropsUnused forgets the variants for which nobody asks.
func TestCacheDropsUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		c := newTestCache(s)
		c.get(variant{gzip: true})
		for range 10 {
			time.Sleep(time.Minute)
			c.get(variant{})
		}
		if c.slots[variant{gzip: true}.index()].newest.Load() != nil {
			t.Error("a variant is kept that nobody has asked for")
		}
		if c.slots[variant{}.index()].newest.Load() == nil {
			t.Error("the variant in use was dropped")
		}
	})
}
