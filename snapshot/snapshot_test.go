package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	}, registry.Origin{})
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
	r.Cancel(registry.NewKey("SNAP", "i-3"), registry.Origin{})
	r.SetStatus(registry.NewKey("SNAP", "i-4"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	dir := filepath.Join(t.TempDir(), "made")
	if n, err := snapshot.Write(dir, "c", r); err != nil || n != 10 {
		t.Fatalf("Write = %d, %v, want 10 entries", n, err)
	}
	return dir, r
}

func TestRoundTrip(t *testing.T) {
	dir, r := written(t)
	back := newRegistry(t)
	if got, err := snapshot.Load(dir, "c", back); err != nil || got != (snapshot.Loaded{Entries: 10}) {
		t.Fatalf("Load = %+v, %v, want 10 entries", got, err)
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

// resealed replaces a line of a good file and has the trailer agree.
func resealed(good []byte, line int, with string) []byte {
	lines := bytes.SplitAfter(good, []byte("\n"))
	lines = lines[:len(lines)-2] // the trailer, and what follows it
	lines[line] = []byte(with + "\n")
	body := bytes.Join(lines, nil)
	return fmt.Appendf(body, `{"entries":%d,"sha256":"%x"}`+"\n", len(lines)-1, sha256.Sum256(body))
}

// TestSkipped has an entry in a sound file that can't be understood: it costs
// the node nothing but itself.
func TestSkipped(t *testing.T) {
	dir, _ := written(t)
	file := filepath.Join(dir, snapshot.File)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(good), "\n")
	change := func(old, with string) string {
		t.Helper()
		for _, line := range lines[1:] {
			if strings.Contains(line, `"id":"i-5"`) {
				if changed := strings.Replace(line, old, with, 1); changed != line {
					return changed
				}
			}
		}
		t.Fatalf("no %s in the entry", old)
		return ""
	}
	at := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, `"id":"i-5"`) })
	for _, test := range []struct{ name, line, want string }{
		{"age out of bounds", change(`"age":`, `"age":-1`), "registryd.age: -1"},
		{"duration out of bounds", change(`"dur":90000`, `"dur":2147483647001`), "SNAP/i-5: registryd.dur: 2147483647001"},
		{"a version at the end of time", change(`"rv":`, `"rv":9`), "registryd.rv: 9"},
		{"another content than its hash", change(`"ipAddr":"192.0.2.1"`, `"ipAddr":"192.0.2.2"`), "registryd.rh"},
		{"a member of a later program", change(`"action"`, `"later":1,"action"`), "unknown member"},
		{"a heartbeat", change(`"Register"`, `"Heartbeat"`), "a Heartbeat"},
		{"two items", change(`"Register"`, `"Register"},{"action":"Register"`), "2 items"},
		{"no JSON", "hello", "entry "},
		{"nothing", "", "0 items"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(file, resealed(good, at, test.line), 0o600); err != nil {
				t.Fatal(err)
			}
			back := newRegistry(t)
			got, err := snapshot.Load(dir, "c", back)
			if err != nil || got.Entries != 9 || got.Skipped != 1 || back.Len() != 9 {
				t.Fatalf("Load = %+v, %v, and %d entries known; want 9 and 1 skipped", got, err, back.Len())
			}
			if want := fmt.Sprintf("entry %d: ", at); got.Sample == nil || !strings.HasPrefix(got.Sample.Error(), want) || !strings.Contains(got.Sample.Error(), test.want) {
				t.Errorf("sample = %v, want %q and %q", got.Sample, want, test.want)
			}
			if _, ok := back.Instance(registry.NewKey("SNAP", "i-5")); ok {
				t.Error("the entry that can't be understood is there")
			}
		})
	}
	// The first of several is the sample.
	body := resealed(resealed(good, 2, "first"), 4, "second")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := snapshot.Load(dir, "c", newRegistry(t))
	if err != nil || got.Entries != 8 || got.Skipped != 2 || !strings.HasPrefix(fmt.Sprint(got.Sample), "entry 2: ") {
		t.Errorf("Load = %+v, %v, want 8, 2 skipped, entry 2 as the sample", got, err)
	}
}

// TestTimeAwayIsNobodysTime: a whole cluster that was down comes back with its cancels
// and evictions, which are remembered for as long as before, and an older copy undoes
// none of them.
func TestTimeAwayIsNobodysTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		evicted, cancelled := register(r, "i-0"), register(r, "i-1")
		older, _, _ := r.Entry(cancelled)
		time.Sleep(2 * time.Minute)
		r.Evict()
		r.Register(older.Record.Info, registry.Origin{})
		r.Cancel(cancelled, registry.Origin{})
		digest, dir := r.Digest(), t.TempDir()
		if n, err := snapshot.Write(dir, "c", r); err != nil || n != 2 {
			t.Fatalf("Write = %d, %v, want 2 entries", n, err)
		}
		time.Sleep(24 * time.Hour)
		r = newRegistry(t)
		if got, err := snapshot.Load(dir, "c", r); err != nil || got.Entries != 2 {
			t.Fatalf("Load = %+v, %v, want 2 entries", got, err)
		}
		r.Forget()
		if e, is, _ := r.Entry(evicted); !is || e.Age != 24*time.Hour+2*time.Minute || e.Keep != 6*time.Minute {
			t.Errorf("evicted %t, age %v, kept for %v; want 24h2m, and the 6m that it had left", is, e.Age, e.Keep)
		}
		older.Age = 24 * time.Hour
		r.Join(cancelled, older, registry.Registered|registry.Overridden, registry.Origin{Way: registry.ByBatch})
		if _, listed := r.Instance(cancelled); listed || r.Digest() != digest {
			t.Errorf("cancelled instance listed: %t; digest %016x, want %016x", listed, r.Digest(), digest)
		}
	})
}

// TestLongestLease: whatever a client may register comes back, as long as the
// longest lease that a node gives lives.
func TestLongestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		id := "i-0"
		info := &eureka.InstanceInfo{
			InstanceID: &id, HostName: id, App: "SNAP", IPAddr: "192.0.2.1", Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 5,
			LeaseInfo: eureka.LeaseInfo{RenewalIntervalInSecs: math.MaxInt32, DurationInSecs: math.MaxInt32},
		}
		r.Register(info, registry.Origin{})
		dir := t.TempDir()
		for range 3 {
			if _, err := snapshot.Write(dir, "c", r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Hour)
			want := r.Digest()
			r = newRegistry(t)
			if got, err := snapshot.Load(dir, "c", r); err != nil || got != (snapshot.Loaded{Entries: 1}) || r.Digest() != want {
				t.Fatalf("Load = %+v, %v, digest %016x; want one entry and %016x", got, err, r.Digest(), want)
			}
		}
	})
}

// TestWrittenAnyTime: a time of writing that can't be makes the leases as old, or
// as young, as can be.
func TestWrittenAnyTime(t *testing.T) {
	dir, _ := written(t)
	file := filepath.Join(dir, snapshot.File)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	good = bytes.ReplaceAll(good, []byte(`"age":`), []byte(`"age":6`)) // not 0
	for _, test := range []struct {
		written  int64
		min, max time.Duration // the ages of the leases
	}{
		{math.MinInt64, 50 * 365 * 24 * time.Hour, math.MaxInt64},
		{-9_000_000_000_000_000, 50 * 365 * 24 * time.Hour, math.MaxInt64},
		{1, 50 * 365 * 24 * time.Hour, math.MaxInt64},
		{9_000_000_000_000_000, 0, time.Minute},
		{math.MaxInt64, 0, time.Minute},
	} {
		body := resealed(good, 0, fmt.Sprintf(`{"snapshot":"registryd","format":1,"cluster":"c","written":%d}`, test.written))
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		back := newRegistry(t)
		got, err := snapshot.Load(dir, "c", back)
		e, _, ok := back.Entry(registry.NewKey("SNAP", "i-5"))
		if err != nil || got.Skipped != 0 || !ok || e.Age < test.min || e.Age > test.max {
			t.Errorf("written %d: Load = %+v, %v; age %v, %t; want %v to %v", test.written, got, err, e.Age, ok, test.min, test.max)
		}
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
