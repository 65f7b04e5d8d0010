package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestLinks checks every link of every document, and every document that a
// document or a comment cites.
func TestLinks(t *testing.T) {
	faults, documents, err := brokenLinks(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
	if documents < 10 {
		t.Errorf("%d documents found", documents)
	}
}

func TestBrokenLinks(t *testing.T) {
	faults, documents, err := brokenLinks(fstest.MapFS{
		"README.md": {Data: []byte("# The top\n\n[a](docs/a.md) [b](docs/b.md) [web](https://example.org/x.md)\n" +
			"[c](docs/a.md#two-words) [d](docs/a.md#two)\n" +
			"see docs/a.md, `a.md` and gone.md\n\n[e](#the-top) [f](#the-end)\n")},
		"docs/a.md": {Data: []byte("## Two *words*\n\n    # no heading\n\n" +
			"[up](../README.md) [room](../room/) [g](#no-heading)\n")},
		"room/x.go":          {Data: []byte("// See docs/a.md, NOTES.md and HERE.md.\n")},
		"room/HERE.md":       {Data: []byte("[a](../docs/a.md)\n")},
		"node_modules/r.md":  {Data: []byte("[x](nowhere.md)\n")},
		"testdata/record.go": {Data: []byte("package x\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"README.md:3: link to docs/b.md: no such file",
		"README.md:4: link to docs/a.md#two: no such heading",
		"README.md:5: cites gone.md: no such document",
		"README.md:7: link to #the-end: no such heading",
		"docs/a.md:5: link to #no-heading: no such heading",
		"room/x.go:1: cites NOTES.md: no such document",
	}
	if !slices.Equal(faults, want) {
		t.Errorf("faults:\n%s\nwant:\n%s", strings.Join(faults, "\n"), strings.Join(want, "\n"))
	}
	if documents != 3 {
		t.Errorf("%d documents, want 3", documents)
	}
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	citation = regexp.MustCompile(`[A-Za-z0-9_./:-]+\.md\b`)
	heading  = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
)

// brokenLinks returns a line for each link or citation that leads nowhere, and
// the number of documents read. A document is cited by its path from the citing
// file, from the top, from docs, or from the recordings, whose INDEX.md tests cite.
func brokenLinks(tree fs.FS) (faults []string, documents int, err error) {
	exists := func(name string) bool { _, err := fs.Stat(tree, path.Clean(name)); return err == nil }
	cited := func(from, name string) bool {
		return slices.ContainsFunc([]string{path.Dir(from), ".", "docs", "testdata/eureka/wire"},
			func(base string) bool { return exists(path.Join(base, name)) })
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".md" && path.Ext(name) != ".go",
			path.Dir(name) == "internal/docs", path.Dir(name) == "internal/imports":
			return nil // their tests name documents that are not there
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		isDocument := path.Ext(name) == ".md"
		if isDocument {
			documents++
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			fault := func(format string, args ...any) {
				faults = append(faults, fmt.Sprintf("%s:%d: ", name, number)+fmt.Sprintf(format, args...))
			}
			if isDocument {
				for _, found := range link.FindAllStringSubmatch(line, -1) {
					target, anchor, _ := strings.Cut(found[1], "#")
					file := path.Join(path.Dir(name), target)
					switch {
					case strings.Contains(target, "://"):
					case target != "" && !exists(file):
						fault("link to %s: no such file", found[1])
					case target == "":
						file = name
						fallthrough
					case anchor != "":
						if !slices.Contains(anchors(tree, file), anchor) {
							fault("link to %s: no such heading", found[1])
						}
					}
				}
				line = link.ReplaceAllString(line, "")
			}
			for _, found := range citation.FindAllString(line, -1) {
				if !strings.Contains(found, "://") && !cited(name, found) {
					fault("cites %s: no such document", found)
				}
			}
		}
		return nil
	})
	return faults, documents, err
}

// anchors returns the anchors of a document's headings, as GitHub makes them.
func anchors(tree fs.FS, name string) []string {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range heading.FindAllStringSubmatch(string(text), -1) {
		out = append(out, strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return out
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
