// Package await has tests wait for a condition instead of for a time.
package await

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// step is the time between two looks.
const step = 20 * time.Millisecond

// Nil looks again and again until check returns nil, and returns how long that took. After patience it ends the test
// with what check returned last. It is called on the test's goroutine.
func Nil(tb testing.TB, patience time.Duration, what string, check func() error) time.Duration {
	tb.Helper()
	began := time.Now()
	if err := Until(patience, check); err != nil {
		tb.Fatalf("after %s still not: %s: %v", patience, what, err)
	}
	return time.Since(began)
}

// Until looks again and again until check returns nil. After patience it returns what check returned last.
func Until(patience time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", patience, err)
		case <-tick.C:
		}
	}
}
