//go:build unix

package api

import (
	"math"

	"golang.org/x/sys/unix"
)

// fileLimit returns how many files this process may have open, 0 for no bound.
func fileLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur) //nolint:gosec // Bounded above.
}
