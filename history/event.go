package history

import (
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Event is one thing that happened, with its sequence number on this node since its start.
type Event struct {
	Seq uint64
	registry.Event
}

// maxText bounds From, Login and Detail of an event, in bytes. What is longer is cut.
const maxText = 200

// The flags of an encoded event: which parts follow.
const (
	withFrom = 1 << iota
	withRecord
	withOverride
	withLease
	withDetail
	withLogin
)

// statuses are those with a code of their own: their place here. otherStatus is followed by
// the text.
var statuses = [...]eureka.Status{
	"", eureka.StatusUp, eureka.StatusDown, eureka.StatusStarting, eureka.StatusOutOfService, eureka.StatusUnknown,
}

const otherStatus = 15

func statusCode(s eureka.Status) byte {
	for i, known := range statuses {
		if s == known {
			return byte(i)
		}
	}
	return otherStatus
}

// appendBody encodes an event, all but its place among others. Two bytes are first that a
// search looks at: the kind, and the way with the parts that are new.
func appendBody(b []byte, e *registry.Event) []byte {
	at := e.Time.UnixMilli()
	from, detail, login := cut(e.By.From), cut(e.Detail), cut(e.By.Login)
	var flags byte
	for _, part := range []struct {
		flag byte
		is   bool
	}{
		{withFrom, from != ""},
		{withRecord, e.Record != 0},
		{withOverride, e.Override != 0},
		{withLease, e.Silent != 0 || e.Term != 0},
		{withDetail, detail != ""},
		{withLogin, login != ""},
	} {
		if part.is {
			flags |= part.flag
		}
	}
	b = append(b, byte(e.Kind), byte(e.By.Way)<<4|byte(e.Changed&15), flags,
		statusCode(e.Status)<<4|statusCode(e.Overridden))
	b = binary.AppendVarint(b, at)
	b = appendText(b, e.Key.App)
	b = appendText(b, e.Key.ID)
	for _, s := range []eureka.Status{e.Status, e.Overridden} {
		if statusCode(s) == otherStatus {
			b = appendText(b, cut(string(s)))
		}
	}
	if flags&withFrom != 0 {
		b = appendText(b, from)
	}
	if flags&withRecord != 0 {
		b = binary.AppendVarint(b, e.Record-at)
	}
	if flags&withOverride != 0 {
		b = binary.AppendVarint(b, e.Override-at)
	}
	if flags&withLease != 0 {
		b = binary.AppendVarint(b, e.Silent.Milliseconds())
		b = binary.AppendVarint(b, e.Term.Milliseconds())
	}
	if flags&withDetail != 0 {
		b = appendText(b, detail)
	}
	if flags&withLogin != 0 {
		b = appendText(b, login)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// cut bounds a text at the end of a character.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// errBody means that bytes are no event.
var errBody = errors.New("not an event")

// decoder reads the parts of an event one after the other. After a fault it returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) text() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) status(code byte) eureka.Status {
	if int(code) < len(statuses) {
		return statuses[code]
	}
	return eureka.Status(d.text())
}

// decodeBody reads what appendBody wrote.
func decodeBody(b []byte) (registry.Event, error) {
	if len(b) < 4 {
		return registry.Event{}, errBody
	}
	kind, way, flags, codes := b[0], b[1], b[2], b[3]
	d := decoder{b: b[4:]}
	at := d.varint()
	e := registry.Event{
		Time: time.UnixMilli(at), Kind: registry.Kind(kind),
		By: registry.Origin{Way: registry.Way(way >> 4)}, Changed: registry.Bits(way & 15),
	}
	e.Key.App = string(d.text())
	e.Key.ID = string(d.text())
	e.Status = d.status(codes >> 4)
	e.Overridden = d.status(codes & 15)
	if flags&withFrom != 0 {
		e.By.From = string(d.text())
	}
	if flags&withRecord != 0 {
		e.Record = at + d.varint()
	}
	if flags&withOverride != 0 {
		e.Override = at + d.varint()
	}
	if flags&withLease != 0 {
		e.Silent = time.Duration(d.varint()) * time.Millisecond
		e.Term = time.Duration(d.varint()) * time.Millisecond
	}
	if flags&withDetail != 0 {
		e.Detail = string(d.text())
	}
	if flags&withLogin != 0 {
		e.By.Login = string(d.text())
	}
	if d.bad || len(d.b) > 0 {
		return registry.Event{}, errBody
	}
	return e, nil
}

// isOf reports whether an encoded event is of this application, and instance unless id is
// empty. The names are not copied.
func isOf(b []byte, key registry.Key) bool {
	if len(b) < 4 {
		return false
	}
	d := decoder{b: b[4:]}
	d.varint()
	return string(d.text()) == key.App && (key.ID == "" || string(d.text()) == key.ID)
}
