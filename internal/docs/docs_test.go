// Package docs_test keeps the documents true: what they name must exist.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// TestCompatibilityNamesTests checks that each row of the lists of rules names a
// test, and that each test named exists in its package.
func TestCompatibilityNamesTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "eureka-compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")
	tests := map[string]string{} // package -> its test sources
	rows := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(line, "## Deliberate differences") {
			break
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasSuffix(line, "| shown by |") {
			continue
		}
		rows++
		found := name.FindAllStringSubmatch(line, -1)
		if len(found) == 0 && !strings.Contains(line, "`make interop`") {
			t.Errorf("no test in row %q", line)
		}
		for _, f := range found {
			folder, test := f[1], f[2]
			if tests[folder] == "" {
				tests[folder] = sources(t, folder)
			}
			if !strings.Contains(tests[folder], "\nfunc "+test+"(") {
				t.Errorf("%s.%s does not exist: %q", folder, test, line)
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows found: is the format another?", rows)
	}
}

// TestSecurityNamesTests checks that each row of what someone can and cannot do names tests
// that exist.
func TestSecurityNamesTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## Who can do what")
	rest, _, _ = strings.Cut(rest, "\n## ")
	name := regexp.MustCompile("`([a-z]+)\\.(Test[A-Za-z0-9]+)`")
	tests := map[string]string{}
	rows := 0
	for line := range strings.SplitSeq(rest, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasSuffix(line, "| shown by |") {
			continue
		}
		rows++
		found := name.FindAllStringSubmatch(line, -1)
		if len(found) == 0 {
			t.Errorf("no test in row %q", line)
		}
		for _, f := range found {
			if tests[f[1]] == "" {
				tests[f[1]] = sources(t, f[1])
			}
			if !strings.Contains(tests[f[1]], "\nfunc "+f[2]+"(") {
				t.Errorf("%s.%s does not exist: %q", f[1], f[2], line)
			}
		}
	}
	if rows < 12 {
		t.Errorf("%d rows found: is the format another?", rows)
	}
}

func sources(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("tests of %s: %d files, %v", folder, len(files), err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// TestDecisionsNameModules checks that each module that go.mod requires directly
// has its row in the decisions.
func TestDecisionsNameModules(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := os.ReadFile(filepath.Join(root, "docs", "decisions.md"))
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "\t") || len(fields) != 2 { // an indirect one has a comment
			continue
		}
		modules++
		name := strings.TrimPrefix(fields[0], "github.com/nats-io/") // two share a row
		if !strings.Contains(string(decisions), name) {
			t.Errorf("docs/decisions.md does not say what %s is for", fields[0])
		}
	}
	if modules == 0 {
		t.Error("no module found: is the format another?")
	}
}

// TestNoLineTwice checks that no entry of a list that merges by union stands
// there twice, in the words of both sides.
func TestNoLineTwice(t *testing.T) {
	title := regexp.MustCompile(`(?m)^- (?:\*\*([^*]+?)\.?\*\*|\[[A-Z]+\] (.{30}))`)
	for _, name := range []string{"docs/decisions.md", "CHANGELOG.md"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		entries := title.FindAllStringSubmatch(string(text), -1)
		seen := make(map[string]bool)
		for _, e := range entries {
			if entry := e[1] + e[2]; seen[entry] {
				t.Errorf("%s has two entries %q", name, entry)
			} else {
				seen[entry] = true
			}
		}
		if len(entries) < 10 {
			t.Errorf("%s: %d entries found: is the format another?", name, len(entries))
		}
	}
}
