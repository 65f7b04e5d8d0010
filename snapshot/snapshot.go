// Package snapshot keeps what a registry holds in a file, so that a node, or a
// whole cluster, that comes back serves what was alive before.
//
//	registry ──Entries──▶ Write ──▶ DIR/registry.snapshot (whole or not at all)
//	DIR/registry.snapshot ──▶ Load ──Restore──▶ registry
//
// Blocks of it are encoded and decoded on all cores, a few at a time.
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
	"sync"
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
	var code coder
	err = inOrder(reg.Entries(), code.lines, func(run encoded) error {
		entries += run.entries
		_, err := out.Write(*run.lines)
		code.buffers.Put(run.lines)
		return err
	})
	if err != nil {
		return 0, err
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

// coder encodes and decodes blocks, from any goroutine.
type coder struct {
	buffers sync.Pool // the bytes of blocks that are not used any more
}

// buffer returns an empty buffer with room for so many bytes.
func (c *coder) buffer(size int) *[]byte {
	if b, ok := c.buffers.Get().(*[]byte); ok && cap(*b) >= size {
		*b = (*b)[:0]
		return b
	}
	return new(make([]byte, 0, size))
}

// encoded is the lines of a run of entries.
type encoded struct {
	lines   *[]byte // of buffers
	entries int
}

// usualLine is about how many bytes an entry has.
const usualLine = 1500

// lines encodes a run of entries.
func (c *coder) lines(run []registry.Known) encoded {
	out := c.buffer(len(run) * usualLine)
	for i := range run {
		item := run[i].Entry.Item(run[i].Key, 0)
		*out = append(eureka.AppendItem(*out, &item), '\n')
	}
	return encoded{out, len(run)}
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

// Decode is Load for the bytes of a snapshot, from where r stands. It reads them twice: to
// check them, and to join what they hold.
func Decode(r io.ReadSeeker, cluster string, reg *registry.Registry) (Loaded, error) {
	at, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return Loaded{}, fmt.Errorf("snapshot: %w", err)
	}
	c, err := check(r, cluster)
	if err == nil {
		_, err = r.Seek(at+c.begin, io.SeekStart)
	}
	var loaded Loaded
	if err == nil {
		loaded, err = c.join(io.LimitReader(r, c.bytes), reg)
	}
	if err != nil {
		return Loaded{}, fmt.Errorf("snapshot: %w", err)
	}
	return loaded, nil
}

// content is a file that is as it was written.
type content struct {
	header

	begin, bytes int64 // where the entries begin, and how long they are
	entries      int
}

// check reads a whole file.
func check(r io.Reader, cluster string) (content, error) {
	lines := bufio.NewReaderSize(r, 1<<18)
	sum := sha256.New()
	var c content
	line, err := nextLine(lines)
	if err == nil {
		err = json.Unmarshal(line, &c.header)
	}
	switch {
	case err != nil:
		return c, fmt.Errorf("%w: no header: %w", ErrUnusable, err)
	case c.Snapshot != magic:
		return c, fmt.Errorf("%w: no header of a snapshot", ErrUnusable)
	case c.Format != Format:
		return c, fmt.Errorf("%w: format %d, this program reads %d", ErrUnusable, c.Format, Format)
	case c.Cluster != cluster:
		return c, fmt.Errorf("%w: of cluster %.80q, not %q", ErrUnusable, c.Cluster, cluster)
	}
	sum.Write(line)
	c.begin = int64(len(line))
	for {
		line, err := nextLine(lines)
		if err != nil {
			return c, fmt.Errorf("%w: torn after %d entries (%w)", ErrUnusable, c.entries, err)
		}
		var tail trailer
		if bytes.HasPrefix(line, []byte(`{"entries":`)) && json.Unmarshal(line, &tail) == nil {
			return c, tail.check(c.entries, sum, lines)
		}
		sum.Write(line)
		c.bytes += int64(len(line))
		c.entries++
	}
}

// join joins the entries.
func (c *content) join(r io.Reader, reg *registry.Registry) (Loaded, error) {
	var loaded Loaded
	away := max(0, time.Since(time.UnixMilli(c.Written)))
	var failed error
	var code coder
	blocks := func(yield func(*[]byte) bool) {
		in := bufio.NewReaderSize(r, 1<<12)
		for more := true; more; {
			block := code.buffer(blockSize + 8<<10)
			if failed = nextBlock(in, block); failed != nil {
				return
			}
			more = len(*block) > 0 && yield(block)
		}
	}
	n := 0 // the entry
	err := inOrder(blocks, code.parseAll, func(items []item) error {
		for i := range items {
			n++
			it := &items[i]
			if it.err == nil && reg.Restore(it.key, it.entry, away) == registry.Refused {
				it.err = fmt.Errorf("%.200s: %w", it.key, reg.Refuses(it.key, &it.entry))
			}
			if it.err == nil {
				loaded.Entries++
				continue
			}
			if loaded.Skipped++; loaded.Sample == nil {
				loaded.Sample = fmt.Errorf("entry %d: %w", n, it.err)
			}
		}
		return nil
	})
	return loaded, errors.Join(err, failed)
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

// nextLine returns a line, good until the next call.
func nextLine(r *bufio.Reader) ([]byte, error) {
	part, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return part, err
	}
	line := bytes.Clone(part)
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

// blockSize is how many bytes are read at a time, and then the rest of the line.
const blockSize = 256 << 10

// nextBlock reads some lines into a buffer with room for them, or none at the end.
func nextBlock(r *bufio.Reader, block *[]byte) error {
	n, err := io.ReadFull(r, (*block)[:blockSize])
	*block = (*block)[:n]
	if err != nil {
		return ignore(ignore(err, io.EOF), io.ErrUnexpectedEOF)
	}
	for (*block)[len(*block)-1] != '\n' {
		part, err := r.ReadSlice('\n')
		*block = append(*block, part...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	return nil
}

// item is an entry of a file.
type item struct {
	key   registry.Key
	entry registry.Entry
	err   error // why it could not be understood
}

// parseAll reads the items of some lines, whose buffer it gives back.
func (c *coder) parseAll(block *[]byte) []item {
	items := make([]item, 0, bytes.Count(*block, []byte("\n")))
	var list []byte
	for line := range bytes.Lines(*block) {
		items = append(items, parse(&list, line))
	}
	c.buffers.Put(block)
	return items
}

// parse reads one item by the codec of lists. list is a buffer.
func parse(list *[]byte, line []byte) item {
	*list = eureka.JoinReplicationList((*list)[:0], [][]byte{bytes.TrimSuffix(line, []byte("\n"))})
	all, err := eureka.DecodeReplicationList(*list, eureka.ListOptions{NATS: true, MaxItems: 2})
	switch {
	case err != nil:
		return item{err: err}
	case len(all) != 1:
		return item{err: fmt.Errorf("%d items in a line", len(all))}
	}
	it := item{key: registry.NewKey(all[0].AppName, all[0].ID)}
	var carried registry.Bits
	it.entry, carried, err = registry.FromItem(&all[0])
	if err == nil && carried&registry.Registered == 0 {
		err = fmt.Errorf("a %s", all[0].Action)
	}
	if err != nil {
		it.err = fmt.Errorf("%.200s: %w", it.key, err)
	}
	return it
}
