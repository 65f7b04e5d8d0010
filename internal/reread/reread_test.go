package reread

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func open(t *testing.T, log *bytes.Buffer, names ...string) *Files[string] {
	t.Helper()
	f, err := Open("test", names, slog.New(slog.NewTextHandler(log, nil)), func(contents [][]byte) (*string, error) {
		text := string(bytes.Join(contents, []byte("+")))
		if strings.Contains(text, "bad") {
			return nil, errors.New("it is bad")
		}
		return &text, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLook replaces a file in each way that people and programs do.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As Kubernetes mounts a secret: file → ..data/file, ..data → a directory.
	must(os.Mkdir(at("v1"), 0o700))
	must(os.Mkdir(at("v2"), 0o700))
	write(t, at("v1/file"), "1")
	write(t, at("v2/file"), "2")
	must(os.Symlink("v1", at("..data")))
	must(os.Symlink("..data/file", at("file")))
	write(t, at("other"), "o")
	var log bytes.Buffer
	f := open(t, &log, at("file"), at("other"))
	is := func(want string) {
		t.Helper()
		f.Look()
		if got := *f.Current(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	is("1+o")
	must(os.Symlink("v2", at("..next")))
	must(os.Rename(at("..next"), at("..data")))
	is("2+o")
	// Written in place, of the same length, with the time of before.
	info, err := os.Stat(at("other"))
	must(err)
	write(t, at("other"), "p")
	must(os.Chtimes(at("other"), info.ModTime(), info.ModTime()))
	is("2+p")
	write(t, at("new"), "q")
	must(os.Rename(at("new"), at("other")))
	is("2+q")

	// What can't be used changes nothing, and is told at the second look that finds it.
	lines := func() int { return strings.Count(log.String(), "unusable") }
	write(t, at("other"), "bad")
	is("2+q")
	if lines() != 0 {
		t.Errorf("told at once: %s", &log)
	}
	is("2+q")
	is("2+q")
	if lines() != 1 || !strings.Contains(log.String(), `err="it is bad"`) {
		t.Errorf("told %d times, want once: %s", lines(), &log)
	}
	metrics := prometheus.NewRegistry()
	must(metrics.Register(f))
	show := func(stale, taken, refused string) {
		t.Helper()
		want := "# HELP registryd_files_stale 1 while files can't be used and what was read before is kept, by what they are for.\n" +
			"# TYPE registryd_files_stale gauge\nregistryd_files_stale{use=\"test\"} " + stale + "\n" +
			"# HELP registryd_files_reloads_total Times that changed files were taken, or refused because they can't be used, by what they are for.\n" +
			"# TYPE registryd_files_reloads_total counter\nregistryd_files_reloads_total{outcome=\"refused\",use=\"test\"} " + refused +
			"\nregistryd_files_reloads_total{outcome=\"taken\",use=\"test\"} " + taken + "\n"
		if err := testutil.GatherAndCompare(metrics, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	show("1", "3", "1")
	write(t, at("other"), "q") // as it was
	is("2+q")
	show("0", "3", "1")
	must(os.Remove(at("other")))
	is("2+q")
	is("2+q")
	show("1", "3", "2")
	write(t, at("other"), "r")
	is("2+r")
	show("0", "4", "2")
	write(t, at("other"), strings.Repeat("x", MaxFile+1))
	is("2+r")
}

func TestOpenFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	parse := func([][]byte) (*string, error) { return nil, errors.New("bad") }
	if _, err := Open("test", []string{name}, nil, parse); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, name, "x")
	if _, err := Open("test", []string{name}, nil, parse); err == nil || err.Error() != "bad" {
		t.Errorf("a bad one: %v", err)
	}
}
