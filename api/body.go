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
)

// firstRead is how much room a body gets at once, in bytes; more comes as it
// arrives, so that a large Content-Length alone costs nothing.
const firstRead = 16 << 10

// readBody reads a request's body, decompressed, of at most limit bytes.
// Decompression stops at the limit too, whatever the body would become. It
// returns errTooLarge, errCoding, or what reading or decompressing met.
func (h *Handler) readBody(r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, errTooLarge
	}
	switch gzips, ok := codings(header(r.Header, "Content-Encoding")); {
	case !ok || gzips > 1:
		return nil, errCoding
	case gzips == 0:
		return readBounded(r.Body, int(r.ContentLength), limit)
	}
	z, ok := h.gunzips.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	defer h.gunzips.Put(z)
	// What is compressed is bounded too: empty members decompress to nothing.
	if err := z.Reset(&boundedReader{from: r.Body, left: limit}); err != nil {
		return nil, err
	}
	return readBounded(z, -1, limit)
}

// codings returns how often a Content-Encoding says that the body is gzipped. ok
// is false for a compression that is not taken. What is none, such as a charset
// by mistake, means nothing, as in Eureka.
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

// readBounded reads all, of at most limit bytes. size is what is expected, -1 if
// that isn't known.
func readBounded(from io.Reader, size, limit int) ([]byte, error) {
	if size < 0 || size > firstRead {
		size = firstRead
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

// fromLatin1 returns text in ISO-8859-1 as UTF-8. Java ignores what the header
// says and reads UTF-8, so text that is UTF-8 stays as it is.
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
