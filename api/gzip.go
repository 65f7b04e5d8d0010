package api

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// A gzip member is put together from pieces that were compressed by themselves: each is a
// sequence of deflate blocks that ends at a byte, and refers to nothing before it. So the
// pieces of a list can be shared by all its states, and readers get one member, because
// many read only the first of several.

// deflater compresses pieces. One goroutine at a time uses it.
type deflater struct{ w *flate.Writer }

// deflate appends body, compressed at the fastest level: lists shrink to a tenth, and
// better levels cost half as much time again for a few percent.
func (d *deflater) deflate(dst, body []byte) []byte {
	out := bytes.NewBuffer(dst)
	if d.w == nil {
		d.w, _ = flate.NewWriter(out, flate.BestSpeed) //nolint:errcheck // the only error is a level that there is not
	} else {
		d.w.Reset(out)
	}
	_, _ = d.w.Write(body) //nolint:errcheck // a buffer takes everything
	_ = d.w.Flush()        //nolint:errcheck // the same
	return out.Bytes()
}

// stored appends body as deflate blocks without compression.
func stored(dst, body []byte) []byte {
	const most = 1<<16 - 1
	for len(body) > 0 {
		n := min(len(body), most)
		dst = append(dst, 0, byte(n), byte(n>>8), byte(^n), byte(^n>>8))
		dst, body = append(dst, body[:n]...), body[n:]
	}
	return dst
}

// member is a gzip member in the making. The zero value is an empty one.
type member struct {
	chunks [][]byte
	size   int
	crc    uint32
	plain  uint32 // bytes before compression, modulo 2^32
}

// checked is what a member has to know of a piece: its length and its checksum.
type checked struct {
	crc   uint32
	shift uint32 // see zeros
	plain uint32
}

func check(body []byte) checked {
	return checked{
		crc: crc32.ChecksumIEEE(body), shift: zeros(len(body)),
		plain: uint32(len(body)), //nolint:gosec // modulo 2^32, as gzip has it
	}
}

// add appends a piece, and its plain text to the checksum.
func (m *member) add(piece, body []byte) { m.addChecked(piece, check(body)) }

func (m *member) addChecked(piece []byte, of checked) {
	if len(m.chunks) == 0 {
		m.append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}) // deflate, no name, no time, fastest, any system
	}
	m.append(piece)
	m.crc = times(of.shift, m.crc) ^ of.crc
	m.plain += of.plain
}

func (m *member) append(chunk []byte) {
	m.chunks = append(m.chunks, chunk)
	m.size += len(chunk)
}

// finish ends the member: an empty last block, the checksum and the length.
func (m *member) finish() (chunks [][]byte, size int) {
	end := binary.LittleEndian.AppendUint32([]byte{3, 0}, m.crc)
	m.append(binary.LittleEndian.AppendUint32(end, m.plain))
	return m.chunks, m.size
}

// Checksums are polynomials over GF(2), modulo that of CRC-32; the highest bit is the
// constant term. The checksum of two texts in a row is the first one's, times x^8 for
// each byte of the second, plus the second one's.

// one is the polynomial 1, and x is x.
const (
	one uint32 = 1 << 31
	x   uint32 = 1 << 30
)

// times returns the product of two polynomials.
func times(a, b uint32) (product uint32) {
	for bit := one; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= crc32.IEEE
		}
	}
	return product
}

// zeros returns x^8n: what n bytes do to the checksum of the text before them.
func zeros(n int) uint32 {
	power, out := times(times(times(x, x), times(x, x)), times(times(x, x), times(x, x))), one
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			out = times(out, power)
		}
		power = times(power, power)
	}
	return out
}
