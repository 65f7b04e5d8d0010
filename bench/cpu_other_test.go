//go:build !unix

package bench_test

import (
	"testing"
	"time"
)

// cpu returns 0: it is not known here.
func cpu(*testing.B) time.Duration { return 0 }
