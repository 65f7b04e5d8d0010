package node_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/snapshot"
)

// TestSkippedEntries starts a node with a snapshot of which one entry can't be
// understood: it serves all others, and logs the loss.
func TestSkippedEntries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, node.Options{Name: "n1", DataDir: dir})
	register(t, first, "a", "b", "c")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, snapshot.File)
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rows := bytes.SplitAfter(body, []byte("\n"))
	rows = rows[:len(rows)-2] // but the trailer
	for i, row := range rows {
		if bytes.Contains(row, []byte(`"id":"b"`)) {
			rows[i] = bytes.Replace(row, []byte(`"age":`), []byte(`"age":-1`), 1)
		}
	}
	body = bytes.Join(rows, nil)
	body = fmt.Appendf(body, `{"entries":3,"sha256":"%x"}`+"\n", sha256.Sum256(body))
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}

	log := &lines{}
	n := start(t, node.Options{Name: "n1", DataDir: dir, Logger: log.logger()})
	if err := lists(t.Context(), n, "a", "c"); err != nil {
		t.Error(err)
	}
	if got := scrape(t, n).value("registryd_snapshot_skipped_entries_total"); got != 1 {
		t.Errorf("entries skipped: got %v, want 1", got)
	}
	warnings := log.with(t, "component", "snapshot", "level", "WARN")
	if len(warnings) != 1 || warnings[0]["entries"] != 1.0 || !strings.Contains(fmt.Sprint(warnings[0]["err"]), "ORDERS/b: registryd.age") {
		t.Errorf("warnings: got %v, want one with 1 entry that names ORDERS/b", warnings)
	}
}

// TestLeftoversAreRemoved starts a node in the directory of one that was killed
// while it wrote.
func TestLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	leftover, other := filepath.Join(dir, snapshot.File+".tmp-123456789"), filepath.Join(dir, snapshot.File+".tmp-mine")
	for _, name := range []string{leftover, other} {
		if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := start(t, node.Options{Name: "n1", DataDir: dir})
	ready(t, n, "ready")
	if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover: got %v, want none", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("the file that is not the node's: %v", err)
	}
}

// lastPlace returns a directory so deep that the names of a snapshot, and of
// one being written, are short enough, but not the name of one that was set
// aside. That stops root too.
func lastPlace(t *testing.T) string {
	t.Helper()
	const writing, aside = snapshot.File + ".tmp-4294967295", snapshot.File + ".unusable-20060102T150405.000000000Z"
	tooLong := func(dir, name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return errors.Is(err, syscall.ENAMETOOLONG)
	}
	dir := t.TempDir()
	for deep := strings.Repeat("d", 100); !tooLong(filepath.Join(dir, deep, deep), aside); {
		dir = filepath.Join(dir, deep)
	}
	for n := 1; !tooLong(dir, aside); n++ {
		if longer := filepath.Join(dir, strings.Repeat("e", n)); tooLong(longer, aside) {
			dir = longer
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil || tooLong(dir, writing) {
		t.Fatalf("no such directory: %d bytes, %v", len(dir), err)
	}
	return dir
}

// TestUnusableSnapshotThatStays starts a node with a snapshot that is unusable
// and can't be set aside: the node serves, logs that, and doesn't overwrite it.
func TestUnusableSnapshotThatStays(t *testing.T) {
	t.Parallel()
	const failed = `registryd_snapshot_writes_total`
	dir := lastPlace(t)
	file := filepath.Join(dir, snapshot.File)
	if err := os.WriteFile(file, []byte("no snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	opts := node.Options{Name: "n1", DataDir: dir, SnapshotInterval: 20 * time.Millisecond, Logger: log.logger()}
	n := start(t, opts)
	ready(t, n, "ready")
	errs := log.with(t, "component", "snapshot", "level", "ERROR")
	if len(errs) != 1 || errs[0]["file"] != file || !strings.Contains(fmt.Sprint(errs[0]["msg"]), "could not be moved, snapshots disabled") ||
		!strings.Contains(fmt.Sprint(errs[0]["err"]), "no header") || !strings.Contains(fmt.Sprint(errs[0]["err"]), "too long") {
		t.Errorf("errors in the log: got %v, want one that names the fault, the file, and why the file stays", errs)
	}
	register(t, n, "a")
	eventually(t, "writes fail", func() error {
		if got := scrape(t, n).value(failed, "outcome", "failed"); got < 3 {
			return fmt.Errorf("%v have", got)
		}
		return nil
	})
	if body, err := os.ReadFile(file); err != nil || string(body) != "no snapshot" {
		t.Errorf("the file: got %q, %v, want it as it was", body, err)
	}

	// An operator removes it.
	if err := os.Rename(file, filepath.Join(t.TempDir(), "looked-at")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a snapshot is written", func() error {
		if got := scrape(t, n).value(failed, "outcome", "ok"); got < 1 {
			return fmt.Errorf("%v are", got)
		}
		return nil
	})
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	opts.Logger = natstest.Logger(t)
	if err := lists(t.Context(), start(t, opts), "a"); err != nil {
		t.Error(err)
	}
}

// TestDataDirectory starts nodes with directories that they can't use.
func TestDataDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, node.Options{Name: "n1", DataDir: dir})
	used := t.TempDir()
	if err := start(t, node.Options{Name: "n1", DataDir: used}).stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		opts node.Options
		want error
		text string
	}{
		{"another process", node.Options{Name: "n1", DataDir: dir}, snapshot.ErrInUse, dir},
		{"another node", node.Options{Name: "n2", DataDir: used}, node.ErrOptions, `"n1" of cluster "test"`},
		{"another cluster", node.Options{Name: "n1", DataDir: used, Cluster: "prod"}, node.ErrOptions, `"n1" of cluster "test"`},
		{"below a file", node.Options{Name: "n1", DataDir: filepath.Join(file, "data")}, node.ErrOptions, "not a directory"},
		{"no name", node.Options{DataDir: used}, node.ErrOptions, "name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.opts.Cluster == "" {
				test.opts.Cluster = natstest.Cluster
			}
			// A broker that does not answer must not delay the refusal.
			test.opts.Broker = broker.Access{URLs: []string{"nats://" + natstest.FreeAddress(t)}}
			_, err := node.Start(t.Context(), test.opts)
			if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("got %v, want %v with %s", err, test.want, test.text)
			}
		})
	}
}

// TestWaitWhenEmpty refuses lists only after a start with nothing to serve.
func TestWaitWhenEmpty(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	opts := node.Options{
		Name: "n1", Broker: broker.Access{Server: server}, DataDir: t.TempDir(), WaitWhenEmpty: time.Hour,
	}
	reads := func(n testNode, want int) {
		t.Helper()
		if code, _, err := get(t, n, "/eureka/apps"); err != nil || code != want {
			t.Errorf("list of %s: got %d, %v, want %d", n.Name(), code, err, want)
		}
	}
	first := start(t, opts)
	ready(t, first, "waiting: nothing to serve, lists are refused")
	reads(first, http.StatusForbidden)
	// An unknown client is asked to register, and its registration is taken.
	if err := first.Heartbeat(t.Context(), "ORDERS", "a", "", eureka.NoTimestamp); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("heartbeat: got %v, want %v", err, client.ErrNotFound)
	}
	register(t, first, "a")
	reads(first, http.StatusForbidden)

	second := start(t, node.Options{Name: "n2", Broker: opts.Broker, WaitWhenEmpty: time.Hour})
	reads(second, http.StatusOK) // a peer knew something
	for _, n := range []testNode{second, first} {
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
	reads(start(t, opts), http.StatusOK) // the snapshot had something
	opts.Name, opts.DataDir, opts.WaitWhenEmpty = "n3", "", time.Millisecond
	opts.Cluster = "other"
	third := start(t, opts)
	eventually(t, "the wait is over", func() error {
		if code, _, err := get(t, third, "/eureka/apps"); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d, %w", code, err)
		}
		return nil
	})
}
