package planted

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"low/a.go":  "package low\n\nconst a, b = 1, 2\n",
		"high/c.go": "package high\n\nconst c, d = 3, 3\n",
	} {
		name := filepath.Join(root, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		edits []Edit
		want  map[string]string // but for the switch
		fault string            // part of it
	}{
		{
			name:  "one",
			edits: []Edit{{"low/a.go", "1", "7"}},
			want:  map[string]string{"low/a.go": "package low\n\nconst a, b = 7, 2\n"},
		},
		{
			name:  "a later one finds what an earlier one put in",
			edits: []Edit{{"low/a.go", "1", "7, 8"}, {"high/c.go", "c,", "e,"}, {"low/a.go", "7,", "9,"}},
			want: map[string]string{
				"low/a.go":  "package low\n\nconst a, b = 9, 8, 2\n",
				"high/c.go": "package high\n\nconst e, d = 3, 3\n",
			},
		},
		{name: "text that is not there", edits: []Edit{{"low/a.go", "5", "6"}}, fault: `low/a.go: "5" is there 0 times`},
		{name: "text that is there twice", edits: []Edit{{"high/c.go", "3", "6"}}, fault: `high/c.go: "3" is there 2 times`},
		{name: "a file that is not there", edits: []Edit{{"low/z.go", "5", "6"}}, fault: "z.go"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
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
			for file := range tt.want {
				dir := filepath.Dir(file)
				name := filepath.ToSlash(filepath.Join(dir, switchName))
				if !strings.HasPrefix(got[name], "package "+dir+"\n") {
					t.Errorf("%s is %q, want it in package %s", name, got[name], dir)
				}
				delete(got, name)
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
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
	binary := Build(t, []Edit{
		{"internal/planted/planted.go", "const switchName = \"planted_switch.go\"\n", `var switchName = map[bool]string{true: "moved.go", false: "planted_switch.go"}[isPlanted("another name", "and one more")]` + "\n"},
	})
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
