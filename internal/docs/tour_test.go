package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"testing/fstest"
)

// TestTourNamesCode checks that each name in the tour is in the code. A name is
// written as folder.Name or folder.Type.Method.
func TestTourNamesCode(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "tour.md"))
	if err != nil {
		t.Fatal(err)
	}
	found, faults := unknownNames(os.DirFS(root), string(text))
	for _, f := range faults {
		t.Errorf("docs/tour.md names %s: no such function, type or method", f)
	}
	if found < 30 {
		t.Errorf("%d names found: is the format another?", found)
	}
}

func TestUnknownNames(t *testing.T) {
	tree := fstest.MapFS{
		"room/a.go": {Data: []byte("package room\n\ntype Sink interface{ Changed() }\n\n" +
			"type box[K any] struct{}\n\nfunc (b *box[K]) Put() {}\n")},
		"room/a_test.go": {Data: []byte("package room_test\n\nfunc TestA() {}\n")},
	}
	found, faults := unknownNames(tree, "`room.Sink.Changed`, `room.box.Put`, `room.TestA`, `room.box`, `other.Name`, "+
		"`a file.txt`, `e.g.`\n`room.box.Take` `room.Put` `room.Sink.Put`")
	if want := []string{"other.Name", "room.Put", "room.Sink.Put", "room.box.Take"}; !slices.Equal(faults, want) {
		t.Errorf("unknown: %q, want %q", faults, want)
	}
	if found != 8 {
		t.Errorf("%d names, want 8", found)
	}
}

var codeName = regexp.MustCompile("`([a-z][a-z/]*)\\.([A-Za-z][A-Za-z0-9]*(?:\\.[A-Za-z][A-Za-z0-9]*)?)`")

// unknownNames returns how many names of code there are in a text, and those that
// are not declared in their folder, in order.
func unknownNames(tree fs.FS, text string) (found int, unknown []string) {
	rooms := make(map[string]map[string]bool)
	for _, m := range codeName.FindAllStringSubmatch(text, -1) {
		found++
		if rooms[m[1]] == nil {
			rooms[m[1]] = declared(tree, m[1])
		}
		if name := m[1] + "." + m[2]; !rooms[m[1]][m[2]] && !slices.Contains(unknown, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return found, unknown
}

// declared returns the functions and types of a folder, tests included, and as
// Type.Method the methods.
func declared(tree fs.FS, folder string) map[string]bool {
	names := make(map[string]bool)
	files, err := fs.Glob(tree, path.Join(folder, "*.go"))
	if err != nil {
		panic(fmt.Sprint("a folder that is no pattern: ", err))
	}
	for _, name := range files {
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			continue // the compiler says so
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					t, ok := s.(*ast.TypeSpec)
					if !ok {
						continue
					}
					names[t.Name.Name] = true
					if i, ok := t.Type.(*ast.InterfaceType); ok {
						for _, m := range i.Methods.List {
							for _, n := range m.Names {
								names[t.Name.Name+"."+n.Name] = true
							}
						}
					}
				}
			}
		}
	}
	return names
}

// receiver returns the name of a method's type and a dot; "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	switch generic := t.(type) {
	case *ast.IndexExpr:
		t = generic.X
	case *ast.IndexListExpr:
		t = generic.X
	}
	name, _ := t.(*ast.Ident)
	if name == nil {
		return ""
	}
	return name.Name + "."
}
