package eureka

import (
	"testing"
	"unicode/utf8"
)

// TestUpper: the values are those of Java's toUpperCase(Locale.ROOT).
func TestUpper(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "ORDERS-1": "ORDERS-1", "orders-1": "ORDERS-1", "a@[`{z": "A@[`{Z",
		"straße": "STRASSE", "ﬁsh": "FISH", "ŉ": "ʼN", "\u01f0": "J\u030c", "\u0390": "\u0399\u0308\u0301", "ﬓ": "ՄՆ",
		"i": "I", "ı": "I", "ä": "Ä", "ς": "Σ", "ǆ": "Ǆ", "ᾳ": "ΑΙ", "日本": "日本", "a\xff\xfeb": "A\ufffd\ufffdB",
	} {
		if got := Upper(s); got != want {
			t.Errorf("Upper(%q): %q, want %q", s, got, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { Upper("ORDERS-1") }); n != 0 {
		t.Errorf("a name in upper case costs %v allocations", n)
	}
}

// FuzzUpper holds that nodes which upper-case a name again keep it.
func FuzzUpper(f *testing.F) {
	for _, s := range []string{"straße", "ﬁsh", "\xffé", "ŉᾳΐ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u := Upper(s)
		if again := Upper(u); again != u || !utf8.ValidString(u) {
			t.Errorf("Upper(%q): %q, and again %q", s, u, again)
		}
	})
}
