package api

import (
	"time"

	"github.com/registryd/registryd/registry"
)

// partedList renders a list from parts, and keeps the bytes of each part for as long as
// the list has it. So a change costs its own part.
type partedList struct {
	read   func(maxAge time.Duration) registry.List
	maxAge time.Duration // of what a part says of renewals

	pieces   map[*registry.Part]piece
	buffer   []byte
	deflater deflater
}

// piece is the bytes of a part in one variant.
type piece struct {
	before, after string // the applications around it
	body          []byte // gzipped in a variant that is
	checked
}

func (l *partedList) render(v variant) (chunks [][]byte, size int) {
	list := l.read(l.maxAge)
	pieces := make(map[*registry.Part]piece, len(list.Parts))
	m := member{chunks: make([][]byte, 0, len(list.Parts)+4)}
	l.addText(&m, v, v.form.AppendListHead(nil, list.Version, list.HashCode))
	before := ""
	for i, part := range list.Parts {
		after := ""
		if i+1 < len(list.Parts) {
			after = list.Parts[i+1].First()
		}
		p, ok := l.pieces[part]
		if !ok || p.before != before || p.after != after {
			p = l.encode(v, part, before, after)
		}
		pieces[part] = p
		if v.gzip {
			m.addChecked(p.body, p.checked)
		} else {
			m.append(p.body)
		}
		before = part.Last()
	}
	l.pieces = pieces
	l.addText(&m, v, v.form.AppendListTail(nil, list.Version, list.HashCode))
	if v.gzip {
		return m.finish()
	}
	return m.chunks, m.size
}

// addText adds what stands around the parts.
func (l *partedList) addText(m *member, v variant, text []byte) {
	if v.gzip {
		m.add(stored(nil, text), text)
	} else {
		m.append(text)
	}
}

// encode makes the bytes of a part.
func (l *partedList) encode(v variant, part *registry.Part, before, after string) piece {
	l.buffer = v.form.AppendPart(l.buffer[:0], part.Instances(), before, after)
	p := piece{before: before, after: after}
	if v.gzip {
		p.body, p.checked = l.deflater.deflate(make([]byte, 0, len(l.buffer)/6+64), l.buffer), check(l.buffer)
	} else {
		p.body = append(make([]byte, 0, len(l.buffer)), l.buffer...)
	}
	return p
}
