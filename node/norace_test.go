//go:build !race

package node_test

// raced says that the race detector slows everything down.
const raced = false
