package mixed_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// lookEvery is the time between two look-ups of an application.
const lookEvery = 200 * time.Millisecond

// lookups looks services up at an application and calls them, again and again.
type lookups struct {
	app      *app
	services []string
	stop     func() // ends them, and waits for that

	mu       sync.Mutex
	done     int           // guarded by mu; look-ups with their calls
	failures []string      // guarded by mu
	empty    int           // guarded by mu; lists without an instance
	fewest   int           // guarded by mu; instances in a list
	slowest  time.Duration // guarded by mu
}

// lookUp begins to look up services at an application that knows them.
func lookUp(t *testing.T, a *app, services ...string) *lookups {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	l := &lookups{app: a, services: services, fewest: 1 << 20}
	l.stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(l.stop)
	wg.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, s := range services {
				l.once(ctx, s)
			}
		}
	})
	return l
}

func (l *lookups) once(ctx context.Context, service string) {
	began := time.Now()
	ids, err := l.app.knows(ctx, service)
	_, failed := l.app.calls(ctx, service)
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return // the end cut it short
	}
	l.done++
	l.slowest = max(l.slowest, time.Since(began))
	if err == nil {
		l.fewest = min(l.fewest, len(ids))
		if len(ids) == 0 {
			l.empty++
			l.failures = append(l.failures, fmt.Sprintf("%s: %s knows no instance of %s", began.Format(time.StampMilli), l.app.id, service))
		}
	}
	for _, err := range []error{err, failed} {
		if err != nil {
			l.failures = append(l.failures, fmt.Sprintf("%s: %v", began.Format(time.StampMilli), err))
		}
	}
}

// check fails the test if a look-up failed, or found nothing.
func (l *lookups) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%s: %d look-ups, %d failures, %d empty lists, fewest instances %d, slowest %s",
		l.app.id, l.done, len(l.failures), l.empty, l.fewest, l.slowest.Round(time.Millisecond))
	if l.done == 0 {
		t.Error("no look-up")
	}
	for i, f := range l.failures {
		if i == 10 {
			t.Errorf("and %d more", len(l.failures)-i)
			break
		}
		t.Error(f)
	}
}
