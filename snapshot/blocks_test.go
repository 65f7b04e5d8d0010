package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/snapshot"
)

// TestManyBlocks has more entries than one block, of any length, in any order: as an older
// program wrote them.
func TestManyBlocks(t *testing.T) {
	r := newRegistry(t)
	const entries = 3000
	for i := range entries {
		register(r, fmt.Sprintf("i-%04d%s", i, strings.Repeat("x", i%700)))
	}
	for i := 0; i < entries; i += 7 {
		r.Cancel(registry.NewKey("SNAP", fmt.Sprintf("i-%04d%s", i, strings.Repeat("x", i%700))), registry.Origin{})
	}
	var file bytes.Buffer
	if n, err := snapshot.Encode(&file, "c", r); err != nil || n != entries {
		t.Fatalf("Encode = %d, %v, want %d", n, err, entries)
	}
	if file.Len() < 1<<20 {
		t.Fatalf("%d bytes are too few for several blocks", file.Len())
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, shuffled := range []bool{false, true} {
		lines := bytes.SplitAfter(file.Bytes(), []byte("\n"))
		lines = lines[:len(lines)-2]
		if shuffled {
			some := lines[1:]
			rnd.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		}
		body := bytes.Join(lines, nil)
		good := fmt.Appendf(bytes.Clone(body), `{"entries":%d,"sha256":"%x"}`+"\n", entries, sha256.Sum256(body))
		back := newRegistry(t)
		got, err := snapshot.Decode(bytes.NewReader(good), "c", back)
		if err != nil || got.Entries != entries || got.Skipped != 0 || back.Digest() != r.Digest() {
			t.Fatalf("shuffled %t: Decode = %+v, %v, digest %016x, want %016x", shuffled, got, err, back.Digest(), r.Digest())
		}
		bad := resealed(resealed(good, 2500, "second"), 2400, "first")
		got, err = snapshot.Decode(bytes.NewReader(bad), "c", newRegistry(t))
		if err != nil || got.Entries != entries-2 || got.Skipped != 2 || !strings.HasPrefix(fmt.Sprint(got.Sample), "entry 2400: ") {
			t.Errorf("shuffled %t: Decode = %+v, %v, want two skipped, entry 2400 as the sample", shuffled, got, err)
		}
	}
}

// fullDisk takes so many bytes.
type fullDisk struct{ room int }

var errFull = errors.New("full")

func (d *fullDisk) Write(b []byte) (int, error) {
	if d.room -= len(b); d.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// TestEncodeFails while there is more to encode.
func TestEncodeFails(t *testing.T) {
	r := newRegistry(t)
	for i := range 5000 {
		register(r, fmt.Sprint("i-", i))
	}
	if _, err := snapshot.Encode(&fullDisk{300_000}, "c", r); !errors.Is(err, errFull) {
		t.Errorf("Encode = %v, want %v", err, errFull)
	}
}
