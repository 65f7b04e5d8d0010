package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigrationNamesProperties checks that each setting of Spring's Eureka server has a
// place in the guide for migrations.
func TestMigrationNamesProperties(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join(root, "docs", "migrate-from-java-eureka.md"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(root, "testdata", "eureka", "server-properties.txt"))
	if err != nil {
		t.Fatal(err)
	}
	properties := 0
	for line := range strings.Lines(string(list)) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(name, "#") {
			continue
		}
		properties++
		name = strings.TrimPrefix(name, "eureka.server.")
		if !strings.Contains(string(guide), "`"+name+"`") && !strings.Contains(string(guide), "`"+name+".NAME=URL`") {
			t.Errorf("the guide says nothing of %s", name)
		}
	}
	if properties < 60 {
		t.Errorf("%d properties found: is the format another?", properties)
	}
}
