//go:build faults

package faults_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestShortFullDisk fills the disk of a node's snapshots. The node continues.
// Killed then, it starts from the last complete snapshot. With room it writes
// again.
func TestShortFullDisk(t *testing.T) {
	t.Parallel()
	const written, failed = `registryd_snapshot_writes_total{outcome="ok"}`, `registryd_snapshot_writes_total{outcome="failed"}`
	l := newLab(t, labOptions{Data: true})
	f := startFleet(l, fleetOptions{Size: 20})
	n := l.nodes[0]
	f.settle("the start")

	f.lose(n)
	n.terminate() // writes a snapshot
	if err := syscall.Mount("tmpfs", n.dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("missing: tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(n.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n.start()
	l.waitReady(n)
	l.waitMetric(n, written, func(v float64) bool { return v >= 1 })

	full := filepath.Join(n.dir, "everything-else")
	fill(t, full)
	l.waitMetric(n, failed, func(v float64) bool { return v >= 1 })
	f.settle("a full disk")
	f.lose(n)
	n.kill()
	f.lose(n)
	n.start()
	l.waitReady(n)
	f.settle("a start with a full disk")
	l.waitMetric(n, failed, func(v float64) bool { return v >= 1 })
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	l.waitMetric(n, written, func(v float64) bool { return v >= 1 })
	f.settle("room on the disk")
}

// fill writes a file until there is no room.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 512)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	if err := file.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
