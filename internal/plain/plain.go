// Package plain makes text that others wrote fit for a terminal or a page: one line, and
// nothing that moves the cursor, hides text or turns the direction of writing.
//
//	ids, names, errors ──Text──▶ a line for people
//	encoded JSON ──JSON──▶ the same value, escaped further
package plain

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s with every character that Go calls not printable written as in a
// Go string literal: controls, C1, marks of direction, invisible characters, bytes
// that are not UTF-8. All other text is returned as it is, backslashes too.
func Text(s string) string {
	if !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		text := s[:size]
		if hidden(r) || r == utf8.RuneError && size == 1 {
			quoted := strconv.Quote(text)
			text = quoted[1 : len(quoted)-1]
		}
		out.WriteString(text)
		s = s[size:]
	}
	return out.String()
}

func hidden(r rune) bool { return !strconv.IsPrint(r) }

// JSON returns encoded JSON with the characters beyond ASCII that are not
// printable, and DEL, as \u escapes: encoders leave them as they are. The value
// stays the same.
func JSON(encoded []byte) []byte {
	special := func(r rune) bool { return r > '~' && !strconv.IsPrint(r) && r != utf8.RuneError }
	if !bytes.ContainsFunc(encoded, special) {
		return encoded
	}
	out := make([]byte, 0, len(encoded)+32)
	for _, r := range string(encoded) {
		if !special(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

// JSONWriter passes encoded JSON on through [JSON]. Each Write holds whole
// characters.
type JSONWriter struct{ W io.Writer }

// Write implements io.Writer.
func (w JSONWriter) Write(p []byte) (int, error) {
	if _, err := w.W.Write(JSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
