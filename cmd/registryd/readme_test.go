package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/registryd/registryd/internal/natstest"
)

// readmeElsewhere are the commands of README that the scripts do not run, and why.
var readmeElsewhere = map[string]string{
	"make build": "builds the program, which go test has done; CI builds it so for all that runs bin/registryd",
	"make dist":  "takes minutes; make deploy runs it",
	"make test":  "runs this test",
}

// readmeOthers are what a script puts in place of README's hosts, ports, and instances. The
// longest that fits comes first.
var readmeOthers = []struct{ readme, script string }{
	{"127.0.0.1:8761", "127.0.0.1:0"},
	{":8761", ":$HTTP_PORT"},
	{"nats://nats-1:4222,nats://nats-2:4222", "$BROKER"},
	{"10.0.0.1:6222", "$ROUTE_A"},
	{"10.0.0.2:6222", "$ROUTE_B"},
	{"APP/INSTANCE", "ORDERS/o-1"},
	{"APP/ID", "ORDERS/o-1"},
}

// tailLine is a line of what tail prints.
var tailLine = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3}  node-\d → node-\d  [A-Z]\w+ +[A-Z]+/demo-\d+ +` +
	`200 ok +batch [0-9a-f]{4}…[0-9a-f]{4} \d+/\d+ +waited \d+ms +rtt \d+(?:\.\d)?(?:µs|ms)$`)

// TestReadme runs the commands of README as they stand there. A line of a script
// in testdata/readme that begins with README has one of them behind it, and is run as exec;
// what it prints may go to a file.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(text), "    $ bin/registryd tail\n")
	for line := range strings.Lines(shown) {
		line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if !ok {
			break
		}
		if !tailLine.MatchString(line) {
			t.Errorf("README has %q, which is no line of tail", line)
		}
	}
	missing := readmeCommands(string(text))
	if len(missing) < 30 {
		t.Fatalf("%d commands found in README: is the format another?", len(missing))
	}
	for command, reason := range readmeElsewhere {
		if _, ok := missing[command]; !ok {
			t.Errorf("README has no %q, which %s", command, reason)
		}
		delete(missing, command)
	}
	scripts, err := filepath.Glob("testdata/readme/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(missing)
	dir := t.TempDir()
	var files []string
	for _, name := range scripts {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "readme_"+filepath.Base(name))
		if err := os.WriteFile(file, []byte(fromReadme(t, string(script), all, missing)), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	for _, command := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("README has %q, which no script of testdata/readme runs", command)
	}
	params := scriptParams(t)
	params.Files = files
	setup := params.Setup
	broker := natstest.URL(natstest.TCP(t))
	params.Setup = func(env *testscript.Env) error {
		env.Setenv("BROKER", broker+","+broker)
		env.Setenv("TAIL_LINE", tailLine.String())
		return setup(env)
	}
	testscript.Run(t, params)
}

// fromReadme returns a script with README's commands as lines of their own, and takes
// those from missing.
func fromReadme(t *testing.T, script string, all, missing map[string]bool) string {
	t.Helper()
	// The command, where its output goes, and how testscript calls it in the background.
	line := regexp.MustCompile(`(?m)^README (\(.*\)|.*?)((?: 2?> \S+)*)( &\w+&)?$`)
	return line.ReplaceAllStringFunc(script, func(text string) string {
		parts := line.FindStringSubmatch(text)
		command, output, background := parts[1], parts[2], parts[3]
		ran := func(command string) (found bool) {
			for known, whole := range all {
				// What is named within a sentence may have more arguments than README says.
				if command == known || !whole && strings.HasPrefix(command, known+" ") {
					delete(missing, known)
					found = true
				}
			}
			return found
		}
		if !ran(command) {
			t.Errorf("README has no %q", command)
		}
		if target, ok := strings.CutPrefix(command, "make "); ok {
			command = makes(t, target)
			ran(command)
		}
		for _, other := range readmeOthers {
			command = strings.ReplaceAll(command, other.readme, other.script)
		}
		if output != "" { // the signal is for the command
			command = "exec " + command
		}
		if output != "" || strings.HasPrefix(command, "(") {
			command = "sh -c '" + command + output + "'"
		}
		return "exec " + command + background
	})
}

// makes returns what make runs for a target, with the program in place of its sources.
// Without make the script stops before it.
func makes(t *testing.T, target string) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		return "make " + target
	}
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--dry-run", target)
	cmd.Dir = "../.."
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") })
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("make %s: %v", target, err)
	}
	arguments, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "go run ./cmd/registryd ")
	if !ok || strings.Contains(arguments, "\n") {
		t.Fatalf("make %s runs %q, want one go run of the program", target, out)
	}
	return "registryd " + arguments
}

// readmeCommands returns the commands of README: those of its blocks, which are whole, and
// those within code spans, whose arguments a sentence may leave out.
func readmeCommands(text string) map[string]bool {
	commands := map[string]bool{}
	comment := regexp.MustCompile(`\s+#.*`)
	span := regexp.MustCompile("`((?:registryd|make|nats) [^`]+)`")
	spans := regexp.MustCompile("`([^`]+)`")
	prompts := false // the block shows what is typed and what is answered
	for line := range strings.Lines(text) {
		if block, ok := strings.CutPrefix(line, "    "); ok {
			typed, prompt := strings.CutPrefix(block, "$ ")
			prompts = prompts || prompt
			typed = strings.Join(strings.Fields(comment.ReplaceAllString(" "+typed, "")), " ")
			if (prompt || !prompts) && typed != "" {
				commands[strings.TrimPrefix(typed, "bin/")] = true
			}
			continue
		}
		prompts = false
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			add(commands, m[1])
		}
		if !strings.HasPrefix(line, "| `registryd ") {
			continue
		}
		// A row of the table of commands: its name, others of the same kind, and in the
		// second cell flags of it and commands below it.
		cells := strings.Split(line, "|")
		names := spans.FindAllStringSubmatch(cells[1], -1)
		name := names[0][1]
		for _, m := range names[1:] {
			words := strings.Fields(name)
			add(commands, strings.Join(append(words[:len(words)-1], m[1]), " "))
		}
		_, verb, _ := strings.Cut(name, " ")
		for _, m := range spans.FindAllStringSubmatch(cells[2], -1) {
			switch {
			case strings.HasPrefix(m[1], "--"):
				add(commands, name+" "+m[1])
			case strings.HasPrefix(m[1], verb+" "):
				add(commands, "registryd "+m[1])
			}
		}
	}
	return commands
}

// add adds a command that a sentence names, unless a block has it.
func add(commands map[string]bool, command string) {
	if !commands[command] {
		commands[command] = false
	}
}

// TestReadmeCommands finds commands where README has them.
func TestReadmeCommands(t *testing.T) {
	got := readmeCommands("Run `registryd dev` or `/status`:\n\n" +
		"    # a comment\n    bin/registryd  --listen :8761   # another\n\n" +
		"    $ registryd tail\n    12:00 of its output\n\n" +
		"| `registryd apps` | lists; `apps up APP/ID`, `--json`, `other` |\n" +
		"| `registryd export`, `import` | saves |\n" +
		"| `registryd user add`, `list` | logins |\n")
	want := map[string]bool{
		"registryd dev": false, "registryd --listen :8761": true, "registryd tail": true, "registryd apps": false,
		"registryd apps up APP/ID": false, "registryd apps --json": false, "registryd export": false,
		"registryd import": false, "registryd user add": false, "registryd user list": false,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
