// Package locks_test keeps log lines out of critical sections. A log may block
// for as long as nobody reads it; a line that is written under a lock then blocks
// everybody who wants the lock.
//
// It looks at each function by itself: a call such as x.log.Warn between a Lock
// and its Unlock, or in a function whose comment says that a lock is held, is a
// fault. It does not follow calls.
package locks_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// heldRule is how this project says in a comment that a lock is held.
	heldRule = regexp.MustCompile(`\b(mu|[Tt]he lock) is held\b|\b(holds|hold) (mu|the lock)\b`)
	logCalls = []string{"Debug", "Info", "Warn", "Error", "Log", "LogAttrs"}
	logName  = regexp.MustCompile(`(?i)^(log|logger)$`)
)

// lines returns the positions of log lines that are written under a lock.
func lines(file *ast.File) (found []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch f := n.(type) {
		case *ast.FuncDecl:
			if f.Body != nil {
				s := scan{held: f.Doc != nil && heldRule.MatchString(strings.ReplaceAll(f.Doc.Text(), "\n", " "))}
				s.block(f.Body.List)
				found = append(found, s.found...)
			}
		case *ast.FuncLit: // Called elsewhere, as a rule without the lock.
			s := scan{}
			s.block(f.Body.List)
			found = append(found, s.found...)
		}
		return true
	})
	slices.Sort(found)
	return slices.Compact(found)
}

type scan struct {
	held  bool
	found []token.Pos
}

// block follows statements. What a nested block does to the lock counts after it
// too, unless the block returns.
func (s *scan) block(list []ast.Stmt) {
	for _, stmt := range list {
		if d, ok := stmt.(*ast.DeferStmt); ok && method(d.Call) != "" {
			continue // defer mu.Unlock(): held until the end.
		}
		before := s.held
		ast.Inspect(stmt, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.BlockStmt:
				held := s.held
				if s.block(n.List); leaves(n.List) {
					s.held = held
				}
				return false
			case *ast.CaseClause:
				held := s.held
				s.block(n.Body)
				s.held = held
				return false
			case *ast.CallExpr:
				s.call(n)
			}
			return true
		})
		if leaves([]ast.Stmt{stmt}) {
			s.held = before
		}
	}
}

func leaves(list []ast.Stmt) bool {
	if len(list) == 0 {
		return false
	}
	switch list[len(list)-1].(type) {
	case *ast.ReturnStmt, *ast.BranchStmt:
		return true
	}
	return false
}

func (s *scan) call(c *ast.CallExpr) {
	switch name := method(c); {
	case name == "Lock" || name == "RLock":
		s.held = true
	case name == "Unlock" || name == "RUnlock":
		s.held = false
	case s.held && slices.Contains(logCalls, name) && isLog(c.Fun.(*ast.SelectorExpr).X):
		s.found = append(s.found, c.Pos())
	}
}

// method returns the name of a method without a package's: x in a.b.x().
func method(c *ast.CallExpr) string {
	if sel, ok := c.Fun.(*ast.SelectorExpr); ok {
		return sel.Sel.Name
	}
	return ""
}

// isLog reports whether an expression is called log or logger, or made of one.
func isLog(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return logName.MatchString(e.Name)
	case *ast.SelectorExpr:
		return logName.MatchString(e.Sel.Name)
	case *ast.CallExpr: // log.With("peer", p).Info
		if sel, ok := e.Fun.(*ast.SelectorExpr); ok {
			return isLog(sel.X)
		}
	}
	return false
}

func TestNoLogUnderLock(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, pos := range lines(file) {
			t.Errorf("%v: a log line under a lock: build it there, write it after", set.Position(pos))
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Fatalf("read %d files: %v", files, err)
	}
}

func TestLines(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       int
	}{
		{"between", `{ p.mu.Lock(); p.log.Warn("x"); p.mu.Unlock() }`, 1},
		{"after a deferred unlock", `{ p.mu.RLock(); defer p.mu.RUnlock(); if p.ok { p.log.With("a", 1).Info("x") } }`, 1},
		{"after it", `{ p.mu.Lock(); p.mu.Unlock(); p.log.Warn("x") }`, 0},
		{"an early return unlocks", `{ p.mu.Lock(); if p.ok { p.mu.Unlock(); return }; p.logger.Error("x"); p.mu.Unlock() }`, 1},
		{"unlocked in each branch", `{ p.mu.Lock(); if p.ok { p.mu.Unlock(); p.log.Warn("x"); return }; p.mu.Unlock(); p.log.Warn("x") }`, 0},
		{"in another goroutine", `{ p.mu.Lock(); defer p.mu.Unlock(); go func() { p.log.Warn("x") }() }`, 0},
		{"in a switch", `{ p.mu.Lock(); switch { case p.ok: p.log.Warn("x") }; p.mu.Unlock() }`, 1},
		{"no log", `{ p.mu.Lock(); p.t.Error("x"); p.mu.Unlock() }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, doc := range []string{"", "// f does it. mu is held.\n"} {
				want := tc.want
				text := "package p\n" + doc + "func f() " + tc.body
				if doc != "" {
					want, text = 1, "package p\n"+doc+`func f() { p.log.Warn("x") }`
				}
				file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.ParseComments)
				if err != nil {
					t.Fatal(err)
				}
				if got := len(lines(file)); got != want {
					t.Errorf("%d lines in %s, want %d", got, fmt.Sprintf("%.80s", text), want)
				}
			}
		})
	}
}
