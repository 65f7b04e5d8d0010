package snapshot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/snapshot"
)

func write(t *testing.T, dir string, r *registry.Registry) {
	t.Helper()
	if _, err := snapshot.Write(dir, "c", r); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string, r *registry.Registry) {
	t.Helper()
	if _, err := snapshot.Load(dir, "c", r); err != nil {
		t.Fatal(err)
	}
}

// TestOpen gives a directory to its node, one process at a time.
func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "it")
	first, err := snapshot.Open(dir, "c", "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Open(dir, "c", "a"); !errors.Is(err, snapshot.ErrInUse) {
		t.Errorf("while it is open: %v, want %v", err, snapshot.ErrInUse)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []struct{ cluster, node string }{{"c", "b"}, {"d", "a"}} {
		_, err := snapshot.Open(dir, other.cluster, other.node)
		if !errors.Is(err, snapshot.ErrForeign) || !strings.Contains(err.Error(), `"a" of cluster "c"`) {
			t.Errorf("for %v: %v, want %v that names the owner", other, err, snapshot.ErrForeign)
		}
	}
	again, err := snapshot.Open(dir, "c", "a") // the refusals left no lock behind
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "registry.owner"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Open(dir, "c", "a"); err == nil || !strings.Contains(err.Error(), "does not name a node") {
		t.Errorf("with an empty owner's file: %v, want an error", err)
	}
}

// TestOpenUnwritable has directories that can't be made or written. Their paths
// stop root too.
func TestOpenUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	deep := t.TempDir() // until there is no room for the name of a file being written
	for {
		deeper := filepath.Join(deep, "dd")
		if _, err := os.Lstat(filepath.Join(deeper, "registry.owner")); errors.Is(err, syscall.ENAMETOOLONG) {
			break
		}
		deep = deeper
	}
	known := filepath.Join(filepath.Dir(deep), "ee") // the same, but the node has used it before
	if err := os.MkdirAll(known, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(known, "registry.owner"), []byte(`{"cluster":"c","node":"a"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), deep, known} {
		d, err := snapshot.Open(dir, "c", "a")
		if err == nil {
			t.Errorf("%.80s: opened, want an error", dir)
			err = d.Close()
		}
		if errors.Is(err, snapshot.ErrInUse) || errors.Is(err, snapshot.ErrForeign) {
			t.Errorf("%.80s: %v, want what the file system reports", dir, err)
		}
	}
}

// TestCancelsDoNotAgeWhileAway cancels an instance that an older file still has,
// and starts both after ten minutes: longer than a cancel is remembered. The time
// away is nobody's, so the cancel is there, and holds against the older copy.
func TestCancelsDoNotAgeWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older, newer := t.TempDir(), t.TempDir()
		r := newRegistry(t)
		key := register(r, "i-0")
		write(t, older, r)
		time.Sleep(time.Second)
		r.Cancel(key, registry.Origin{})
		time.Sleep(time.Minute)
		write(t, newer, r)

		time.Sleep(10 * time.Minute)
		back, other := newRegistry(t), newRegistry(t)
		load(t, newer, back)
		load(t, older, other)
		e, _, ok := back.Entry(key)
		if !ok || e.Record.Live || e.Age != 11*time.Minute || e.Keep != 7*time.Minute {
			t.Fatalf("the cancel is %+v, %t; want it there, 11m old, and kept for the 7m that it had left", e, ok)
		}
		other.Join(key, e, registry.Registered, registry.Origin{Way: registry.ByBatch})
		if _, listed := other.Instance(key); listed {
			t.Error("the older copy is listed, want that the cancel wins")
		}
	})
}
