package interop_test

import (
	"context"
	"testing"
	"time"
)

const (
	// patience bounds each wait; only a failing test takes that long. It is far
	// above a lease and an eviction interval, so that a busy machine passes too.
	patience = 30 * time.Second
	// pause is the time between two looks.
	pause = 50 * time.Millisecond
)

// until looks again and again, until check returns nil. The error that check
// returns meanwhile says what it saw; the last one is printed when patience or
// ctx ends.
func until(ctx context.Context, t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	started := time.Now()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s (%v); last seen: %v",
				what, time.Since(started).Round(time.Millisecond), context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
