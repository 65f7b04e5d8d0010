package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentsNameFlags checks that each flag in a document is one of registryd's.
func TestDocumentsNameFlags(t *testing.T) {
	foreign := []string{
		"cacert", "data-binary", // curl
		"deepen",                                         // git
		"help",                                           // of every command
		"inbox-prefix", "match-replies", "raw", "server", // nats
		"privileged", // containers
	}
	sources, err := filepath.Glob(filepath.Join(root, "cmd", "registryd", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	defined := regexp.MustCompile(`"([a-z][a-z-]*)",\s`) // the usage follows
	flags := foreign
	for _, f := range slices.DeleteFunc(sources, func(f string) bool { return strings.HasSuffix(f, "_test.go") }) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range defined.FindAllSubmatch(text, -1) {
			flags = append(flags, string(m[1]))
		}
	}
	if len(flags) < len(foreign)+20 {
		t.Fatalf("%d flags found: are they defined otherwise?", len(flags)-len(foreign))
	}
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`(?:^|[\s` + "`" + `(|])--([a-z][a-z-]*)`)
	for _, f := range append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md")) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllSubmatch(text, -1) {
			if !slices.Contains(flags, string(m[1])) {
				t.Errorf("%s: there is no flag --%s", f, m[1])
			}
		}
	}
}
