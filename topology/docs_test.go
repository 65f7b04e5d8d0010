package topology_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocument checks that docs/topologies.md names each test of this package,
// and none that is neither here nor among the faults.
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
	here, faults := declared(t, "."), declared(t, filepath.Join("..", "faults"))
	for name := range here {
		if !named[name] && name != "TestDocument" {
			t.Errorf("%s is not in the document", name)
		}
	}
	for name := range named {
		if !here[name] && !faults[name] {
			t.Errorf("the document names %s, which does not exist", name)
		}
	}
	if !strings.Contains(string(document), "deploy/nats") {
		t.Error("the document does not name the configurations")
	}
}

// declared returns the tests of a folder.
func declared(tb testing.TB, folder string) map[string]bool {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		tb.Fatal(err)
	}
	all := map[string]bool{}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(t `).FindAllStringSubmatch(string(source), -1) {
			all[found[1]] = true
		}
	}
	return all
}
