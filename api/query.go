package api

import (
	"net/url"
	"strings"
)

// nextPair takes the first pair off a query. more is false when there is none.
// Key and value are decoded; ok is false where they can't be. Nothing is
// allocated unless there is something to decode.
func nextPair(query string) (key, value, rest string, ok, more bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ = strings.Cut(pair, "=")
		if key == "" {
			continue // no name, no parameter
		}
		key, keyOK := unescape(key)
		value, valueOK := unescape(value)
		return key, value, query, keyOK && valueOK, true
	}
	return "", "", "", false, false
}

// unescape decodes s, which it returns as it is where that fails.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	u, err := url.QueryUnescape(s)
	if err != nil {
		return s, false
	}
	return u, true
}

// parameter returns the first value of a name in a query, and whether there is
// one. A value that can't be decoded is returned as it came: it is then no
// status and no number, and refused as such.
func parameter(query, name string) (string, bool) {
	for query != "" {
		key, value, rest, _, more := nextPair(query)
		if !more {
			break
		}
		if key == name {
			return value, true
		}
		query = rest
	}
	return "", false
}
