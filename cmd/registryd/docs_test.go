package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedCommands reads every command line of ours in the documents: the command
// and its flags must exist, and their values be such as the flags take.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\s*(?:\$ |[A-Z_]+=\S+ |until |\(umask 077; )*(?:bin/)?registryd(?: (.*))?$`)
	ends := regexp.MustCompile(`\s(?:#|\||&&|>|<|;|&)`)
	found := 0
	texts := map[string]string{}
	for _, doc := range append(docs, "../../README.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(doc)] = string(text)
	}
	delete(texts, "cli.md") // it is written from the help, whose examples are these
	for c := range commands((&program{in: eof{}, out: io.Discard, err: io.Discard}).root()) {
		if !isCobras(c) {
			texts[c.CommandPath()] = c.Example
		}
	}
	for doc, text := range texts {
		for command := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			match := line.FindStringSubmatch(strings.TrimRight(command, "\n"))
			if match == nil || !strings.HasPrefix(command, " ") && !strings.HasPrefix(command, "registryd ") {
				continue // prose
			}
			arguments := match[1]
			if end := ends.FindStringIndex(" " + arguments); end != nil {
				arguments = arguments[:max(0, end[0]-1)]
			}
			args := strings.Fields(strings.NewReplacer("…", "nats://host:4222", "'", "", `"`, "").Replace(arguments))
			args = normalise(args)
			root := (&program{in: eof{}, out: io.Discard, err: io.Discard}).root()
			c, rest, err := root.Find(args)
			if err == nil && c == root {
				err = unknownCommand(args[0], root)
			}
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", doc, strings.TrimSpace(command), err)
			}
			found++
		}
	}
	if found < 60 {
		t.Errorf("%d commands found, want those of the documents and of the help", found)
	}
}
