package cluster_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// plant is a bug in the pipeline's code that TestPipelineSeeds must notice. It
// replaces text of a file; the text must be there once, so that a plant that no
// longer fits the code is a failing test too.
type plant struct {
	name  string
	edits []plantEdit
	notes string // matches what the failing seed says
}

type plantEdit struct{ file, old, new string }

// plantedSeeds is how many seeds may pass before a planted bug is noticed.
const plantedSeeds = 400

// plants are the bugs. Each is behind its name, so that one build holds all.
var plants = []plant{
	{
		// A task per action and instance, with the data of when it was
		// submitted; a newer one takes the place of the older one of its kind.
		"Java's coalescing", []plantEdit{
			{"cluster/peer.go", `{ p.acceptor.Offer(key, bits) }`, `{
				if planted("Java's coalescing") {
					key.ID, _, _ = strings.Cut(key.ID, "\x00")
					entry, _, _ := p.cluster.reg.Entry(key)
					key.ID += "\x00" + bits.String()
					submitted.Store(submission{p.cluster, key}, entry)
				}
				p.acceptor.Offer(key, bits)
			}`},
			{"cluster/peer.go", "import (\n", "import (\n\t\"strings\"\n"},
			{"cluster/render.go", "	entry, evicted, ok := c.reg.Entry(key)\n", `	entry, evicted, ok := c.reg.Entry(key)
				if planted("Java's coalescing") {
					var v any
					v, ok = submitted.Load(submission{c, key})
					entry, _ = v.(registry.Entry)
					key.ID, _, _ = strings.Cut(key.ID, "\x00")
				}
			`},
			{"cluster/render.go", "import (\n", "import (\n\t\"strings\"\n\t\"sync\"\n"},
			{"cluster/render.go", "// task is one item", `
				type submission struct {
					c   *Cluster
					key registry.Key
				}

				var submitted sync.Map

				// task is one item`},
		}, `is twice in one batch|is answered 409`,
	},
	{
		"a clock that resets", []plantEdit{{"acceptor/queue.go", "	merged.last = newer.last\n", `	merged.last = newer.last
			if planted("a clock that resets") {
				merged.first = newer.first
			}
		`}}, `got .* after .*, want at most`,
	},
	{
		"a retry that overwrites", []plantEdit{{"acceptor/run.go", "merged := merge(e, n.entry, a.opts.Merge)\n", `merged := merge(e, n.entry, a.opts.Merge)
			if planted("a retry that overwrites") {
				merged.slot = e.slot
			}
		`}}, `the slot had lost a part|ends .* with`,
	},
	{
		"a lost count", []plantEdit{{"acceptor/run.go", "a.tally.merged++\n\t\t\tmerged :=", `if !planted("a lost count") {
				a.tally.merged++
			}
			merged :=`}}, `actions unaccounted for`,
	},
	{
		"a merge that forgets", []plantEdit{{"registry/change.go", "	if newer&Cancelled != 0 {\n", `	if planted("a merge that forgets") {
			return newer
		}
		if newer&Cancelled != 0 {
		`}}, `answered 404`,
	},
	{
		"a renewal that is merged away", []plantEdit{{"acceptor/run.go", "		n.entry = merge(n.entry, e, a.opts.Merge)\n", `		if !planted("a renewal that is merged away") {
			n.entry = merge(n.entry, e, a.opts.Merge)
		}
		`}}, `answered 404|has never got`,
	},
	{
		"the override alone where the record changed too", []plantEdit{{"cluster/render.go", "!rec.Live || bits&(registry.Registered|registry.Cancelled) != 0:\n", `!rec.Live || bits&(registry.Registered|registry.Cancelled) != 0 &&
			!(planted("the override alone where the record changed too") && bits&registry.Overridden != 0):
		`}}, `answered 404`,
	},
	{
		"an override that comes late wins", []plantEdit{{"registry/join.go", "	if withOverride && in.Override.After(&e.override) {\n", `	if withOverride && (in.Override.After(&e.override) || planted("an override that comes late wins")) {
		`}}, `goes back with`,
	},
	{
		"a record that comes late wins", []plantEdit{{"registry/join.go", "	if withRecord && in.Record.After(&e.record) {\n", `	if withRecord && (in.Record.After(&e.record) || planted("a record that comes late wins")) {
		`}}, `goes back with`,
	},
	{
		"a failed batch counts as sent", []plantEdit{{"batcher/batcher.go", "		return make([]acceptor.Outcome, len(batch.Items)), err // Retry is the zero Outcome.\n", `		outcomes = make([]acceptor.Outcome, len(batch.Items))
			if planted("a failed batch counts as sent") {
				for i := range outcomes {
					outcomes[i] = acceptor.Done()
				}
			}
			return outcomes, err
		`}}, `ends .* with|answered 404`,
	},
}

// plantedSwitch is added to each package that has a plant.
const plantedSwitch = `package %PACKAGE%

import "os"

var plantedBug = os.Getenv("PLANTED")

func planted(name string) bool { return name == plantedBug }
`

// TestPlantedBugs shows that the property test would notice the bugs that it is
// there for: it builds this package's tests once more, with the bugs in it, and
// runs the seeds with each.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv("PLANTED") != "" {
		t.Fatal("planted bugs are not planted again")
	}
	binary := buildPlanted(t)
	run := func(name string) (string, error) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestPipelineSeeds$", fmt.Sprint("-seeds=", plantedSeeds)) //nolint:gosec // Built here.
		cmd.Env = append(os.Environ(), "PLANTED="+name)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err != nil {
		t.Fatalf("without a bug: %v\n%s", err, out)
	}
	told := regexp.MustCompile(`seed \d+ \(\w+\): .*`)
	for _, p := range plants {
		out, err := run(p.name)
		said := told.FindString(out)
		switch {
		case err == nil:
			t.Errorf("%s: not noticed in %d seeds", p.name, plantedSeeds)
		case !regexp.MustCompile(p.notes).MatchString(said):
			t.Errorf("%s: noticed as %q, want %s\n%.2000s", p.name, said, p.notes, out)
		default:
			t.Logf("%s: %s", p.name, said)
		}
	}
}

// buildPlanted builds the tests of this package with all plants in it.
func buildPlanted(t *testing.T) (binary string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sources := make(map[string]string)
	for _, p := range plants {
		for _, e := range p.edits {
			if _, read := sources[e.file]; !read {
				text, err := os.ReadFile(filepath.Join(root, e.file))
				if err != nil {
					t.Fatal(err)
				}
				sources[e.file] = string(text)
			}
			if n := strings.Count(sources[e.file], e.old); n != 1 {
				t.Fatalf("%s: %q is %d times in %s, want once", p.name, e.old, n, e.file)
			}
			sources[e.file] = strings.Replace(sources[e.file], e.old, e.new, 1)
			pkg := filepath.Dir(e.file)
			sources[filepath.Join(pkg, "planted_switch.go")] = strings.ReplaceAll(plantedSwitch, "%PACKAGE%", pkg)
		}
	}
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for file, text := range sources {
		changed := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, file)] = changed
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	listFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(listFile, list, 0o600); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "planted.test")
	args := []string{"test", "-c", "-vet=off", "-overlay", listFile, "-o", binary}
	if raced {
		args = append(args, "-race") // What it is made of is built already.
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...) //nolint:gosec // Our own arguments.
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return binary
}
