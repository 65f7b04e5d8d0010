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
	edits []planted.Edit
	notes string // matches the report of the failing seed
}

// plantedSeeds is how many seeds may pass before a planted bug is noticed.
const plantedSeeds = 400

// plants are the bugs. Each is enabled by its name, so that one build holds
// all.
var plants = []plant{
	{
		// A task per action and instance, with the data of when it was
		// submitted; a newer one takes the place of the older one of its kind.
		"Java's coalescing", []planted.Edit{
			{In: "cluster", Func: "peer.offer", Imports: []string{"strings"}, Before: `
				if isPlanted("Java's coalescing") {
					key.ID, _, _ = strings.Cut(key.ID, "\x00")
					entry, _, _ := p.cluster.reg.Entry(key)
					key.ID += "\x00" + bits.String()
					submitted.Store(submission{p.cluster, key}, entry)
				}`},
			{
				In: "cluster", Func: "nodePeer.render",
				Find: "entry, evicted, ok := p.cluster.reg.Entry(key)", Imports: []string{"strings"}, After: `
				if isPlanted("Java's coalescing") {
					var v any
					v, ok = submitted.Load(submission{p.cluster, key})
					entry, _ = v.(registry.Entry)
					key.ID, _, _ = strings.Cut(key.ID, "\x00")
				}`,
			},
			{In: "cluster", Imports: []string{"sync", "github.com/registryd/registryd/registry"}, Add: `
				type submission struct {
					c   *Cluster
					key registry.Key
				}

				var submitted sync.Map`},
		}, `is twice in one batch|is answered 409`,
	},
	{
		"a clock that resets", []planted.Edit{{
			In: "acceptor", Func: "merge",
			Find: "merged.last = newer.last", After: `
			if isPlanted("a clock that resets") {
				merged.first = newer.first
			}`,
		}}, `got .* after .*, want at most`,
	},
	{
		"a retry that overwrites", []planted.Edit{{
			In: "acceptor", Func: "Acceptor.putBack",
			Find: "merged := merge(e, n.entry, a.opts.Merge)", After: `
			if isPlanted("a retry that overwrites") {
				merged.slot = e.slot
			}`,
		}}, `the slot had lost a part|ends .* with`,
	},
	{
		"a lost count", []planted.Edit{{
			In: "acceptor", Func: "Acceptor.putBack",
			Find: "a.own.merged++", Replace: `if !isPlanted("a lost count") {
				a.own.merged++
			}`,
		}}, `actions unaccounted for`,
	},
	{
		"a merge that forgets", []planted.Edit{{In: "registry", Func: "Bits.Merge", Before: `
			if isPlanted("a merge that forgets") {
				return newer
			}`}}, `answered 404`,
	},
	{
		"a renewal that is merged away", []planted.Edit{{
			In: "acceptor", Func: "Acceptor.place",
			Find: "n.entry = merge(n.entry, e, a.opts.Merge)", Replace: `
			if !isPlanted("a renewal that is merged away") {
				n.entry = merge(n.entry, e, a.opts.Merge)
			}`,
		}}, `answered 404|has never got`,
	},
	{
		"the override alone where the record changed too",
		[]planted.Edit{{
			In: "cluster", Func: "nodePeer.render",
			Find: "bits&(registry.Registered|registry.Cancelled) != 0",
			Replace: `bits&(registry.Registered|registry.Cancelled) != 0 &&
				!(isPlanted("the override alone where the record changed too") && bits&registry.Overridden != 0)`,
		}},
		`answered 404`,
	},
	{
		"an override that comes late wins",
		[]planted.Edit{{
			In: "registry", Func: "Registry.join",
			Find: "joined, newRecord, newOverride := join(e.parts, theirs)", After: `
			if withOverride && isPlanted("an override that comes late wins") {
				joined.override, newOverride = in.Override, true
			}`,
		}},
		`goes back with`,
	},
	{
		"a record that comes late wins",
		[]planted.Edit{{
			In: "registry", Func: "Registry.join",
			Find: "joined, newRecord, newOverride := join(e.parts, theirs)", After: `
			if withRecord && isPlanted("a record that comes late wins") {
				joined.record, newRecord = in.Record, true
			}`,
		}},
		`goes back with`,
	},
	{
		"a failed batch counts as sent", []planted.Edit{{
			In: "batcher", Func: "Batcher.send",
			Find: "return make([]acceptor.Outcome, len(batch.Items)), err", Before: `
			if isPlanted("a failed batch counts as sent") {
				outcomes := make([]acceptor.Outcome, len(batch.Items))
				for i := range outcomes {
					outcomes[i] = acceptor.Done()
				}
				return outcomes, err
			}`,
		}}, `ends .* with|answered 404`,
	},
}

// TestPlantedBugs shows that the property test notices the bugs for which it
// was written. It builds this package's tests once more, with the bugs in it,
// and runs the seeds with each.
func TestPlantedBugs(t *testing.T) {
	if _, ok := planted.Chosen(); ok {
		t.Fatal("planted bugs are not planted again")
	}
	var edits []planted.Edit
	for _, p := range plants {
		edits = append(edits, p.edits...)
	}
	binary := planted.Build(t, edits) // Without the race detector: TestPipelineSeeds shows that there are no races.
	run := func(name string) (string, error) {
		args := []string{"-test.run=^TestPipelineSeeds$", fmt.Sprint("-seeds=", plantedSeeds)}
		out, err := binary.Command(t.Context(), name, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err != nil {
		t.Fatalf("without a bug: %v\n%s", err, out)
	}
	line := regexp.MustCompile(`seed \d+ \(\w+\): .*`)
	for _, p := range plants {
		out, err := run(p.name)
		said := line.FindString(out)
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
