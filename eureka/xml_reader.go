package eureka

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// xmlReader reads elements off a tokenizer. Its first failure stays: after it
// every method does nothing and returns zero.
type xmlReader struct {
	dec  *xml.Decoder
	open []xml.Name // elements entered and not left
	err  error
}

// newXMLReader reads body. Text that is UTF-8 is taken as that, whatever its
// declaration says; else the declaration counts.
func newXMLReader(body []byte) *xmlReader {
	if !utf8.Valid(body) {
		body = fromDeclared(body)
	}
	r := &xmlReader{dec: xml.NewDecoder(bytes.NewReader(body))}
	r.dec.CharsetReader = sameCharset
	r.err = validUTF8(XML, body)
	return r
}

// sameCharset reads a document whose declaration doesn't matter.
func sameCharset(_ string, in io.Reader) (io.Reader, error) { return in, nil }

// fromDeclared returns a document as UTF-8 if it declares one of the encodings
// with a byte for each character that Java clients use, else as it is.
func fromDeclared(body []byte) []byte {
	var declared string
	d := xml.NewDecoder(bytes.NewReader(body))
	d.CharsetReader = func(name string, in io.Reader) (io.Reader, error) {
		declared = name
		return in, nil
	}
	if _, err := d.RawToken(); err != nil {
		return body
	}
	var from *charmap.Charmap
	switch strings.ToLower(declared) {
	case "iso-8859-1", "iso8859-1", "iso8859_1", "latin1":
		from = charmap.ISO8859_1
	case "iso-8859-15", "iso8859-15":
		from = charmap.ISO8859_15
	case "windows-1252", "cp1252":
		from = charmap.Windows1252
	default:
		return body
	}
	text, err := from.NewDecoder().Bytes(body)
	if err != nil {
		return body
	}
	return text
}

// fail notes what is wrong with the element being read.
func (r *xmlReader) fail(err error) {
	if r.err != nil {
		return
	}
	var path strings.Builder
	for _, name := range r.open {
		path.WriteString("/" + rawName(name))
		if path.Len() > maxFieldText {
			break
		}
	}
	r.err = &DecodeError{Format: XML, Field: cutField(path.String()), Err: err}
}

// rawName returns the name as it is written.
func rawName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// token reads the next tag or text. A document type is refused: nothing that
// Eureka's clients send has one.
func (r *xmlReader) token() xml.Token {
	for r.err == nil {
		t, err := r.dec.RawToken()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			r.fail(err)
			return nil
		}
		switch t := t.(type) {
		case xml.StartElement:
			r.open = append(r.open, t.Name)
			if len(r.open) > MaxDepth {
				r.fail(errDepth)
				return nil
			}
			return t
		case xml.EndElement:
			if n := len(r.open); n == 0 || r.open[n-1] != t.Name {
				r.fail(fmt.Errorf("closed by %s", cutField(rawName(t.Name))))
				return nil
			}
			r.open = r.open[:len(r.open)-1]
			return t
		case xml.CharData:
			return t
		case xml.Directive:
			r.fail(errors.New("has a document type"))
		}
	}
	return nil
}

// child enters the next element in the one that was entered last; at the end of
// that it leaves it and returns false. Text between elements is ignored.
func (r *xmlReader) child() (xml.StartElement, bool) {
	for {
		switch t := r.token().(type) {
		case nil, xml.EndElement:
			return xml.StartElement{}, false
		case xml.StartElement:
			return t, true
		}
	}
}

// skip leaves the element that was entered last, whatever it holds.
func (r *xmlReader) skip() {
	for depth := len(r.open); r.err == nil && len(r.open) >= depth; {
		r.token()
	}
}

// text leaves the element that was entered last and returns its text. Elements
// in it are refused.
func (r *xmlReader) text() string {
	var text []byte
	for {
		switch t := r.token().(type) {
		case nil, xml.EndElement:
			return string(text)
		case xml.CharData:
			text = append(text, t...)
		case xml.StartElement:
			r.fail(errNotScalar)
		}
	}
}

// integer reads a number; blank is def.
func (r *xmlReader) integer(def int64) int64 {
	text := r.text()
	if r.err != nil {
		return def
	}
	n, err := parseInteger([]byte(text), def)
	if err != nil {
		r.fail(err)
	}
	return n
}

// unread reads a number as integer does, but a text that is none is def.
func (r *xmlReader) unread(def int64) int64 {
	text := r.text()
	if r.err != nil {
		return def
	}
	n, err := parseInteger([]byte(text), def)
	switch {
	case errors.Is(err, errNumber):
		return def
	case err != nil:
		r.fail(err)
	}
	return n
}

// small reads what Eureka holds in 32 bits.
func (r *xmlReader) small(def int) int { return r.narrow(r.integer(int64(def)), def) }

// narrow returns n, which was just read, if 32 bits hold it.
func (r *xmlReader) narrow(n int64, def int) int {
	if n != int64(int32(n)) {
		r.fail(errRange)
		return def
	}
	return int(n)
}

// root reads a document whose root has that name.
func (r *xmlReader) root(name string, read func()) error {
	root, ok := xml.StartElement{}, false
	for !ok && r.err == nil {
		switch t := r.token().(type) {
		case xml.StartElement:
			root, ok = t, true
		case xml.CharData:
			if len(bytes.TrimSpace(bytes.TrimPrefix(t, []byte(byteOrderMark)))) > 0 {
				r.fail(errors.New("text before the document"))
			}
		}
	}
	if ok && rawName(root.Name) != name {
		r.fail(fmt.Errorf("is not %s", name))
	}
	if r.err != nil {
		return r.err
	}
	read()
	for r.err == nil {
		switch t, err := r.dec.RawToken(); t := t.(type) {
		case nil:
			if errors.Is(err, io.EOF) {
				return nil
			}
			r.fail(err)
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				r.fail(errTrailing)
			}
		case xml.Comment, xml.ProcInst:
		default:
			r.fail(errTrailing)
		}
	}
	return r.err
}
