package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameMetrics checks that each metric in a document is in the list
// that is made from the program. Braces may hold the parts in which names differ.
func TestDocumentsNameMetrics(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "ARCHITECTURE.md"))
	metric := regexp.MustCompile(`registryd_[a-z0-9_]*(?:\{[a-z_,]+\}_[a-z_]+)?`)
	parts := regexp.MustCompile(`\{(.+)\}`)
	names := 0
	for _, f := range documents {
		if filepath.Base(f) == "metrics.md" {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metric.FindAllString(string(text), -1) {
			alternatives := []string{name}
			if m := parts.FindStringSubmatch(name); m != nil {
				alternatives = nil
				for part := range strings.SplitSeq(m[1], ",") {
					alternatives = append(alternatives, strings.Replace(name, m[0], part, 1))
				}
			}
			for _, a := range alternatives {
				names++
				if !strings.Contains(string(list), "`"+a+"`") {
					t.Errorf("%s names the metric %s, which docs/metrics.md lacks", f, a)
				}
			}
		}
	}
	if names < 20 {
		t.Errorf("%d metrics found: are they written otherwise?", names)
	}
}
