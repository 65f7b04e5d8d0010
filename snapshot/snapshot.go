// Package snapshot keeps what a registry holds in a file, so that a node, or a
// whole cluster, that comes back serves what was alive before.
//
//	registry ──AllVersions, Entry──▶ Write ──▶ DIR/registry.snapshot (whole or not at all)
//	DIR/registry.snapshot ──▶ Load ──Restore──▶ registry
//
// The file is text: a header, an item of a ReplicationList per line, and a
// trailer with the count and the SHA-256 of all before it. Leases are kept as
// ages at the time of writing. The time away is added to them when it loads, but does
// not shorten the time for which cancels and evictions are remembered.
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
	if err = os.MkdirAll(dir, 0o750); err == nil {
		err = replace(dir, File, func(w io.Writer) (err error) {
			entries, err = Encode(w, cluster, reg)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	return entries, nil
}

// replace writes a file: whole, with its bytes on the disk, or not at all.
func replace(dir, name string, content func(io.Writer) error) error {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	if err = content(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
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

// Encode writes the bytes of a snapshot of reg and returns how many entries they
// hold. Its errors are those of w.
func Encode(w io.Writer, cluster string, reg *registry.Registry) (int, error) {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head, err := json.Marshal(header{
		Snapshot: magic, Format: Format, Cluster: cluster, Written: time.Now().UnixMilli(),
	})
	if err != nil {
		return 0, err
	}
	out.Write(append(head, '\n')) //nolint:errcheck // Flush returns the first error.
	entries := 0
	var line []byte
	for v := range reg.AllVersions() {
		entry, evicted, ok := reg.Entry(v.Key)
		if !ok {
			continue
		}
		entry.Evicted = evicted
		item := entry.Item(v.Key, 0)
		line = append(eureka.AppendItem(line[:0], &item), '\n')
		out.Write(line) //nolint:errcheck // Flush returns the first error.
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

// Loaded is what became of the entries of a snapshot.
type Loaded struct {
	Entries int   // joined
	Skipped int   // not understood, and left out
	Sample  error // why the first of these was; nil: there is none
}

// Load joins the snapshot in dir into reg. Nothing is joined from a file that is
// not usable. In one that is as it was written, an entry that this program can't
// understand costs itself only: it is skipped, and counted in the result.
//
// The time since the file was written ages leases, but does not count against cancels:
// a cancel is forgotten once every node had the time to learn it, and while the cluster
// was away none had. Else a cancel would be undone by another node's older copy.
//
// Errors: fs.ErrNotExist when there is no file; ErrUnusable, wrapped with what is
// wrong.
func Load(dir, cluster string, reg *registry.Registry) (Loaded, error) {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return Loaded{}, fmt.Errorf("snapshot: %w", err)
	}
	loaded, err := Decode(f, cluster, reg)
	return loaded, errors.Join(err, f.Close())
}

// Decode is Load for the bytes of a snapshot.
func Decode(r io.Reader, cluster string, reg *registry.Registry) (Loaded, error) {
	head, c, err := read(r, cluster)
	if err != nil {
		return Loaded{}, fmt.Errorf("snapshot: %w", err)
	}
	refused := 0
	away := max(0, time.Since(time.UnixMilli(head.Written)))
	for i := range c.items {
		if reg.Restore(c.items[i].key, c.items[i].entry, away) == registry.Refused {
			err := reg.Refuses(c.items[i].key, &c.items[i].entry)
			c.skip(fmt.Errorf("entry %d: %.200s: %w", i+1, c.items[i].key, err))
			refused++
		}
	}
	return Loaded{Entries: len(c.items) - refused, Skipped: c.skipped, Sample: c.sample}, nil
}

type item struct {
	key   registry.Key
	entry registry.Entry
}

// content is the entries of a file.
type content struct {
	items   []item
	skipped int   // lines that are no entry
	sample  error // of these
}

func (c *content) lines() int { return len(c.items) + c.skipped }

func (c *content) skip(why error) {
	if c.skipped++; c.sample == nil {
		c.sample = why
	}
}

// read returns a snapshot's content once all of it is known to be as written.
func read(r io.Reader, cluster string) (header, content, error) {
	lines := bufio.NewReaderSize(r, 1<<16)
	sum := sha256.New()
	var head header
	line, err := nextLine(lines)
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	switch {
	case err != nil:
		return head, content{}, fmt.Errorf("%w: no header: %w", ErrUnusable, err)
	case head.Snapshot != magic:
		return head, content{}, fmt.Errorf("%w: no header of a snapshot", ErrUnusable)
	case head.Format != Format:
		return head, content{}, fmt.Errorf("%w: format %d, this program reads %d", ErrUnusable, head.Format, Format)
	case head.Cluster != cluster:
		return head, content{}, fmt.Errorf("%w: of cluster %.80q, not %q", ErrUnusable, head.Cluster, cluster)
	}
	sum.Write(line)
	c, err := readContent(lines, sum)
	return head, c, err
}

func readContent(lines *bufio.Reader, sum hash.Hash) (content, error) {
	var c content
	for {
		line, err := nextLine(lines)
		if err != nil {
			return c, fmt.Errorf("%w: torn after %d entries (%w)", ErrUnusable, c.lines(), err)
		}
		var tail trailer
		if bytes.HasPrefix(line, []byte(`{"entries":`)) && json.Unmarshal(line, &tail) == nil {
			return c, tail.check(c.lines(), sum, lines)
		}
		sum.Write(line)
		it, err := parse(line)
		if err != nil {
			c.skip(fmt.Errorf("entry %d: %w", c.lines()+1, err))
			continue
		}
		c.items = append(c.items, it)
	}
}

func (t *trailer) check(entries int, sum hash.Hash, rest *bufio.Reader) error {
	if got := hex.EncodeToString(sum.Sum(nil)); t.Entries != entries || t.SHA256 != got {
		return fmt.Errorf("%w: %d entries with checksum %.16s…, the trailer says %d with %.16s…",
			ErrUnusable, entries, got, t.Entries, t.SHA256)
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
	key := registry.NewKey(list[0].AppName, list[0].ID)
	entry, carried, err := registry.FromItem(&list[0])
	if err == nil && carried&registry.Registered == 0 {
		err = fmt.Errorf("a %s", list[0].Action)
	}
	if err != nil {
		err = fmt.Errorf("%.200s: %w", key, err)
	}
	return item{key, entry}, err
}
