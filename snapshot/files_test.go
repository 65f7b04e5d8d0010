package snapshot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/snapshot"
)

// names returns what is in a directory, sorted.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func create(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemoveLeftovers removes what Write leaves when it is killed, and nothing
// else.
func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{
		snapshot.File, snapshot.File + ".tmp", snapshot.File + ".tmp-", snapshot.File + ".tmp-x", snapshot.File + ".tmp-17x",
		snapshot.File + ".tmp-017", snapshot.File + ".tmp-+17", snapshot.File + ".tmp-17~", "my-" + snapshot.File + ".tmp-17", "other.tmp-17",
		snapshot.File + ".unusable-20260102T030405Z",
	}
	create(t, dir, foreign...)
	if err := os.Mkdir(filepath.Join(dir, snapshot.File+".tmp-18"), 0o700); err != nil {
		t.Fatal(err)
	}
	foreign = append(foreign, snapshot.File+".tmp-18")
	create(t, dir, snapshot.File+".tmp-0", snapshot.File+".tmp-4294967295")
	for range 3 { // as Write does
		f, err := os.CreateTemp(dir, snapshot.File+".tmp-*")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := snapshot.RemoveLeftovers(dir); n != 5 || err != nil {
		t.Errorf("removed %d, %v, want 5", n, err)
	}
	slices.Sort(foreign)
	if got := names(t, dir); !slices.Equal(got, foreign) {
		t.Errorf("left: %q\nwant: %q", got, foreign)
	}
	if n, err := snapshot.RemoveLeftovers(filepath.Join(dir, "missing")); n != 0 || err != nil {
		t.Errorf("in a directory that is not there: removed %d, %v, want none", n, err)
	}
}

// TestAsideIsBounded sets aside again and again, also several times at one
// moment: each file gets a name of its own, and the newest stay.
func TestAsideIsBounded(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause time.Duration
		times int
	}{
		{"at one moment", 0, snapshot.MaxAside},
		{"within a second", 10 * time.Millisecond, 8},
		{"once a minute", time.Minute, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				others := []string{"registry.snapshot.unusable-", "registry.snapshot.unusable-mine", "registry.snapshot.unusable-20000101T000000Z.bak"}
				create(t, dir, others...)
				made := []string{"registry.snapshot.unusable-19991231T235958.000000000Z", "registry.snapshot.unusable-19991231T235959.000000000Z"}
				create(t, dir, made...)
				for i := range test.times {
					create(t, dir, snapshot.File)
					aside, err := snapshot.SetAside(dir)
					if err != nil {
						t.Fatal(err)
					}
					if slices.Contains(made, filepath.Base(aside)) {
						t.Fatalf("%d: %s is another file's name", i, aside)
					}
					made = append(made, filepath.Base(aside))
					want := slices.Concat(others, made[max(0, len(made)-snapshot.MaxAside):])
					slices.Sort(want)
					if got := names(t, dir); !slices.Equal(got, want) {
						t.Fatalf("%d: left: %q\nwant: %q", i, got, want)
					}
					time.Sleep(test.pause)
				}
			})
		})
	}
}

// TestAsideOfAClockSetBack keeps what it has just set aside, whatever its name.
func TestAsideOfAClockSetBack(t *testing.T) {
	dir := t.TempDir()
	for i := range snapshot.MaxAside + 1 {
		create(t, dir, fmt.Sprintf("registry.snapshot.unusable-29990101T00000%d.000000000Z", i))
	}
	create(t, dir, snapshot.File)
	aside, err := snapshot.SetAside(dir)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(aside); err != nil || string(body) != snapshot.File {
		t.Errorf("set aside: %q, %v", body, err)
	}
	if got := names(t, dir); len(got) != snapshot.MaxAside {
		t.Errorf("left: %q, want %d", got, snapshot.MaxAside)
	}
}

// TestAsideFails has no file to set aside, and one that can't be renamed because
// the path would be longer than the system takes.
func TestAsideFails(t *testing.T) {
	if aside, err := snapshot.SetAside(t.TempDir()); aside != "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %q, %v, want %v", aside, err, fs.ErrNotExist)
	}
	dir := t.TempDir()
	for { // as deep as there is room for the snapshot's own name
		deeper := filepath.Join(dir, "dd")
		if _, err := os.Lstat(filepath.Join(deeper, snapshot.File)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = deeper
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	create(t, dir, snapshot.File)
	if aside, err := snapshot.SetAside(dir); aside != "" || err == nil {
		t.Errorf("beyond the longest path: %q, %v, want an error", aside, err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{snapshot.File}) {
		t.Errorf("left: %q, want only %s", got, snapshot.File)
	}
}
