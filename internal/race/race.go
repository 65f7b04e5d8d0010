//go:build race

// Package race reports whether the race detector is built in. Tests with many
// seeds take a sample of them then: each takes several times as long.
package race

// Enabled reports whether this is a build with the race detector.
const Enabled = true
