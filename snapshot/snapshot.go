// Package snapshot keeps what a registry holds in a file, so that a node, or a
// whole cluster, that comes back serves what was alive before.
//
//	registry ──All, Entry──▶ Write ──▶ DIR/registry.snapshot (whole or not at all)
//	DIR/registry.snapshot ──▶ Load ──Join──▶ registry
//
// The file is text: a header, an item of a ReplicationList per line, and a
// trailer with the count and the SHA-256 of all before it. Leases are kept as
// ages at the time of writing; what a node was away is added when it loads.
package snapshot

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const (
	// File is the name of the snapshot in its directory.
	File = "registry.snapshot"
	// Format is the version of the file that this program writes, and the only
	// one that it reads.
	Format = 1
	// MaxLine bounds a line of the file, in bytes: an instance is refused at
	// registration long before.
	MaxLine = 16 << 20
)

// ErrUnusable is wrapped in the error for a file that is torn, changed, of
// another format, or no snapshot at all.
var ErrUnusable = errors.New("snapshot is not usable")

// header is the first line.
type header struct {
	Snapshot string `json:"snapshot"` // magic
	Format   int    `json:"format"`
	Cluster  string `json:"cluster"`
	Written  int64  `json:"written"` // ms since 1970
}

const magic = "registryd"

// trailer is the last line.
type trailer struct {
	Entries int    `json:"entries"`
	SHA256  string `json:"sha256"` // of every byte before this line
}

// Write writes a snapshot of reg into dir and returns how many entries it holds.
// The file is there whole, with its bytes on the disk, or not at all: after an
// error the former one is as it was. The directory is made if it is missing.
func Write(dir, cluster string, reg *registry.Registry) (entries int, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	f, err := os.CreateTemp(dir, File+".tmp-*")
	if err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("snapshot: %w", err), ignore(f.Close(), os.ErrClosed), ignore(os.Remove(f.Name()), fs.ErrNotExist))
		}
	}()
	if entries, err = write(f, cluster, reg); err != nil {
		return 0, err
	}
	if err = f.Sync(); err != nil {
		return 0, err
	}
	if err = f.Close(); err != nil {
		return 0, err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, File)); err != nil {
		return 0, err
	}
	return entries, syncDir(dir)
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// syncDir puts a rename onto the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func write(w io.Writer, cluster string, reg *registry.Registry) (int, error) {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head, err := json.Marshal(header{Snapshot: magic, Format: Format, Cluster: cluster, Written: time.Now().UnixMilli()})
	if err != nil {
		return 0, err
	}
	out.Write(append(head, '\n')) //nolint:errcheck // Flush tells the first error.
	entries := 0
	var line []byte
	for key := range reg.All() {
		entry, evicted, ok := reg.Entry(key)
		if !ok || evicted {
			continue
		}
		item := entry.Item(key, 0)
		line = append(eureka.AppendItem(line[:0], &item), '\n')
		out.Write(line) //nolint:errcheck // Flush tells the first error.
		entries++
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	tail, err := json.Marshal(trailer{Entries: entries, SHA256: hex.EncodeToString(sum.Sum(nil))})
	if err != nil {
		return 0, err
	}
	_, err = w.Write(append(tail, '\n'))
	return entries, err
}

// Load joins the snapshot in dir into reg and returns how many entries it held.
// Nothing is joined from a file that is not usable. Errors: fs.ErrNotExist when
// there is none; ErrUnusable, wrapped with what is wrong.
func Load(dir, cluster string, reg *registry.Registry) (int, error) {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	head, items, err := read(f, cluster)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	away := max(0, time.Since(time.UnixMilli(head.Written)))
	for i := range items {
		items[i].entry.Age += away
		reg.Join(items[i].key, items[i].entry, registry.Registered|registry.Overridden)
	}
	return len(items), nil
}

type item struct {
	key   registry.Key
	entry registry.Entry
}

// read returns a snapshot's content once all of it is known to be good.
func read(r io.Reader, cluster string) (header, []item, error) {
	lines := bufio.NewReaderSize(r, 1<<16)
	sum := sha256.New()
	var head header
	line, err := nextLine(lines)
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	switch {
	case err != nil:
		return head, nil, fmt.Errorf("%w: no header: %w", ErrUnusable, err)
	case head.Snapshot != magic:
		return head, nil, fmt.Errorf("%w: no header of a snapshot", ErrUnusable)
	case head.Format != Format:
		return head, nil, fmt.Errorf("%w: format %d, this program reads %d", ErrUnusable, head.Format, Format)
	case head.Cluster != cluster:
		return head, nil, fmt.Errorf("%w: of cluster %.80q, not %q", ErrUnusable, head.Cluster, cluster)
	}
	sum.Write(line)
	items, err := readItems(lines, sum)
	return head, items, err
}

func readItems(lines *bufio.Reader, sum hash.Hash) ([]item, error) {
	var items []item
	for {
		line, err := nextLine(lines)
		if err != nil {
			return nil, fmt.Errorf("%w: torn after %d entries (%w)", ErrUnusable, len(items), err)
		}
		var tail trailer
		if bytes.HasPrefix(line, []byte(`{"entries":`)) && json.Unmarshal(line, &tail) == nil {
			return items, tail.check(len(items), sum, lines)
		}
		sum.Write(line)
		it, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrUnusable, len(items)+1, err)
		}
		items = append(items, it)
	}
}

func (t *trailer) check(entries int, sum hash.Hash, rest *bufio.Reader) error {
	if got := hex.EncodeToString(sum.Sum(nil)); t.Entries != entries || t.SHA256 != got {
		return fmt.Errorf("%w: %d entries with checksum %.16s…, the trailer says %d with %.16s…", ErrUnusable, entries, got, t.Entries, t.SHA256)
	}
	if _, err := rest.ReadByte(); err == nil {
		return fmt.Errorf("%w: more follows the trailer", ErrUnusable)
	}
	return nil
}

func nextLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > MaxLine:
			return nil, fmt.Errorf("a line of over %d bytes", MaxLine)
		}
	}
}

// parse reads one item by the codec of lists.
func parse(line []byte) (item, error) {
	list, err := eureka.DecodeReplicationList(
		eureka.JoinReplicationList(nil, [][]byte{bytes.TrimSuffix(line, []byte("\n"))}), eureka.ListOptions{NATS: true})
	if err != nil {
		return item{}, err
	}
	if len(list) != 1 {
		return item{}, fmt.Errorf("%d items in a line", len(list))
	}
	entry, carried, err := registry.FromItem(&list[0])
	if err == nil && carried&registry.Registered == 0 {
		err = fmt.Errorf("a %s", list[0].Action)
	}
	return item{registry.NewKey(list[0].AppName, list[0].ID), entry}, err
}

// SetAside renames a snapshot that is not usable, so that it is neither read
// again nor overwritten, and returns its new name.
func SetAside(dir string) (string, error) {
	name := filepath.Join(dir, File)
	aside := fmt.Sprintf("%s.unusable-%s", name, time.Now().UTC().Format("20060102T150405Z"))
	if err := os.Rename(name, aside); err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	return aside, nil
}
