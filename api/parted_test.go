package api

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// unzip reads the first member of a gzip file, and fails if there is more.
func unzip(t *testing.T, zipped []byte) []byte {
	t.Helper()
	in := bytes.NewReader(zipped)
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	body, err := io.ReadAll(z) // it checks the checksum and the length
	if err != nil {
		t.Fatal(err)
	}
	if in.Len() > 0 {
		t.Errorf("%d bytes behind the first member", in.Len())
	}
	return body
}

func TestMember(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var d deflater
	for n := range 50 {
		var m member
		var want []byte
		longest := 20_000
		if n%10 == 0 { // also pieces of several windows
			longest = 200_000
		}
		for range n {
			body := make([]byte, rnd.IntN(longest)*rnd.IntN(2))
			for i := range body {
				body[i] = byte('a' + rnd.IntN(3))
			}
			want = append(want, body...)
			if rnd.IntN(2) == 0 {
				m.add(stored(nil, body), body)
			} else {
				m.add(d.deflate(nil, body), body)
			}
		}
		if n == 0 {
			m.add(nil, nil)
		}
		chunks, size := m.finish()
		zipped := slices.Concat(chunks...)
		if len(zipped) != size {
			t.Errorf("size %d, want %d", size, len(zipped))
		}
		if got := unzip(t, zipped); !bytes.Equal(got, want) {
			t.Errorf("%d pieces: %d bytes, want %d", n, len(got), len(want))
		}
	}
}

// TestZeros compares with the checksum of texts in a row.
func TestZeros(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 8, 255, 65_536, 1_000_003} {
		a, b := []byte("registryd"), bytes.Repeat([]byte("x"), n)
		want := crc32.ChecksumIEEE(slices.Concat(a, b))
		if got := times(zeros(n), crc32.ChecksumIEEE(a)) ^ crc32.ChecksumIEEE(b); got != want {
			t.Errorf("%d: %08x, want %08x", n, got, want)
		}
	}
}

// TestPartedList renders lists from parts in all variants, while the registry changes,
// and compares them with lists that are encoded as a whole.
func TestPartedList(t *testing.T) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	lists := make(map[variant]*partedList)
	for step := range 300 {
		for range rnd.IntN(40) {
			key := registry.NewKey(fmt.Sprint("APP", rnd.IntN(3)), fmt.Sprint("i-", rnd.IntN(100)))
			switch rnd.IntN(4) {
			case 0:
				reg.Cancel(key, registry.Origin{})
			case 1:
				reg.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
			default:
				id := key.ID
				reg.Register(&eureka.InstanceInfo{
					InstanceID: &id, HostName: id + strings.Repeat("-long", rnd.IntN(20)), App: key.App, IPAddr: "10.0.0.1",
					Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
					DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: int64(step),
				}, registry.Origin{})
			}
		}
		for i := range variants {
			v := variant{form: eureka.Form{Compact: i&2 != 0}, gzip: i&4 != 0}
			if i&1 != 0 {
				v.form.Format = eureka.XML
			}
			if v.index() != i {
				t.Fatalf("variant %d has index %d", i, v.index())
			}
			l := lists[v]
			if l == nil {
				l = &partedList{read: reg.List, maxAge: -1}
				lists[v] = l
			}
			chunks, size := l.render(v)
			body := slices.Concat(chunks...)
			if len(body) != size {
				t.Errorf("size %d, want %d", size, len(body))
			}
			if v.gzip {
				body = unzip(t, body)
			}
			if want := v.form.AppendApplications(nil, reg.Applications()); !bytes.Equal(body, want) {
				t.Fatalf("step %d, %+v: the list differs", step, v)
			}
		}
	}
}

// TestPartsAreEncodedOnce keeps the bytes of what did not change.
func TestPartsAreEncodedOnce(t *testing.T) {
	n, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		id := fmt.Sprintf("i-%04d", i)
		n.Register(&eureka.InstanceInfo{InstanceID: &id, HostName: id, App: "APP", Status: eureka.StatusUp, LastDirtyTimestamp: 1}, registry.Origin{})
	}
	for _, v := range []variant{{}, {gzip: true}} {
		l := &partedList{read: n.List, maxAge: DefaultMaxAge}
		before, _ := l.render(v)
		n.SetStatus(registry.NewKey("APP", "i-1000"), eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
		after, _ := l.render(v)
		n.SetStatus(registry.NewKey("APP", "i-1000"), eureka.StatusUp, eureka.NoTimestamp, registry.Origin{})
		fresh := 0
		for i := range after {
			if len(after[i]) > 1000 && &after[i][0] != &before[i][0] {
				fresh++
			}
		}
		if fresh != 1 || len(before) != len(after) {
			t.Errorf("%+v: %d parts encoded anew of %d, want 1", v, fresh, len(after))
		}
	}
}
