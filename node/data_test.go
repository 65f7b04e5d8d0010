package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/snapshot"
)

// often is a time between snapshots that a test can wait for.
const often = 50 * time.Millisecond

// stock registers instances a to e at a node, of which c is cancelled, b and d
// are overridden, and d's override is removed again. It returns what the node
// lists then.
func stock(t *testing.T, n testNode) listing {
	t.Helper()
	ctx := t.Context()
	register(t, n, "a", "b", "c", "d", "e")
	for _, err := range []error{
		n.SetStatus(ctx, "ORDERS", "b", eureka.StatusOutOfService),
		n.SetStatus(ctx, "ORDERS", "d", eureka.StatusOutOfService),
		n.DeleteStatus(ctx, "ORDERS", "d", eureka.StatusUp),
		n.SetMetadata(ctx, "ORDERS", "e", map[string]string{"generation": "2"}),
		n.Cancel(ctx, "ORDERS", "c"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := list(ctx, n.Client)
	if err != nil {
		t.Fatal(err)
	}
	if got := all["b"]; len(all) != 4 || got.status != eureka.StatusOutOfService || got.override != eureka.StatusOutOfService {
		t.Fatalf("%s lists %+v, want a, b, d and e, and b out of service", n.Name(), all)
	}
	return all
}

// checkStock reports whether a list is the one that stock returned.
func checkStock(got, want listing) error {
	if !maps.Equal(got, want) {
		return fmt.Errorf("it lists %+v, want %+v", got, want)
	}
	return nil
}

// TestRestartServesTheSame stops a node and starts it again, while a client
// continually reads its list.
func TestRestartServesTheSame(t *testing.T) {
	t.Parallel()
	opts := node.Options{Name: "n1", Listen: natstest.FreeAddress(t), DataDir: filepath.Join(t.TempDir(), "made", "by", "it")}
	first := start(t, opts)
	want := stock(t, first)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	reader := startReader(t, opts.Listen, func(got listing) error { return checkStock(got, want) })
	again := start(t, opts)
	ready(t, again, "ready")
	reader.waitFor(t, 10)
	reader.stop(t)

	// The cancelled instance is no longer known: its client has to register. The
	// override is still there, and its removal shows the status below it.
	ctx := t.Context()
	for id, want := range map[string]error{"a": nil, "b": nil, "c": client.ErrNotFound, "d": nil, "e": nil} {
		if err := again.Heartbeat(ctx, "ORDERS", id, "", eureka.NoTimestamp); !errors.Is(err, want) {
			t.Errorf("heartbeat of %s: got %v, want %v", id, err, want)
		}
	}
	if err := again.DeleteStatus(ctx, "ORDERS", "b", eureka.StatusUp); err != nil {
		t.Error(err)
	}
	if b, err := again.Instance(ctx, "ORDERS", "b"); err != nil || b.Status != eureka.StatusUp || b.OverriddenStatus != eureka.StatusUnknown {
		t.Errorf("b without its override: got %+v, %v, want UP and UNKNOWN", b, err)
	}
	register(t, again, "c")
	if err := lists(ctx, again, "a", "b", "c", "d", "e"); err != nil {
		t.Error(err)
	}
}

// TestSnapshotsAtIntervals starts a node with a copy of another one's snapshot,
// made while that one ran, as after a kill.
func TestSnapshotsAtIntervals(t *testing.T) {
	t.Parallel()
	began := time.Now()
	opts := node.Options{Name: "n1", DataDir: t.TempDir(), SnapshotInterval: often}
	first := start(t, opts)
	m := scrape(t, first)
	if writes, _ := m.find("registryd_snapshot_writes_total"); writes != 0 || m.value("registryd_snapshot_entries") != 0 {
		t.Errorf("%v writes and %v entries before there is anything to keep, want 0",
			writes, m.value("registryd_snapshot_entries"))
	}
	want := stock(t, first)
	waitForSnapshot(t, first)
	copied := copyDir(t, opts.DataDir)
	m = scrape(t, first)
	if got := m.value("registryd_snapshot_entries"); got != 5 {
		t.Errorf("entries in the snapshot: got %v, want 5, a tombstone among them", got)
	}
	if got := m.value("registryd_snapshot_last_success_timestamp_seconds"); got < float64(began.Unix()) || got > float64(time.Now().Unix()+1) {
		t.Errorf("last success: got %.0f, want a time from %d on", got, began.Unix())
	}
	if failed, _ := m.find("registryd_snapshot_writes_total", "outcome", "failed"); failed != 0 {
		t.Errorf("%v writes have failed", failed)
	}
	// Later changes are not in the copy.
	register(t, first, "late")
	waitForSnapshot(t, first)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	// The copy also holds a part of the write that was under way.
	half := filepath.Join(copied, snapshot.File+".tmp-123456789")
	if err := os.WriteFile(half, []byte(`{"snapshot":"registryd","format":1,"clus`), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.DataDir = copied
	again := start(t, opts)
	ready(t, again, "ready")
	got, err := list(t.Context(), again.Client)
	if err = errors.Join(err, checkStock(got, want)); err != nil {
		t.Error(err)
	}
	if err := again.Heartbeat(t.Context(), "ORDERS", "c", "", eureka.NoTimestamp); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("heartbeat of the cancelled instance: got %v, want %v", err, client.ErrNotFound)
	}
}

// TestUnusableSnapshotIsSetAside starts nodes with files that can't be read, or
// can't be trusted.
func TestUnusableSnapshotIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, node.Options{Name: "n1", DataDir: dir})
	stock(t, first)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, snapshot.File))
	if err != nil {
		t.Fatal(err)
	}
	// replaced is the good file with the first match of a pattern replaced.
	replaced := func(pattern, by string) []byte {
		at := regexp.MustCompile(pattern).FindIndex(good)
		if at == nil {
			t.Fatalf("%s in no %s", pattern, good)
		}
		return bytes.Join([][]byte{good[:at[0]], []byte(by), good[at[1]:]}, nil)
	}
	for _, test := range []struct {
		name string
		body []byte
		want string // in the log
	}{
		{"torn within an entry", good[:len(good)/2], "torn"},
		{"torn before the trailer", good[:bytes.LastIndexByte(good[:len(good)-1], '\n')+1], "torn"},
		{"empty", nil, "no header"},
		{"of a format to come", replaced(`"format":1`, `"format":2`), "format 2, this program reads 1"},
		{"of somebody else", []byte("[general]\nname = orders\n"), "no header"},
		{"of another cluster", replaced(`"cluster":"test"`, `"cluster":"prod"`), `cluster "prod", not "test"`},
		{"wrong checksum", replaced(`"sha256":"........`, `"sha256":"00000000`), "checksum"},
		{"an entry was changed", replaced(`"age":\d+`, `"age":987654`), "checksum"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, snapshot.File), test.body, 0o600); err != nil {
				t.Fatal(err)
			}
			log := &lines{}
			opts := node.Options{Name: "n1", DataDir: dir, SnapshotInterval: often, Logger: log.logger()}
			n := start(t, opts)
			ready(t, n, "ready")
			if err := lists(t.Context(), n); err != nil {
				t.Error(err)
			}

			errs := log.with(t, "level", "ERROR")
			if len(errs) != 1 || errs[0]["component"] != "snapshot" || errs[0]["msg"] != "snapshot unusable, set aside" ||
				!strings.Contains(fmt.Sprint(errs[0]["err"]), test.want) {
				t.Fatalf("errors in the log: got %v, want one that says %q", errs, test.want)
			}
			aside := fmt.Sprint(errs[0]["file"])
			if kept, err := os.ReadFile(aside); err != nil || !bytes.Equal(kept, test.body) || filepath.Dir(aside) != dir {
				t.Errorf("set aside as %s: %d bytes, %v, want the file as it was, in %s", aside, len(kept), err, dir)
			}
			if _, err := os.Stat(filepath.Join(dir, snapshot.File)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file itself: got %v, want none", err)
			}
			m := scrape(t, n)
			if writes, _ := m.find("registryd_snapshot_writes_total"); writes != 0 || m.value("registryd_snapshot_entries") != 0 {
				t.Errorf("%v writes and %v entries at the start, want 0", writes, m.value("registryd_snapshot_entries"))
			}

			// The node continues with a file of its own.
			register(t, n, "new")
			waitForSnapshot(t, n)
			if got := scrape(t, n).value("registryd_snapshot_entries"); got != 1 {
				t.Errorf("entries in the new snapshot: got %v, want 1", got)
			}
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			again := start(t, opts)
			if err := lists(t.Context(), again, "new"); err != nil {
				t.Error(err)
			}
			if kept, err := os.ReadFile(aside); err != nil || !bytes.Equal(kept, test.body) {
				t.Errorf("the file that was set aside: %d bytes, %v, want it untouched", len(kept), err)
			}
		})
	}
}

// TestSnapshotsFail removes the directory for a while: clients notice nothing;
// the metrics and two lines in the log show it.
func TestSnapshotsFail(t *testing.T) {
	t.Parallel()
	const writes = "registryd_snapshot_writes_total"
	dir := filepath.Join(t.TempDir(), "data")
	log := &lines{}
	n := start(t, node.Options{Name: "n1", DataDir: dir, SnapshotInterval: often, Logger: log.logger()})
	register(t, n, "a")
	waitForSnapshot(t, n)

	// A file in its place stops root too.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	for { // a write may make the directory anew in between
		if err := os.WriteFile(dir, nil, 0o600); err == nil {
			break
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "writes fail", func() error {
		if got, _ := scrape(t, n).find(writes, "outcome", "failed"); got < 3 {
			return fmt.Errorf("%v have", got)
		}
		return nil
	})
	m := scrape(t, n)
	last, done := m.value("registryd_snapshot_last_success_timestamp_seconds"), m.value(writes, "outcome", "ok")
	ready(t, n, "ready")
	register(t, n, "b")
	if err := lists(t.Context(), n, "a", "b"); err != nil {
		t.Error(err)
	}
	if code, body, err := get(t, n, "/healthz"); err != nil || code != http.StatusOK {
		t.Errorf("/healthz: got %d %q, %v", code, body, err)
	}
	m = scrape(t, n)
	if got := m.value("registryd_snapshot_last_success_timestamp_seconds"); got != last {
		t.Errorf("last success while all fail: got %v, want %v", got, last)
	}
	if got := m.value(writes, "outcome", "ok"); got != done {
		t.Errorf("writes that succeed while all fail: got %v, want %v", got, done)
	}

	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	waitForSnapshot(t, n)
	if got := scrape(t, n).value("registryd_snapshot_entries"); got != 2 {
		t.Errorf("entries in the snapshot: got %v, want 2", got)
	}
	// Not once for each write. Removing the directory may be a change of its own.
	failing := len(log.with(t, "msg", "snapshot failed", "level", "ERROR"))
	working := len(log.with(t, "msg", "snapshots recovered", "level", "INFO"))
	if failing < 1 || failing > 2 || working != failing {
		t.Errorf("%d lines say that snapshots fail and %d that they work again, want once for each change", failing, working)
	}
}

// waitForSnapshot waits until a node has written a snapshot of everything that
// it knows now: the second one from now began after this moment.
func waitForSnapshot(tb testing.TB, n testNode) {
	tb.Helper()
	written := func() float64 {
		ok, _ := scrape(tb, n).find("registryd_snapshot_writes_total", "outcome", "ok")
		return ok
	}
	before := written()
	eventually(tb, n.Name()+" writes two snapshots", func() error {
		if got := written() - before; got < 2 {
			return fmt.Errorf("it has written %v", got)
		}
		return nil
	})
}

// copyDir copies a directory as it is found at some moment, and returns the copy.
func copyDir(tb testing.TB, dir string) string {
	tb.Helper()
	to := tb.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a write was under way
		}
		if err = errors.Join(err, os.WriteFile(filepath.Join(to, f.Name()), body, 0o600)); err != nil {
			tb.Fatal(err)
		}
	}
	return to
}
