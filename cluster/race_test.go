//go:build race

package cluster_test

// raced says that this is a build with the race detector.
const raced = true
