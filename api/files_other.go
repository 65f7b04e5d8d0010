//go:build !unix

package api

// fileLimit returns how many files this process may have open, 0 for no bound.
func fileLimit() int { return 0 }
