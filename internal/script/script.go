// Package script runs tests that read like prose: a file of commands, each with
// the state that follows it.
//
//	offer a=register
//	----
//	queue 1
//
//	advance 500ms
//	----
//	0.500s sent batch 1: a
//
// A line that begins with # is a comment. The format and the comparison are
// those of github.com/cockroachdb/datadriven, which runs the interaction tests
// of etcd's raft. go test -rewrite writes the answers into the files: review
// them as a diff.
package script

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// Each runs the test once for each script in dir, as a subtest with the name of
// its file. A folder without scripts fails the test.
func Each(t *testing.T, dir string, run func(t *testing.T, path string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no script in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { run(t, file) })
	}
}

// Run runs the script in a file. It calls run for each command, in this
// goroutine, and compares what run returns with what the file expects; the first
// difference ends the test. It starts no subtest, so it may run inside a
// synctest bubble.
func Run(t *testing.T, path string, run func(Command) string) {
	t.Helper()
	datadriven.RunTest(t, path, func(t *testing.T, data *datadriven.TestData) string {
		t.Helper()
		cmd := Command{Name: data.Cmd, Input: data.Input, Pos: data.Pos, t: t, read: make(map[string]bool)}
		for _, arg := range data.CmdArgs {
			if len(arg.Vals) == 0 {
				cmd.Words = append(cmd.Words, arg.Key)
				continue
			}
			cmd.Args = append(cmd.Args, Arg{arg.Key, strings.Join(arg.Vals, ",")})
		}
		out := run(cmd)
		for _, arg := range cmd.Args {
			if !cmd.read[arg.Name] && !cmd.read[""] {
				cmd.Fatalf("unknown argument %s", arg.Name)
			}
		}
		return out
	})
}

// Command is one command of a script: its name, its words and its arguments,
// as in "offer a b kind=register". An argument that the test does not ask for
// fails the test, so that a misspelt one is noticed.
type Command struct {
	Name  string
	Words []string // arguments without a value, in order
	Args  []Arg    // arguments with a value, in order
	Input string   // the lines between the command and its ----
	Pos   string   // file:line

	t    *testing.T
	read map[string]bool
}

// Arg is an argument with a value: name=value, or name=(one, two), whose Value
// is then "one,two".
type Arg struct{ Name, Value string }

// All returns the arguments with a value, whatever their names, in order.
func (c Command) All() []Arg {
	c.read[""] = true
	return c.Args
}

// Word returns the i-th word. It fails the test if there is none.
func (c Command) Word(i int) string {
	c.t.Helper()
	if i >= len(c.Words) {
		c.Fatalf("word %d is missing", i+1)
	}
	return c.Words[i]
}

// Text returns the value of an argument, or fallback without it.
func (c Command) Text(name, fallback string) string {
	c.read[name] = true
	i := slices.IndexFunc(c.Args, func(a Arg) bool { return a.Name == name })
	if i < 0 {
		return fallback
	}
	return c.Args[i].Value
}

// Int returns an argument as a number, or fallback without it.
func (c Command) Int(name string, fallback int) int {
	c.t.Helper()
	text := c.Text(name, strconv.Itoa(fallback))
	n, err := strconv.Atoi(text)
	if err != nil {
		c.Fatalf("%s=%s: not a number", name, text)
	}
	return n
}

// Duration returns an argument as a duration, or fallback without it.
func (c Command) Duration(name string, fallback time.Duration) time.Duration {
	c.t.Helper()
	return c.duration(name, c.Text(name, fallback.String()))
}

// WordDuration returns the i-th word as a duration. It fails the test if there
// is none.
func (c Command) WordDuration(i int) time.Duration {
	c.t.Helper()
	return c.duration(c.Name, c.Word(i))
}

func (c Command) duration(name, text string) time.Duration {
	c.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		c.Fatalf("%s %s: not a duration", name, text)
	}
	return d
}

// Fatalf ends the test with a message that names the command's place.
func (c Command) Fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s: %s: "+format, append([]any{c.Pos, c.Name}, args...)...)
}
