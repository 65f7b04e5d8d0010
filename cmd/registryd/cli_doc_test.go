package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

const cliDoc = "../../docs/cli.md"

// TestCommandLineDoc checks docs/cli.md against the help of the program. `make docs` writes it
// anew.
func TestCommandLineDoc(t *testing.T) {
	root := (&program{out: io.Discard, err: io.Discard}).root()
	var doc bytes.Buffer
	fmt.Fprintf(&doc, "# Command line\n\nWritten by `make docs` from the program; a test fails when it is out of date.\n\n"+
		"A NODE is a host, HOST:PORT or URL: `node-1`, `10.0.0.1:8761`, `http://node-1:8761/eureka/`. Progress is told on standard\n"+
		"error, and only to a terminal. `--json` prints what a program can read.\n"+
		"Tables cut long names with `…`, JSON does not.\n\n"+
		"## Completion\n\n    source <(registryd completion bash)          # needs the package bash-completion\n"+
		"    registryd completion zsh > \"${fpath[1]}/_registryd\"\n"+
		"    registryd completion fish > ~/.config/fish/completions/registryd.fish\n\n"+
		"## registryd\n\n%s", indented(helpText(root)))
	documented := 0
	for c := range commands(root) {
		if isCobras(c) || c.Hidden {
			continue
		}
		documented++
		fmt.Fprintf(&doc, "\n## %s\n\n%s", c.CommandPath(), indented(helpText(c)))
		checkHelp(t, c)
	}
	if documented < 10 {
		t.Errorf("%d commands documented", documented)
	}
	checkDoc(t, cliDoc, doc.Bytes())
}

// checkDoc compares a document with what the program says it should be. With -update it
// writes it.
func checkDoc(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil { //nolint:gosec // A document.
			t.Fatal(err)
		}
		return
	}
	now, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(now, want) {
		t.Errorf("%s is out of date: run `make docs`", file)
	}
}

// checkHelp checks that a command that does something has an example of itself, and --json if it
// prints something.
func checkHelp(t *testing.T, c *cobra.Command) {
	t.Helper()
	runs := c.Name() == "serve" || c.Name() == "dev"
	if c.Name() != "version" && !strings.Contains(c.Example, "registryd ") {
		t.Errorf("%s has no example", c.CommandPath())
	}
	if c.Flags().Lookup("json") == nil && !runs {
		t.Errorf("%s has no flag --json", c.CommandPath())
	}
	if c.Short == "" || strings.HasSuffix(c.Short, ".") {
		t.Errorf("%s: short text %q", c.CommandPath(), c.Short)
	}
}

func indented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			out.WriteString("    ")
		}
		out.WriteString(line)
	}
	return out.String()
}
