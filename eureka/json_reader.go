package eureka

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonReader reads values off a tokenizer. Its first failure stays: after it
// every method does nothing and returns zero.
type jsonReader struct {
	in    bytes.Buffer
	dec   jsontext.Decoder
	text  []byte // room for an unquoted text
	err   error
	fatal bool // err is the tokenizer's: nothing can be read any more

	outside int     // brackets that are open around what is read
	states  []State // for the items of a list, made together
}

// newJSONReader reads body, which must not change meanwhile. A byte order mark in
// front is ignored.
func newJSONReader(body []byte) *jsonReader {
	r := new(jsonReader)
	r.begin(bytes.TrimPrefix(body, []byte(byteOrderMark)))
	return r
}

// begin reads another body.
func (r *jsonReader) begin(body []byte) {
	r.in = *bytes.NewBuffer(body)
	r.dec.Reset(&r.in, jsontext.AllowDuplicateNames(true))
}

// fail notes what is wrong with the value being read.
func (r *jsonReader) fail(err error) {
	if r.err == nil {
		r.err = &DecodeError{Format: JSON, Field: cutField(string(r.dec.StackPointer())), Err: err}
	}
}

// broken notes an error of the tokenizer.
func (r *jsonReader) broken(err error) {
	if r.err != nil {
		return
	}
	r.fatal = true
	field := ""
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		field = string(e.JSONPointer)
		err = fmt.Errorf("at byte %d: %w", e.ByteOffset, e.Err)
	}
	r.err = &DecodeError{Format: JSON, Field: cutField(field), Err: err}
}

// kind tells what comes next; 0 after a failure.
func (r *jsonReader) kind() jsontext.Kind {
	if r.err != nil {
		return jsontext.KindInvalid
	}
	return r.dec.PeekKind()
}

// token reads a token whose content doesn't matter.
func (r *jsonReader) token() {
	if r.err != nil {
		return
	}
	if _, err := r.dec.ReadToken(); err != nil {
		r.broken(err)
	}
}

// raw reads a value or a member's name as it is written.
func (r *jsonReader) raw() []byte {
	if r.err != nil {
		return nil
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		r.broken(err)
		return nil
	}
	return v
}

// unquote returns the text of a quoted value, good until the next call.
func (r *jsonReader) unquote(v []byte) []byte {
	if len(v) < 2 {
		return nil
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	text, err := jsontext.AppendUnquote(r.text[:0], v)
	if err != nil { // the tokenizer has seen it, so it can't be
		r.broken(err)
		return nil
	}
	r.text = text
	return text
}

// open reads the bracket that opens an object or array.
func (r *jsonReader) open() {
	r.token()
	if r.err == nil && r.outside+r.dec.StackDepth() > MaxDepth {
		r.fail(errDepth)
	}
}

// object enters an object, or reads a null: false, as after a failure.
func (r *jsonReader) object() bool {
	switch r.kind() {
	case jsontext.KindBeginObject:
		r.open()
		return r.err == nil
	case jsontext.KindNull, jsontext.KindInvalid:
		r.token()
		return false
	default:
		r.fail(errNotObject)
		return false
	}
}

// member reads the name of the object's next member, good until the next call;
// at its end it leaves the object and returns false.
func (r *jsonReader) member() ([]byte, bool) {
	if r.kind() == jsontext.KindEndObject {
		r.token()
		return nil, false
	}
	name := r.unquote(r.raw())
	return name, r.err == nil
}

// list calls read for each element of an array that isn't null. One object
// stands for an array that holds it, and null for an empty one.
func (r *jsonReader) list(read func()) {
	switch r.kind() {
	case jsontext.KindBeginArray:
		r.open()
		for r.err == nil && r.kind() != jsontext.KindEndArray {
			if r.kind() == jsontext.KindNull {
				r.token()
				continue
			}
			read()
		}
		r.token()
	case jsontext.KindBeginObject:
		read()
	case jsontext.KindNull, jsontext.KindInvalid:
		r.token()
	default:
		r.fail(errNotList)
	}
}

// skip reads a value of any shape and forgets it.
func (r *jsonReader) skip() {
	depth := r.dec.StackDepth()
	for {
		switch r.kind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			r.open()
		default:
			r.token()
		}
		if r.err != nil || r.dec.StackDepth() <= depth {
			return
		}
	}
}

// scalar reads a text, number or boolean as text, good until the next call;
// false for null, or after a failure.
func (r *jsonReader) scalar() ([]byte, bool) {
	v := r.raw()
	if r.err != nil {
		return nil, false
	}
	switch jsontext.Kind(v[0]) {
	case jsontext.KindString:
		v = r.unquote(v)
		return v, r.err == nil
	case jsontext.KindNull:
		return nil, false
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		r.fail(errNotScalar)
		return nil, false
	default:
		return v, true
	}
}

// string reads a text; null is empty.
func (r *jsonReader) string() string {
	v, _ := r.scalar()
	return string(v)
}

// optional reads a text; null is nil.
func (r *jsonReader) optional() *string {
	v, ok := r.scalar()
	if !ok {
		return nil
	}
	return new(string(v))
}

// integer reads a number, or a text that holds one; null and blank are def.
func (r *jsonReader) integer(def int64) int64 {
	v, ok := r.scalar()
	if !ok {
		return def
	}
	n, err := parseInteger(v, def)
	if err != nil {
		r.fail(err)
	}
	return n
}

// unread reads a number that a server sets itself or nobody needs: a text that
// is none is def, as in Eureka.
func (r *jsonReader) unread(def int64) int64 {
	v, ok := r.scalar()
	if !ok {
		return def
	}
	n, err := parseInteger(v, def)
	switch {
	case errors.Is(err, errNumber):
		return def
	case err != nil:
		r.fail(err)
	}
	return n
}

// small reads what Eureka holds in 32 bits.
func (r *jsonReader) small(def int) int { return r.narrow(r.integer(int64(def)), def) }

// narrow returns n, which was just read, if 32 bits hold it.
func (r *jsonReader) narrow(n int64, def int) int {
	if n != int64(int32(n)) {
		r.fail(errRange)
		return def
	}
	return int(n)
}

// bool reads a boolean: true, its name, or a number that isn't 0; null is def.
func (r *jsonReader) bool(def bool) bool {
	number := r.kind() == jsontext.KindNumber
	v, ok := r.scalar()
	if !ok {
		return def
	}
	return parseBool(v, number)
}

// end reads the end of the body and returns the first failure.
func (r *jsonReader) end() error {
	if r.err != nil {
		return r.err
	}
	switch _, err := r.dec.ReadToken(); {
	case err == nil:
		r.fail(errTrailing)
	case !errors.Is(err, io.EOF):
		r.broken(err)
	}
	return r.err
}

// parseInteger reads an integer out of text that a client sent: also with a
// fraction, which goes. Blank text is def.
func parseInteger(text []byte, def int64) (int64, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return def, nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, strconv.ErrRange):
		return 0, errRange
	}
	for _, c := range text {
		if !strings.ContainsRune("0123456789+-.eE", rune(c)) {
			return 0, errNumber
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && (f < -1<<63 || f >= 1<<63):
		return 0, errRange
	case err != nil:
		return 0, errNumber
	}
	return int64(f), nil
}

// parseBool reads a boolean out of text, or out of a number's.
func parseBool(text []byte, number bool) bool {
	if number {
		f, err := strconv.ParseFloat(string(text), 64)
		return err != nil || f != 0 // the only error left is a great number
	}
	return bytes.EqualFold(bytes.TrimSpace(text), []byte("true"))
}
