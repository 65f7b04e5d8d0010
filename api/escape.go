package api

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
)

// appendJSONString appends s as a JSON string. Text that is not UTF-8 is
// repaired.
func appendJSONString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // a string always has a form
	}
	return append(b, quoted...)
}

// appendXMLText appends s as the text of an element. What XML has no characters
// for is repaired.
func appendXMLText(b []byte, s string) []byte {
	var out bytes.Buffer
	if err := xml.EscapeText(&out, []byte(strings.ToValidUTF8(s, "\uFFFD"))); err != nil {
		return b // a buffer takes all
	}
	return append(b, out.Bytes()...)
}
