package plain_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/registryd/registryd/internal/plain"
)

func TestText(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"an id", "host:orders:8080", "host:orders:8080"},
		{"quotes", `a "b" 'c'`, `a "b" 'c'`},
		{"letters of others", "straße ünï 注文 ☃", "straße ünï 注文 ☃"},
		{"an escape sequence", "a\x1b[2Jb", `a\x1b[2Jb`},
		{"two lines", "a\r\nb", `a\r\nb`},
		{"a path", `C:\new`, `C:\new`},
		{"C1", "a\u009b2Jb", `a\u009b2Jb`},
		{"DEL", "a\x7fb", `a\x7fb`},
		{"bidi", "a\u202eb\u2066c", `a\u202eb\u2066c`},
		{"invisible", "a\u200bb\ufeff\u00ad", `a\u200bb\ufeff\u00ad`},
		{"tag characters", "a\U000e0041", `a\U000e0041`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"not UTF-8", "a\xffb\x9b", `a\xffb\x9b`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := plain.Text(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzText: what comes out is printable, and printable text stays.
func FuzzText(f *testing.F) {
	f.Add("a\u202e\\\x1b\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := plain.Text(s)
		if strings.ContainsFunc(got, func(r rune) bool { return !strconv.IsPrint(r) }) {
			t.Errorf("%q: not printable", got)
		}
		if again := plain.Text(got); again != got {
			t.Errorf("%q came out as %q, and that as %q", s, got, again)
		}
	})
}

// FuzzJSON: the value stays, and nothing beyond ASCII is unprintable.
func FuzzJSON(f *testing.F) {
	f.Add("a\u009b\u202e\U000e0041\x7f\xff \n")
	f.Fuzz(func(t *testing.T, s string) {
		encoded, err := json.Marshal(map[string]string{"id": s})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if n, err := (plain.JSONWriter{W: &out}).Write(encoded); n != len(encoded) || err != nil {
			t.Fatal(n, err)
		}
		var want, got map[string]string
		if err := json.Unmarshal(encoded, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["id"] != want["id"] {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return !strconv.IsPrint(r) && r != '\ufffd' }) {
			t.Errorf("%q: not printable", out.String())
		}
	})
}
