package differential

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestClassesAreDocumented checks that each class has one row in the list of
// deliberate differences, and that each class named there exists.
func TestClassesAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "eureka-compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Deliberate differences\n")
	if !ok {
		t.Fatal("no section of deliberate differences")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	name := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 5 {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[len(cells)-2], -1) {
			documented = append(documented, m[1])
		}
	}
	var existing []string
	for _, c := range classes() {
		existing = append(existing, c.name)
	}
	for _, c := range existing {
		if n := len(slices.DeleteFunc(slices.Clone(documented), func(d string) bool { return d != c })); n != 1 {
			t.Errorf("class %s has %d rows, want 1", c, n)
		}
	}
	for _, d := range documented {
		if !slices.Contains(existing, d) {
			t.Errorf("there is no class %s", d)
		}
	}
}
