// Package planted builds a package's tests once more with bugs planted in the
// code, so that a test can show what it would notice. All bugs are in one
// binary; an environment variable chooses the one that is awake.
//
//	edits ──apply──▶ overlay ──go test -c──▶ Binary ──Command(name)──▶ the tests, with that bug
//
// Each package that is edited gets a function `isPlanted(names ...string) bool`,
// which reports whether one of these bugs is chosen: what an edit puts in stands
// behind it.
package planted

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Variable is the environment variable that chooses a bug. Set to the empty
// text, as to any that is not the name of one, it chooses none.
const Variable = "PLANTED"

// Edit changes one place in the code of a package. The place is named by
// identifiers and by code, which are compared token by token: comments and line
// breaks don't matter. An edit that doesn't fit exactly once is a failing test, not a
// bug that is not there. Edits of one build must not overlap.
type Edit struct {
	In      string   // the package's folder, from the module's root, with slashes
	Imports []string // paths that the new code needs in its file

	// Func is the function to change: "merge", or "Registry.Register" for a method.
	// Find is code in its body; empty: the beginning of the body. Before and After
	// are put around that code; Replace takes its place if it isn't empty.
	Func, Find             string
	Before, After, Replace string

	// Decl is the name of a declaration at the package's top that Replace takes the
	// place of: a function, a method, a type, a constant or a variable.
	Decl string

	Add string // declarations to add to the package
}

// Chosen returns the bug that this process was started with. It was started by a
// [Binary] if ok is true, also if none was chosen.
func Chosen() (name string, ok bool) { return os.LookupEnv(Variable) }

// Binary is a package's tests with bugs in it. It is gone when the test that
// built it ends.
type Binary struct{ file string }

// Build builds the tests of the package in the working directory with all edits.
// flags are more flags for `go test`. It fails the test if an edit doesn't fit or
// the result doesn't build.
func Build(tb testing.TB, edits []Edit, flags ...string) *Binary {
	tb.Helper()
	root, err := moduleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	files, err := apply(root, edits)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for file, text := range files {
		changed := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, filepath.FromSlash(file))] = changed
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		tb.Fatal(err)
	}
	listFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(listFile, list, 0o600); err != nil {
		tb.Fatal(err)
	}
	b := &Binary{filepath.Join(dir, "planted.test")}
	args := slices.Concat([]string{"test", "-c", "-vet=off", "-overlay", listFile, "-o", b.file}, flags, []string{"."})
	build := exec.CommandContext(tb.Context(), "go", args...) //nolint:gosec // Our own arguments.
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return b
}

// Command returns the command that runs the tests with one bug; "": with none.
// The caller starts it, and waits for it.
func (b *Binary) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.file, args...) //nolint:gosec // Built here.
	cmd.Env = append(os.Environ(), Variable+"="+name)
	return cmd
}

// switchFile is added to each package that is edited.
const switchFile = `package %s

import (
	"os"
	"slices"
)

var plantedBug = os.Getenv("` + Variable + `")

func isPlanted(names ...string) bool { return slices.Contains(names, plantedBug) }
`

// switchName is the name of that file.
const switchName = "planted_switch.go"

// moduleRoot is the folder of go.mod: the working directory or one above it.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod in or above the working directory")
		}
		dir = up
	}
}
