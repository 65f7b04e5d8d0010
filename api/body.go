package api

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Why a body was not read.
var (
	errTooLarge = errors.New("body too large")
	errCoding   = errors.New("unknown content encoding")
	errBusy     = errors.New("too many bodies are held")
)

// firstRead is the room that a body gets at first, in bytes. It grows as the body
// arrives, so that a large Content-Length alone costs nothing.
const firstRead = 16 << 10

// readBody reads a request's body and decompresses it, to at most limit bytes.
// Decompression stops at the limit. in counts the body's bytes while it grows. The error
// is errTooLarge, errCoding, errBusy, or that of reading or decompressing.
func (h *Handler) readBody(r *http.Request, limit int, in *held) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, errTooLarge
	}
	switch gzips, ok := codings(header(r.Header, "Content-Encoding")); {
	case !ok || gzips > 1:
		return nil, errCoding
	case gzips == 0:
		return readBounded(r.Body, int(r.ContentLength), limit, in)
	}
	z, ok := h.gunzips.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	defer h.gunzips.Put(z)
	// The compressed bytes are bounded too: empty members decompress to nothing.
	if err := z.Reset(&boundedReader{from: r.Body, left: limit}); err != nil {
		return nil, err
	}
	return readBounded(z, -1, limit, in)
}

// codings returns how often a Content-Encoding says that the body is gzipped. ok is
// false for another compression. As in Eureka anything else, such as a charset by
// mistake, is ignored.
func codings(list string) (gzips int, ok bool) {
	for list != "" {
		var coding string
		coding, list, _ = strings.Cut(list, ",")
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			gzips++
		case "deflate", "compress", "x-compress", "br", "zstd":
			return 0, false
		}
	}
	return gzips, true
}

// readBounded reads to the end, at most limit bytes. size is the expected number,
// or -1 if unknown.
func readBounded(from io.Reader, size, limit int, in *held) ([]byte, error) {
	if size < 0 || size > firstRead {
		size = firstRead
	}
	if !in.grow(size + 1) {
		return nil, errBusy
	}
	body := make([]byte, 0, size+1)
	for {
		n, err := from.Read(body[len(body):min(cap(body), limit+1)])
		body = body[:len(body)+n]
		switch {
		case len(body) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
			if !in.grow(cap(body)) {
				return nil, errBusy
			}
		}
	}
}

// boundedReader fails with errTooLarge beyond its bound, where io.LimitReader
// would end.
type boundedReader struct {
	from io.Reader
	left int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// fromLatin1 converts text from ISO-8859-1 to UTF-8. Java ignores the charset of the
// header and reads UTF-8, so valid UTF-8 stays as it is.
func fromLatin1(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text)+len(text)/8)
	for _, c := range text {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}
