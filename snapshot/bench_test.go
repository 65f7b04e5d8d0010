package snapshot_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/registryd/registryd/bench/process"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/snapshot"
)

// filled returns a registry with so many instances of about 1 kB, and the bytes of its snapshot.
func filled(b *testing.B, size int) (*registry.Registry, []byte) {
	b.Helper()
	r, err := registry.New(registry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	f := process.Fleet{Size: size}
	for i := range size {
		info, err := eureka.DecodeInstance(eureka.JSON, []byte(f.Register(i).Body))
		if err != nil {
			b.Fatal(err)
		}
		r.Register(info, registry.Origin{})
	}
	var out bytes.Buffer
	if _, err := snapshot.Encode(&out, "c", r); err != nil {
		b.Fatal(err)
	}
	return r, out.Bytes()
}

// BenchmarkLoad starts from a snapshot: it checks the bytes, and joins what they hold.
func BenchmarkLoad(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, file := filled(b, size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := registry.New(registry.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if got, err := snapshot.Decode(bytes.NewReader(file), "c", r); err != nil || got.Entries != size {
					b.Fatal(got, err)
				}
			}
			b.SetBytes(int64(len(file)))
		})
	}
}

// BenchmarkSave writes a snapshot, but not onto a disk.
func BenchmarkSave(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r, file := filled(b, size)
			b.ReportAllocs()
			for b.Loop() {
				if n, err := snapshot.Encode(io.Discard, "c", r); err != nil || n != size {
					b.Fatal(n, err)
				}
			}
			b.SetBytes(int64(len(file)))
		})
	}
}
