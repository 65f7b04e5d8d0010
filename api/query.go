package api

import (
	"fmt"
	"slices"
	"strings"
)

// nextPair takes the first pair off a query, decoded. more is false when there
// is none. Nothing is allocated unless there is something to decode.
func nextPair(query string) (key, value, rest string, more bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ = strings.Cut(pair, "=")
		if key == "" {
			continue // no name, no parameter
		}
		return unescape(key), unescape(value), query, true
	}
	return "", "", "", false
}

// unescape decodes a part of a query as a form's: a plus is a space, and a per
// cent sign that begins no escape stands for itself.
func unescape(s string) string {
	i := strings.IndexAny(s, "%+")
	if i < 0 {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = fromHex(s[i+1])<<4 | fromHex(s[i+2])
			i += 2
		}
		out = append(out, c)
	}
	return string(out)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// fromHex returns the value of a hexadecimal digit.
func fromHex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// parameter returns the first value of a name in a query, and whether there is
// one.
func parameter(query, name string) (string, bool) {
	for query != "" {
		key, value, rest, more := nextPair(query)
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

// parameters reads the query of a path of our own, which has the parameters of these names. They have
// a value, and stand once, but for the one named several. What is unknown, empty or there twice is
// refused: a misspelt filter would answer with everything, and of two values one would be dropped.
func parameters(query, several string, names ...string) (map[string][]string, error) {
	out := map[string][]string{}
	for {
		key, value, rest, more := nextPair(query)
		switch {
		case !more:
			return out, nil
		case !slices.Contains(names, key):
			return nil, fmt.Errorf("%.40q: not one of the parameters, %s", key, strings.Join(names, ", "))
		case value == "":
			return nil, fmt.Errorf("%s: empty", key)
		case len(out[key]) > 0 && key != several:
			return nil, fmt.Errorf("%s: given twice", key)
		}
		out[key] = append(out[key], value)
		query = rest
	}
}

// single returns the value of a parameter that stands once, "" without one.
func single(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
