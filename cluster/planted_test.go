package cluster_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/registryd/registryd/internal/planted"
)

// plant is a bug in the pipeline's code that TestPipelineSeeds must notice.
type plant struct {
	name  string
	edits []edit
	notes string // matches what the failing seed says
}

type edit planted.Edit

// plantedSeeds is how many seeds may pass before a planted bug is noticed.
const plantedSeeds = 400

// plants are the bugs. Each is behind its name, so that one build holds all.
var plants = []plant{
	{
		// A task per action and instance, with the data of when it was
		// submitted; a newer one takes the place of the older one of its kind.
		"Java's coalescing", []edit{
			{"cluster/peer.go", `{ p.acceptor.Offer(key, bits) }`, `{
				if isPlanted("Java's coalescing") {
					key.ID, _, _ = strings.Cut(key.ID, "\x00")
					entry, _, _ := p.cluster.reg.Entry(key)
					key.ID += "\x00" + bits.String()
					submitted.Store(submission{p.cluster, key}, entry)
				}
				p.acceptor.Offer(key, bits)
			}`},
			{"cluster/peer.go", "import (\n", "import (\n\t\"strings\"\n"},
			{"cluster/render.go", "	entry, evicted, ok := c.reg.Entry(key)\n", `	entry, evicted, ok := c.reg.Entry(key)
				if isPlanted("Java's coalescing") {
					var v any
					v, ok = submitted.Load(submission{c, key})
					entry, _ = v.(registry.Entry)
					key.ID, _, _ = strings.Cut(key.ID, "\x00")
				}
			`},
			{"cluster/render.go", "import (\n", "import (\n\t\"strings\"\n\t\"sync\"\n"},
			{"cluster/render.go", "const itemRoom = 1536\n", `const itemRoom = 1536

				type submission struct {
					c   *Cluster
					key registry.Key
				}

				var submitted sync.Map
			`},
		}, `is twice in one batch|is answered 409`,
	},
	{
		"a clock that resets", []edit{{"acceptor/queue.go", "	merged.last = newer.last\n", `	merged.last = newer.last
			if isPlanted("a clock that resets") {
				merged.first = newer.first
			}
		`}}, `got .* after .*, want at most`,
	},
	{
		"a retry that overwrites", []edit{{"acceptor/run.go", "merged := merge(e, n.entry, a.opts.Merge)\n", `merged := merge(e, n.entry, a.opts.Merge)
			if isPlanted("a retry that overwrites") {
				merged.slot = e.slot
			}
		`}}, `the slot had lost a part|ends .* with`,
	},
	{
		"a lost count", []edit{{"acceptor/run.go", "a.tally.merged++\n\t\t\tmerged :=", `if !isPlanted("a lost count") {
				a.tally.merged++
			}
			merged :=`}}, `actions unaccounted for`,
	},
	{
		"a merge that forgets", []edit{{"registry/change.go", "	if newer&Cancelled != 0 {\n", `	if isPlanted("a merge that forgets") {
			return newer
		}
		if newer&Cancelled != 0 {
		`}}, `answered 404`,
	},
	{
		"a renewal that is merged away", []edit{{"acceptor/run.go", "		n.entry = merge(n.entry, e, a.opts.Merge)\n", `		if !isPlanted("a renewal that is merged away") {
			n.entry = merge(n.entry, e, a.opts.Merge)
		}
		`}}, `answered 404|has never got`,
	},
	{
		"the override alone where the record changed too", []edit{{"cluster/render.go", "!rec.Live || bits&(registry.Registered|registry.Cancelled) != 0:\n", `!rec.Live || bits&(registry.Registered|registry.Cancelled) != 0 &&
			!(isPlanted("the override alone where the record changed too") && bits&registry.Overridden != 0):
		`}}, `answered 404`,
	},
	{
		"an override that comes late wins", []edit{{"registry/join.go", "	if withOverride && in.Override.After(&e.override) {\n", `	if withOverride && (in.Override.After(&e.override) || isPlanted("an override that comes late wins")) {
		`}}, `goes back with`,
	},
	{
		"a record that comes late wins", []edit{{"registry/join.go", "	if withRecord && in.Record.After(&e.record) {\n", `	if withRecord && (in.Record.After(&e.record) || isPlanted("a record that comes late wins")) {
		`}}, `goes back with`,
	},
	{
		"a failed batch counts as sent", []edit{{"batcher/batcher.go", "		return make([]acceptor.Outcome, len(batch.Items)), err // Retry is the zero Outcome.\n", `		outcomes = make([]acceptor.Outcome, len(batch.Items))
			if isPlanted("a failed batch counts as sent") {
				for i := range outcomes {
					outcomes[i] = acceptor.Done()
				}
			}
			return outcomes, err
		`}}, `ends .* with|answered 404`,
	},
}

// TestPlantedBugs shows that the property test would notice the bugs that it is
// there for: it builds this package's tests once more, with the bugs in it, and
// runs the seeds with each.
func TestPlantedBugs(t *testing.T) {
	if _, ok := planted.Chosen(); ok {
		t.Fatal("planted bugs are not planted again")
	}
	var edits []planted.Edit
	for _, p := range plants {
		for _, e := range p.edits {
			edits = append(edits, planted.Edit(e))
		}
	}
	var flags []string
	if raced {
		flags = append(flags, "-race") // What it is made of is built already.
	}
	binary := planted.Build(t, edits, flags...)
	run := func(name string) (string, error) {
		out, err := binary.Command(t.Context(), name, "-test.run=^TestPipelineSeeds$", fmt.Sprint("-seeds=", plantedSeeds)).CombinedOutput()
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
