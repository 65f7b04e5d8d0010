package interop_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// watchPause is the time between two looks at each node.
const watchPause = 100 * time.Millisecond

// watch looks at nodes all the time and notes when one does not list an instance
// that must be there.
type watch struct {
	cancel context.CancelFunc
	done   chan struct{}
	looks  int      // of the goroutine until done is closed; so is the next
	misses []string // at most maxMisses
}

const maxMisses = 10

// watchFor begins to look for these ids at these nodes.
func (c *cluster) watchFor(ctx context.Context, nodes []*node, ids ...string) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel, done: make(chan struct{})}
	c.owner.Cleanup(w.stop)
	go func() {
		defer close(w.done)
		tick := time.NewTicker(watchPause)
		defer tick.Stop()
		for {
			for _, n := range nodes {
				all, _, err := c.list(ctx, n)
				if ctx.Err() != nil {
					return
				}
				w.looks++
				if err != nil {
					w.note("%s: node %s: %v", time.Now().Format(time.TimeOnly), n.name, err)
				}
				for _, id := range ids {
					if _, ok := all[id]; err == nil && !ok {
						w.note("%s: node %s does not list %s", time.Now().Format(time.TimeOnly), n.name, id)
					}
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

func (w *watch) note(format string, args ...any) {
	if len(w.misses) < maxMisses {
		w.misses = append(w.misses, fmt.Sprintf(format, args...))
	}
}

// stop ends the looking.
func (w *watch) stop() {
	w.cancel()
	<-w.done
}

// end ends the looking and fails the test for what was missed.
func (w *watch) end(t *testing.T) {
	t.Helper()
	w.stop()
	if w.looks == 0 {
		t.Error("the watch never looked")
	}
	for _, miss := range slices.Compact(w.misses) {
		t.Error(miss)
	}
	t.Logf("%d lists read beside the clients, each with all instances that stay", w.looks)
}
