// Package imports_test keeps the import graph as the design draws it: each
// folder may import what its row names, and nothing else of ours.
//
//	*.go but tests ──imports only──▶ edges ──rooms──▶ faults
//
// It reads the files itself and does not ask the go command. So an edge counts
// under every build tag, and the test cache notices a change in any file.
package imports_test

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/registryd/registryd"
	// nats is what the paths of every NATS module begin with.
	nats = "github.com/nats-io/"
)

// rooms says for each folder which of our folders its code may import. Tests are
// free: they may put anything together. A new folder needs a row here.
var rooms = map[string][]string{
	"eureka":     nil,
	"registry":   {"eureka"},
	"acceptor":   nil,
	"batcher":    {"acceptor"},
	"membership": nil,
	"broker":     {"internal/certs", "internal/redact", "internal/reread", "internal/sample"},
	"consumer":   {"registry", "eureka", "internal/sample"},
	"repair":     {"registry", "eureka", "internal/sample"},
	"cluster":    {"registry", "eureka", "acceptor", "batcher", "membership", "repair", "internal/sample"},
	"bridge": {
		"cluster", "registry", "eureka", "acceptor", "batcher", "internal/sample", "internal/serviceurl",
	},
	"history":  {"registry", "eureka"},
	"regions":  {"registry", "eureka", "internal/sample", "internal/serviceurl"},
	"snapshot": {"registry", "eureka"},
	"page":     {"access", "api", "history", "registry", "eureka", "internal/plain"},
	"access":   {"eureka", "internal/reread", "internal/sample"},
	"api": {
		"access", "registry", "history", "regions", "eureka", "internal/near", "internal/plain", "internal/sample",
	},
	"tail":         {"eureka", "internal/plain"},
	"client":       {"eureka"},
	"registrytest": {"node", "broker", "client", "registry"},
	"node": {
		"eureka", "registry", "acceptor", "batcher", "broker",
		"consumer", "cluster", "bridge", "membership", "history", "regions", "repair", "api", "page", "tail",
		"client", "snapshot", "access", "internal/sample", "internal/certs", "internal/redact",
	},
	"dev": {"node", "client", "broker", "eureka"},
	"cmd/registryd": {
		"node", "dev", "tail", "broker", "client", "registry", "history", "regions", "api", "access", "eureka",
		"internal/certs", "internal/logqueue", "internal/near", "internal/plain", "internal/redact", "internal/reread", "internal/serviceurl",
	},
	"bench":          nil,
	"bench/guard":    nil,
	"bench/storm":    nil,
	"bench/process":  nil,
	"bench/load":     {"bench/process"},
	"bench/growth":   {"bench/process"},
	"bench/capacity": {"bench/process"},
	"simulate":       nil,
	"faults":         nil,
	"topology":       nil,

	"internal/await":      nil,
	"internal/certs":      {"internal/reread", "internal/sample"},
	"internal/certstest":  nil,
	"internal/docs":       nil,
	"internal/imports":    nil,
	"internal/locks":      nil,
	"internal/logqueue":   nil,
	"internal/natstest":   {"broker"},
	"internal/near":       nil,
	"internal/plain":      nil,
	"internal/planted":    nil,
	"internal/race":       nil,
	"internal/redact":     nil,
	"internal/reread":     {"internal/sample"},
	"internal/sample":     nil,
	"internal/script":     nil,
	"internal/serviceurl": nil,
}

// natsRooms are the folders that may import NATS.
var natsRooms = []string{"broker", "internal/natstest"}

// edge is one import of one folder. A path of ours is without the module in
// front: "eureka", and "." for the module's root.
type edge struct{ from, to string }

// faults returns a line for each folder without a row and for each edge that
// its row does not allow, in order.
func faults(folders []string, edges []edge, rooms map[string][]string, natsRooms []string) []string {
	var out []string
	for _, folder := range folders {
		if _, ok := rooms[folder]; !ok {
			out = append(out, fmt.Sprintf("%s has no row in rooms: say what it may import", folder))
		}
	}
	for _, e := range edges {
		may, known := rooms[e.from]
		switch {
		case strings.HasPrefix(e.to, nats):
			if !slices.Contains(natsRooms, e.from) {
				out = append(out, fmt.Sprintf("%s imports %s: only %s may", e.from, e.to, strings.Join(natsRooms, " and ")))
			}
		case known && isOurs(e.to) && !slices.Contains(may, ours(e.to)):
			out = append(out, fmt.Sprintf("%s imports %s: its row allows %v", e.from, ours(e.to), may))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// isOurs reports whether an import path is in this module.
func isOurs(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// ours cuts the module off an import path of ours; its root is ".".
func ours(importPath string) string {
	return cmp.Or(strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"), ".")
}

// isModule reports whether a folder is the root of a module of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// read returns the folders under root that hold Go files, and what those that
// are no tests import. It goes where the go command goes: not into testdata or
// node_modules, and not into what begins with a dot or an underscore.
func read(root string) (folders []string, edges []edge, err error) {
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
			if name != root && (hidden || base == "testdata" || base == "node_modules" || isModule(name)) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		from := filepath.ToSlash(dir)
		seen[from] = true
		if strings.HasSuffix(base, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
			}
			edges = append(edges, edge{from, to})
		}
		return nil
	})
	return slices.Sorted(maps.Keys(seen)), edges, err
}

// moduleRoot is the folder of go.mod: two above this one.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..")
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if line, _, _ := strings.Cut(string(mod), "\n"); line != "module "+module {
		t.Fatalf("go.mod begins with %q, want %q", line, "module "+module)
	}
	return root
}

func TestImports(t *testing.T) {
	folders, edges, err := read(moduleRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults(folders, edges, rooms, natsRooms) {
		t.Error(fault)
	}
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		if !slices.Contains(folders, room) {
			t.Errorf("rooms has a row for %s, which holds no Go file", room)
		}
	}
}

func TestFaults(t *testing.T) {
	rooms := map[string][]string{"low": nil, "high": {"low"}, "wire": nil}
	tests := []struct {
		name    string
		folders []string
		edges   []edge
		want    []string
	}{
		{
			name:    "allowed",
			folders: []string{"high", "low", "wire"},
			edges: []edge{
				{"high", module + "/low"},
				{"low", "net/http"},
				{"low", "github.com/google/uuid"},
				{"wire", nats + "nats.go"},
			},
		},
		{
			name:    "against the row",
			folders: []string{"high", "low"},
			edges:   []edge{{"low", module + "/high"}},
			want:    []string{"low imports high: its row allows []"},
		},
		{
			name:    "a folder inside an allowed one is another folder",
			folders: []string{"high"},
			edges:   []edge{{"high", module + "/low/deep"}},
			want:    []string{"high imports low/deep: its row allows [low]"},
		},
		{
			name:    "the root",
			folders: []string{"high"},
			edges:   []edge{{"high", module}},
			want:    []string{"high imports .: its row allows [low]"},
		},
		{
			name:    "the same edge in two files is one fault",
			folders: []string{"low"},
			edges:   []edge{{"low", module + "/high"}, {"low", module + "/high"}},
			want:    []string{"low imports high: its row allows []"},
		},
		{
			name:    "unknown folder",
			folders: []string{"low", "new"},
			edges:   []edge{{"new", module + "/low"}},
			want:    []string{"new has no row in rooms: say what it may import"},
		},
		{
			name:    "NATS outside its room",
			folders: []string{"high", "wire"},
			edges:   []edge{{"high", nats + "nats-server/v2/server"}, {"high", nats + "nats.go"}},
			want: []string{
				"high imports github.com/nats-io/nats-server/v2/server: only wire may",
				"high imports github.com/nats-io/nats.go: only wire may",
			},
		},
		{
			name:    "a module whose name only begins like ours",
			folders: []string{"low"},
			edges:   []edge{{"low", module + "-tools/low"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(tt.folders, tt.edges, rooms, []string{"wire"})
			if !slices.Equal(got, tt.want) {
				t.Errorf("faults:\ngot  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/a.go":                  "package a\n\nimport _ \"fmt\"\n",
		"a/a_plan9.go":            "package a\n\nimport _ \"os\"\n",
		"a/a_test.go":             "package a\n\nimport _ \"testing\"\n",
		"b/c/c_test.go":           "package c_test\n\nimport _ \"errors\"\n",
		"a/testdata/t.go":         "package t\n\nimport _ \"log\"\n",
		"web/node_modules/x/x.go": "package x\n\nimport _ \"log\"\n",
		".cache/x.go":             "package x\n\nimport _ \"log\"\n",
		"_old/x.go":               "package x\n\nimport _ \"log\"\n",
		"d/readme.md":             "no Go file",
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folders, edges, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b/c"}; !slices.Equal(folders, want) {
		t.Errorf("folders: got %q, want %q", folders, want)
	}
	if want := []edge{{"a", "fmt"}, {"a", "os"}}; !slices.Equal(edges, want) {
		t.Errorf("edges: got %v, want %v", edges, want)
	}
}
