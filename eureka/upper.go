package eureka

import (
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Upper returns s in upper case as Java's toUpperCase(Locale.ROOT) does: names of
// applications and groups are kept so. A character may become several: "straße"
// is "STRASSE". What is not UTF-8 becomes U+FFFD. A name that is in upper case
// already costs no allocation.
func Upper(s string) string {
	ascii, lower := true, false
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
		lower = lower || 'a' <= s[i] && s[i] <= 'z'
	}
	switch {
	case !ascii:
		return cases.Upper(language.Und).String(string([]rune(s)))
	case !lower:
		return s
	}
	out := []byte(s)
	for i, c := range out {
		if 'a' <= c && c <= 'z' {
			out[i] = c - 'a' + 'A'
		}
	}
	return string(out)
}
