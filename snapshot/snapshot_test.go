package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/snapshot"
)

func newRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func register(r *registry.Registry, id string) registry.Key {
	r.Register(&eureka.InstanceInfo{
		InstanceID: &id, HostName: id, App: "SNAP", IPAddr: "192.0.2.1", Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, Metadata: map[string]string{"quote": "\"\n<&>", "id": id},
		LastDirtyTimestamp: 5,
	}, false)
	return registry.NewKey("SNAP", id)
}

// written returns a directory with a snapshot of ten instances, one of them
// cancelled and one overridden, and the registry that it was made of.
func written(t *testing.T) (string, *registry.Registry) {
	t.Helper()
	r := newRegistry(t)
	for i := range 10 {
		register(r, fmt.Sprint("i-", i))
	}
	r.Cancel(registry.NewKey("SNAP", "i-3"), false)
	r.SetStatus(registry.NewKey("SNAP", "i-4"), eureka.StatusOutOfService, eureka.NoTimestamp, false)
	dir := filepath.Join(t.TempDir(), "made")
	if n, err := snapshot.Write(dir, "c", r); err != nil || n != 10 {
		t.Fatalf("Write = %d, %v, want 10 entries", n, err)
	}
	return dir, r
}

func TestRoundTrip(t *testing.T) {
	dir, r := written(t)
	back := newRegistry(t)
	if n, err := snapshot.Load(dir, "c", back); err != nil || n != 10 {
		t.Fatalf("Load = %d, %v, want 10 entries", n, err)
	}
	if got, want := back.Digest(), r.Digest(); got != want {
		t.Errorf("digest = %016x, want %016x", got, want)
	}
	if i, ok := back.Instance(registry.NewKey("SNAP", "i-4")); !ok || i.Status != eureka.StatusOutOfService {
		t.Errorf("i-4 = %+v, want OUT_OF_SERVICE", i)
	}
	if _, ok := back.Instance(registry.NewKey("SNAP", "i-3")); ok {
		t.Error("the cancelled one is back")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLeasesGoOnWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		key := register(r, "i-0")
		time.Sleep(30 * time.Second)
		dir := t.TempDir()
		if _, err := snapshot.Write(dir, "c", r); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		back := newRegistry(t)
		if _, err := snapshot.Load(dir, "c", back); err != nil {
			t.Fatal(err)
		}
		e, _, ok := back.Entry(key)
		if !ok || e.Age != 90*time.Second {
			t.Errorf("age = %v, %t; want 90s: 30 before, 60 away", e.Age, ok)
		}
		// It has its whole lease from the start on, and then expires.
		time.Sleep(90 * time.Second)
		if n := back.Evict(); n != 0 {
			t.Error("evicted within its lease from the start")
		}
		time.Sleep(time.Millisecond)
		if n := back.Evict(); n != 1 {
			t.Error("not evicted though its client never came back")
		}
	})
}

// TestUnusable spoils every byte of a file in turn, cuts it everywhere, and more:
// nothing may be joined, and nothing may panic.
func TestUnusable(t *testing.T) {
	dir, _ := written(t)
	file := filepath.Join(dir, snapshot.File)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, body []byte) {
		t.Helper()
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		back := newRegistry(t)
		if _, err := snapshot.Load(dir, "c", back); !errors.Is(err, snapshot.ErrUnusable) {
			t.Fatalf("%s: Load = %v, want %v", name, err, snapshot.ErrUnusable)
		}
		if back.Len() != 0 {
			t.Fatalf("%s: %d entries joined", name, back.Len())
		}
	}
	for i := 0; i < len(good)-1; i += 13 {
		check(fmt.Sprintf("cut after %d bytes", i), good[:i])
	}
	trailer := bytes.LastIndexByte(good[:len(good)-1], '\n') + 1
	for i := 0; i < trailer; i += 13 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		check(fmt.Sprintf("byte %d changed", i), bad)
	}
	for i := len(good) - 10; i < len(good)-4; i++ { // digits of the checksum
		bad := bytes.Clone(good)
		bad[i] = 'x'
		check(fmt.Sprintf("byte %d of the checksum changed", i), bad)
	}
	check("another count", bytes.Replace(good, []byte(`"entries":10`), []byte(`"entries":11`), 1))
	lines := bytes.SplitAfter(good, []byte("\n"))
	swapped := bytes.Join([][]byte{lines[0], lines[2], lines[1], bytes.Join(lines[3:], nil)}, nil)
	check("two lines swapped", swapped)
	check("more after the trailer", append(bytes.Clone(good), "x\n"...))
	check("empty", nil)
	check("foreign", []byte("#!/bin/sh\necho hello\n"))
	check("another format", bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1))
	check("another cluster", bytes.Replace(good, []byte(`"cluster":"c"`), []byte(`"cluster":"d"`), 1))
	aside, err := snapshot.SetAside(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(aside); err != nil {
		t.Errorf("set aside: %v", err)
	}
	if _, err := snapshot.Load(dir, "c", newRegistry(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load after it was set aside = %v, want %v", err, fs.ErrNotExist)
	}
}

// TestFailedWriteKeepsTheFormer makes the directory's place a file, and the
// directory unwritable by being gone.
func TestFailedWriteKeepsTheFormer(t *testing.T) {
	dir, r := written(t)
	before, err := os.ReadFile(filepath.Join(dir, snapshot.File))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Write(filepath.Join(dir, snapshot.File), "c", r); err == nil {
		t.Error("Write below a file succeeded")
	}
	after, err := os.ReadFile(filepath.Join(dir, snapshot.File))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the former snapshot changed (%v)", err)
	}
}

func BenchmarkWriteLoad(b *testing.B) {
	r, err := registry.New(registry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		register(r, fmt.Sprint("i-", i))
	}
	dir := b.TempDir()
	b.Run("Write10k", func(b *testing.B) {
		for b.Loop() {
			if _, err := snapshot.Write(dir, "c", r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Load10k", func(b *testing.B) {
		for b.Loop() {
			back, err := registry.New(registry.Options{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := snapshot.Load(dir, "c", back); err != nil {
				b.Fatal(err)
			}
		}
	})
}
