package client

import (
	"bytes"
	"testing"
)

// FuzzEvents reads anything as a stream: no event is longer than the bound, and the reader ends.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{
		"", "id: 1\nevent: change\ndata: {}\n\n", ": x\n\n", "data\n\ndata: a\ndata: b\r\n\r\n", "data: x", "id:\nid: 2\n\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const bound = 64
		s := newEvents(bytes.NewReader(in), bound, func() {})
		for range len(in) + 2 {
			e, err := s.next()
			if err != nil {
				return
			}
			if len(e.data) > bound || bytes.HasSuffix(e.data, []byte("\r")) {
				t.Fatalf("%q: event %q", in, e.data)
			}
		}
		t.Fatalf("%q: more events than bytes", in)
	})
}
