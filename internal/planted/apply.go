package planted

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// apply returns the text of each file that the edits change or add, by its path
// from root. Its error names every edit that doesn't fit.
func apply(root string, edits []Edit) (map[string]string, error) {
	folders := make(map[string]*folder)
	var faults []error
	for i := range edits {
		e := &edits[i]
		d := folders[e.In]
		if d == nil {
			var err error
			if d, err = readFolder(root, e.In); err != nil {
				return nil, err
			}
			folders[e.In] = d
		}
		if err := d.add(e); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", e.In, err))
		}
	}
	out := make(map[string]string)
	for in, d := range folders {
		for _, f := range d.files {
			text, err := f.edited()
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", f.path, err))
			}
			if text != f.text {
				out[f.path] = text
			}
		}
		for i, text := range d.added {
			out[path.Join(in, fmt.Sprintf("planted_added_%d.go", i))] = text
		}
		out[path.Join(in, switchName)] = fmt.Sprintf(switchFile, d.name)
	}
	return out, errors.Join(faults...)
}

// folder is a package's folder, with its tests, except those of another
// package.
type folder struct {
	name  string // of the package
	files []*file
	added []string // texts of new files
}

// file is a source file, and what is to be changed in it.
type file struct {
	path    string // from the module's root
	text    string
	syntax  *ast.File
	set     *token.FileSet
	changes []change
}

// change replaces the bytes from start up to end.
type change struct {
	start, end int
	text       string
}

func readFolder(root, in string) (*folder, error) {
	names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(in), "*.go"))
	if err != nil {
		return nil, err
	}
	d := new(folder)
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // A source file of this module.
		if err != nil {
			return nil, err
		}
		f := &file{path: path.Join(in, filepath.Base(name)), text: string(text), set: token.NewFileSet()}
		if f.syntax, err = parser.ParseFile(f.set, f.path, text, parser.SkipObjectResolution); err != nil {
			return nil, err
		}
		if strings.HasSuffix(f.syntax.Name.Name, "_test") {
			continue
		}
		d.name = f.syntax.Name.Name
		d.files = append(d.files, f)
	}
	if len(d.files) == 0 {
		return nil, fmt.Errorf("%s: no package", in)
	}
	return d, nil
}

// add takes one edit.
func (d *folder) add(e *Edit) error {
	if e.Add != "" {
		var text strings.Builder
		text.WriteString("package " + d.name + "\n")
		for _, imported := range e.Imports {
			text.WriteString("import " + strconv.Quote(imported) + "\n")
		}
		text.WriteString(e.Add + "\n")
		d.added = append(d.added, text.String())
	}
	wanted := cmp.Or(e.Func, e.Decl)
	if wanted == "" {
		if e.Add == "" {
			return errors.New("an edit without Func, Decl or Add")
		}
		return nil
	}
	found := d.lookup(wanted)
	if len(found) != 1 {
		return fmt.Errorf("%s is declared %d times, want once", wanted, len(found))
	}
	f, at := found[0].file, found[0]
	if e.Decl != "" {
		f.replace(at, e.Replace)
	} else if err := f.change(at, e); err != nil {
		return fmt.Errorf("%s: %w", wanted, err)
	}
	for _, imported := range e.Imports {
		f.add(imported)
	}
	return nil
}

// declared is a declaration at the top of a file. Of a group it is one line.
type declared struct {
	file    *file
	node    ast.Node
	grouped bool
}

// lookup returns the declarations that have a name.
func (d *folder) lookup(name string) []declared {
	var out []declared
	for _, f := range d.files {
		for _, decl := range f.syntax.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if funcName(decl) == name {
					out = append(out, declared{f, decl, false})
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if !declares(spec, name) {
						continue
					}
					if decl.Lparen.IsValid() {
						out = append(out, declared{f, spec, true})
					} else {
						out = append(out, declared{f, decl, false})
					}
				}
			}
		}
	}
	return out
}

func declares(spec ast.Spec, name string) bool {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		return spec.Name.Name == name
	case *ast.ValueSpec:
		return len(spec.Names) == 1 && spec.Names[0].Name == name
	}
	return false
}

// funcName returns "F", or "T.M" for a method of T or *T.
func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	for {
		switch of := t.(type) {
		case *ast.StarExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.IndexListExpr:
			t = of.X
		case *ast.Ident:
			return of.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}

func (f *file) offset(p token.Pos) int { return f.set.Position(p).Offset }

// replace has text take the place of a declaration. That of a line of a group
// stands by itself at the end.
func (f *file) replace(d declared, text string) {
	start, end := f.offset(d.node.Pos()), f.offset(d.node.End())
	if d.grouped {
		f.changes = append(f.changes, change{start, end, ""}, change{len(f.text), len(f.text), "\n" + text + "\n"})
		return
	}
	f.changes = append(f.changes, change{start, end, text})
}

// change changes the body of a function.
func (f *file) change(d declared, e *Edit) error {
	fn, ok := d.node.(*ast.FuncDecl)
	if !ok || fn.Body == nil {
		return errors.New("not a function with a body")
	}
	start := f.offset(fn.Body.Lbrace) + 1
	end := start
	if e.Find != "" {
		body := tokens(f.text[start:f.offset(fn.Body.Rbrace)])
		code := tokens(e.Find)
		var at []int
		for i := range len(body) - len(code) + 1 {
			if slices.EqualFunc(body[i:i+len(code)], code, sameText) {
				at = append(at, i)
			}
		}
		if len(at) != 1 {
			return fmt.Errorf("%q is there %d times, want once", e.Find, len(at))
		}
		end = start + body[at[0]+len(code)-1].end
		start += body[at[0]].start
	}
	if e.Before != "" {
		f.changes = append(f.changes, change{start, start, "\n" + e.Before + "\n"})
	}
	if e.Replace != "" {
		f.changes = append(f.changes, change{start, end, e.Replace})
	}
	if e.After != "" {
		f.changes = append(f.changes, change{end, end, "\n" + e.After + "\n"})
	}
	return nil
}

// add imports a package unless the file does so.
func (f *file) add(imported string) {
	quoted := strconv.Quote(imported)
	end := f.offset(f.syntax.Name.End())
	c := change{end, end, "\nimport " + quoted + "\n"}
	same := func(i *ast.ImportSpec) bool { return i.Path.Value == quoted }
	if slices.Contains(f.changes, c) || slices.ContainsFunc(f.syntax.Imports, same) {
		return
	}
	f.changes = append(f.changes, c)
}

// edited returns the file's text with all changes.
func (f *file) edited() (string, error) {
	slices.SortStableFunc(f.changes, func(a, b change) int { return cmp.Or(a.start-b.start, a.end-b.end) })
	var out strings.Builder
	done := 0
	for _, c := range f.changes {
		if c.start < done {
			return "", fmt.Errorf("edits overlap at %q", f.text[c.start:c.end])
		}
		out.WriteString(f.text[done:c.start])
		out.WriteString(c.text)
		done = c.end
	}
	out.WriteString(f.text[done:])
	return out.String(), nil
}

// lexeme is a token of Go, and where it stands.
type lexeme struct {
	start, end int
	text       string
}

func sameText(a, b lexeme) bool { return a.text == b.text }

// tokens returns the tokens of code, without comments and without what only the
// layout asks for: semicolons at the ends of lines, commas before a closing bracket.
func tokens(code string) []lexeme {
	var s scanner.Scanner
	set := token.NewFileSet()
	f := set.AddFile("", set.Base(), len(code))
	s.Init(f, []byte(code), nil, 0)
	var out []lexeme
	for {
		pos, tok, lit := s.Scan()
		switch {
		case tok == token.EOF:
			return out
		case tok == token.SEMICOLON && lit == "\n":
			continue
		case tok == token.RPAREN || tok == token.RBRACE || tok == token.RBRACK:
			if n := len(out); n > 0 && out[n-1].text == "," {
				out = out[:n-1]
			}
		}
		if lit == "" || tok == token.SEMICOLON {
			lit = tok.String()
		}
		start := f.Offset(pos)
		out = append(out, lexeme{start, start + len(lit), lit})
	}
}
