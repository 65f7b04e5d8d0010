package planted

import (
	"go/format"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	const text = `package low

const (
	a = 1
	b = 2
)

type T[K any] struct{}

// f is a function.
func (t *T[K]) f(
	x int,
) int {
	if x > a { // a comment
		return g(
			x,
			b, // and one more
		)
	}
	return x + x
}

func g(x, y int) int { return x * y }
`
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "low"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.go": text, "a_test.go": "package low_test\n\nfunc g() {}\n"} {
		if err := os.WriteFile(filepath.Join(root, "low", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replaced := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }
	tests := []struct {
		name  string
		edits []Edit
		want  string // of a.go, in its tokens
		fault string // part of it
	}{
		{
			name:  "an expression of a method, over lines and comments",
			edits: []Edit{{Func: "T.f", Find: "g(x, b)", Replace: "7"}},
			want:  replaced("g(\n\t\t\tx,\n\t\t\tb, // and one more\n\t\t)", "7"),
		},
		{
			name: "around one place",
			edits: []Edit{
				{Func: "T.f", Find: "return x+x", Before: "x++", After: "println(1)"},
				{Func: "T.f", Find: "return x+x", Before: "x--", After: "println(2)"},
				{Func: "T.f", Find: "x+x", Replace: "0"},
			},
			want: replaced("\treturn x + x\n", "x++\nx--\nreturn 0\nprintln(1)\nprintln(2)\n"),
		},
		{
			name: "the beginning of a function, and what it needs",
			edits: []Edit{{
				Func:    "g",
				Before:  "println()",
				Imports: []string{"os"},
			}, {Func: "T.f", Before: "println()", Imports: []string{"os"}}},
			want: replaced("package low\n", "package low\nimport \"os\"\n",
				"\tif x", "println()\nif x", "{ return x * y", "{ println()\nreturn x * y"),
		},
		{
			name: "declarations",
			edits: []Edit{{
				Decl:    "b",
				Replace: "var b = 3",
			}, {Decl: "g", Replace: "func g(x, y int) int { return b }"}},
			want: replaced("b = 2", "", "x * y }", "b }\nvar b = 3"),
		},
		{name: "code that is not there", edits: []Edit{{
			Func: "g",
			Find: "x + y", Replace: "1",
		}}, fault: `g: "x + y" is there 0 times`},
		{name: "code that is there twice", edits: []Edit{{
			Func: "T.f",
			Find: "return", Before: "x++",
		}}, fault: `T.f: "return" is there 2 times`},
		{name: "part of a token", edits: []Edit{{Func: "g", Find: "retur", Replace: "1"}}, fault: `is there 0 times`},
		{name: "a function that is not there", edits: []Edit{{
			Func:   "f",
			Before: "x++",
		}}, fault: `f is declared 0 times`},
		{name: "a function that is none", edits: []Edit{{Func: "a", Before: "x++"}}, fault: `a: not a function`},
		{name: "nothing", edits: []Edit{{}}, fault: `without`},
		{name: "a package that is not there", edits: []Edit{{In: "high", Func: "f"}}, fault: "high"},
		{
			name:  "edits that overlap",
			edits: []Edit{{Func: "g", Find: "x * y", Replace: "1"}, {Func: "g", Find: "y", Replace: "1"}},
			fault: `low/a.go: edits overlap at "y"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.edits {
				if tt.edits[i].In == "" {
					tt.edits[i].In = "low"
				}
			}
			got, err := apply(root, tt.edits)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Fatalf("got error %v, want one with %q", err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 2 || !strings.HasPrefix(got["low/"+switchName], "package low\n") {
				t.Errorf("got %q, want one changed file and the switch", got)
			}
			if _, err := format.Source([]byte(got["low/a.go"])); err != nil {
				t.Error(err)
			}
			if !slices.EqualFunc(tokens(got["low/a.go"]), tokens(tt.want), sameText) {
				t.Errorf("got\n%s\nwant\n%s", got["low/a.go"], tt.want)
			}
		})
	}
	t.Run("an addition", func(t *testing.T) {
		got, err := apply(root, []Edit{{In: "low", Add: "const c = 3", Imports: []string{"os"}}})
		if err != nil || got["low/planted_added_0.go"] != "package low\nimport \"os\"\nconst c = 3\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestBuild plants a bug in this package, and has its tests run with it and
// without.
func TestBuild(t *testing.T) {
	if name, ok := Chosen(); ok {
		if moved := switchName != "planted_switch.go"; moved != (name == "another name") {
			t.Errorf("%q is chosen and switchName is %q", name, switchName)
		}
		return
	}
	binary := Build(t, []Edit{{In: "internal/planted", Decl: "switchName", Replace: `
		var switchName = map[bool]string{true: "moved.go", false: "planted_switch.go"}[
			isPlanted("another name", "and one more")]`}})
	for _, name := range []string{"", "another name", "unknown"} {
		if out, err := binary.Command(t.Context(), name, "-test.run=^TestBuild$").CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", name, err, out)
		}
	}
	out, err := binary.Command(t.Context(), "and one more", "-test.run=^TestBuild$").CombinedOutput()
	if err == nil || !slices.Contains(strings.Fields(string(out)), "FAIL") {
		t.Errorf("a bug that the test notices: %v\n%s", err, out)
	}
}
