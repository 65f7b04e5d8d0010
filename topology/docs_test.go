package topology_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocument checks that docs/topologies.md names each test of this package,
// and no other.
func TestDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join("..", "docs", "topologies.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, name := range regexp.MustCompile("`(Test[A-Za-z0-9]+)[`/]").FindAllStringSubmatch(string(document), -1) {
		named[name[1]] = true
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(t `)
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range declared.FindAllStringSubmatch(string(source), -1) {
			if !named[found[1]] && found[1] != "TestDocument" {
				t.Errorf("%s of %s is not in the document", found[1], name)
			}
			delete(named, found[1])
		}
	}
	for name := range named {
		t.Errorf("the document names %s, which does not exist", name)
	}
	if !strings.Contains(string(document), "deploy/nats") {
		t.Error("the document does not name the configurations")
	}
}
