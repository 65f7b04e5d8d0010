package simulate

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/registryd/registryd/internal/planted"
)

// The rules that are broken in the code, by name.
const (
	byTimestamp   = "data by lastDirtyTimestamp, a tombstone at the cancel's time"
	everyoneMoves = "data by lastDirtyTimestamp, which every client moves"
	deadWins      = "a tombstone at the cancelled timestamp, dead wins"
	liveWins      = "a tombstone at the cancelled timestamp, live wins"
	oneVersion    = "one version for the whole instance"
	trustFuture   = "a timestamp from the future is trusted"
	metadataNow   = "metadata at the time of the call"
	metadataAbove = "metadata above an override"

	noGrace         = "no grace after a start or suspension"
	noGraceNoAsking = "neither grace nor asking"

	cutOffIsAlone  = "a node without a connection is alone"
	pageEndsStart  = "patience counts from the first try"
	monotonicAlone = "only the monotonic clock shows a suspension"
	timeAwayAges   = "the time away ages a cancel"
	frozenAge      = "a restored cancel is no older than it was"
	lastLease      = "retirement by the last lease"
	durationAlone  = "retirement by the duration alone"
	noVersionBound = "versions without a bound"
	staleDrain     = "a node that drains counts as stopped"
	slotAge        = "a heartbeat expires by its slot's age"
	fewPreserve    = "self-preservation of a handful"
	wholeLeaves    = "a leaf in one message"
	olderReplaces  = "an older incarnation replaces a newer one"
	passesRetire   = "retirement by eviction passes"
)

// plantedRules are those rules. Versions decide what a node takes from its peers,
// so a rule about versions is broken for what comes from clients and from peers.
// An edit that several of them share stands at the first; all are in one build.
func plantedRules() []broken {
	after := func(function, find, then string) planted.Edit {
		return planted.Edit{In: "registry", Func: function, Find: find, After: then}
	}
	// For which rule the clients are others, also where nothing is planted.
	clients := func(rule, change string) planted.Edit {
		return planted.Edit{
			In: "simulate", Func: "newClient",
			Find: "c.dirty = c.clock()", Before: fmt.Sprintf("if *ruleFlag == %q { %s }", rule, change),
		}
	}
	timestamps := fmt.Sprintf("if isPlanted(%q, %q, %q, %q) ", byTimestamp, everyoneMoves, deadWins, liveWins)
	return []broken{
		{
			planted: byTimestamp, much: emphasis{}, seeds: 40, as: `lives`,
			edits: []planted.Edit{
				after("Registry.register", "rec.Version = e.next(t)",
					timestamps+"{ rec.Version = rec.LastDirty }"),
				after("Registry.setOverride", "o.Version = e.next(t)",
					timestamps+"{ o.Version = e.record.LastDirty }"),
				after("Registry.SetMetadata", "e.record.Version++",
					timestamps+"{ e.record.Version = e.record.LastDirty }"),
				{In: "registry", Func: "Registry.keeps", Imports: []string{"math"}, Before: timestamps + `{
					if e.record.Version != 0 && !e.evicted {
						again := Record{Version: lastDirty, Live: true, Hash: math.MaxUint64}
						return !again.After(&e.record)
					}
				}`},
			},
		},
		{
			planted: everyoneMoves, much: emphasis{deleteOverride: 300}, seeds: 40, as: `was overridden`,
			edits: []planted.Edit{clients(everyoneMoves, "c.off, c.frozen = 0, false")},
		},
		{
			planted: deadWins, much: emphasis{}, seeds: 50, as: `lives`,
			edits: []planted.Edit{
				{
					In: "registry", Func: "Record.After",
					Find: "return r.Live", Replace: fmt.Sprintf("return r.Live != isPlanted(%q)", deadWins),
				},
				after("Registry.Cancel", "v := e.next(t)",
					fmt.Sprintf("if isPlanted(%q, %q) { v = e.record.Version }", deadWins, liveWins)),
			},
		},
		{planted: liveWins, much: emphasis{quitting: 1}, seeds: 15, as: `was cancelled|is dead`},
		{
			planted: oneVersion, much: emphasis{partition: 20, deleteOverride: 30},
			seeds: 40, as: `lost an override|was overridden`,
			edits: []planted.Edit{
				after("Registry.join", "joined, newRecord, newOverride := join(e.parts, theirs)", `
					if isPlanted("`+oneVersion+`") {
						known, said := e.known(), max(in.Record.Version, in.Override.Version)
						older, newer := said < known, said > known
						newRecord = withRecord && !older && (newer || newRecord)
						newOverride = withOverride && !older && (newer && withRecord || newOverride)
						joined = e.parts
						if newRecord {
							joined.record = in.Record
						}
						if newOverride {
							joined.override = in.Override
						}
					}`),
			},
		},
		{
			planted: trustFuture, much: emphasis{}, seeds: 40, as: `has gen`,
			edits: []planted.Edit{
				clients(trustFuture, "c.off, c.frozen = rand64(rng, time.Hour), false"),
				{
					In: "registry", Func: "Registry.keeps",
					Find: "lastDirty < min(e.record.LastDirty, e.accepted)",
					Replace: fmt.Sprintf("lastDirty < e.record.LastDirty &&\n"+
						"(isPlanted(%q) || lastDirty < e.accepted)",
						trustFuture),
				},
			},
		},
		{
			planted: metadataNow, much: emphasis{partition: 25, quitting: 1, setMetadata: 300},
			seeds: 40, as: `was cancelled|is dead`,
			edits: []planted.Edit{
				after("Registry.SetMetadata", "e.record.Version++", fmt.Sprintf(`
					if isPlanted(%q) { e.record.Version = e.next(&tx{wall: t.wall}) }
					if isPlanted(%q) { e.record.Version = e.known() + 1 }`, metadataNow, metadataAbove)),
			},
		},
		{
			planted: metadataAbove, much: emphasis{partition: 25, quitting: 1, setMetadata: 150, overrideStatus: 150},
			seeds: 40, as: `was cancelled|is dead`,
		},
	}
}

// faultRules are rules that the code once broke.
func faultRules() []broken {
	condition := func(in, function, find, format, name string) planted.Edit {
		return planted.Edit{In: in, Func: function, Find: find, Replace: fmt.Sprintf(format, name)}
	}
	return []broken{
		{
			planted: noGrace, seeds: 40, as: `evicts`,
			edits: []planted.Edit{{In: "registry", Func: "Registry.expired", Before: fmt.Sprintf(
				"if isPlanted(%q, %q) { return r.lapsed(e, lease) }", noGrace, noGraceNoAsking)}},
		},
		{
			planted: noGraceNoAsking, seeds: 40, as: `evicts`,
			edits: []planted.Edit{{
				In: "repair", Func: "Repair.AskAges",
				Before: fmt.Sprintf("if isPlanted(%q) { return }", noGraceNoAsking),
			}},
		},
		{
			planted: cutOffIsAlone, much: emphasis{brokerLost: 1}, seeds: 40, as: `first list|answers 404`,
			edits: []planted.Edit{{In: "membership", Func: "Members.proven", Before: fmt.Sprintf(
				"if isPlanted(%q) && !m.link.Up { return at.Mono-m.goneOn >= Listen }", cutOffIsAlone)}},
		},
		{
			planted: pageEndsStart, much: emphasis{lostPages: 1, slowAnswers: 1, smallMessages: 1, crash: 8}, seeds: 40,
			as: `first list|answers 404`,
			edits: []planted.Edit{condition("membership", "Members.Progress", "m.progress = at.Mono",
				"if !isPlanted(%q) { m.progress = at.Mono }", pageEndsStart)},
		},
		{
			planted: monotonicAlone, much: emphasis{machineSuspended: 20, quitting: 1}, seeds: 40,
			as: `before it resumed|which was suspended`,
			edits: []planted.Edit{condition("membership", "Moment.suspended", "wall-mono > Suspension",
				"wall-mono > Suspension && !isPlanted(%q)", monotonicAlone)},
		},
		{
			planted: timeAwayAges, much: emphasis{outage: 1, partition: 6, quitting: 1}, seeds: 80, as: `was cancelled|is dead`,
			edits: []planted.Edit{
				condition("registry", "Registry.Restore", "!in.Record.Live || in.Evicted",
					"!isPlanted(%q) && (!in.Record.Live || in.Evicted)", timeAwayAges),
			},
		},
		{
			planted: frozenAge, much: emphasis{outage: 1, crash: 12, partition: 2}, seeds: 80, as: `is dead|was renewed`,
			edits: []planted.Edit{condition("registry", "Registry.Restore", "out, _ := r.Join(",
				"if isPlanted(%q) && in.Keep > 0 { in.Age = max(2*r.longest(&in)+retirement-in.Keep, 0) }\nout, _ := r.Join(",
				frozenAge)},
		},
		{
			planted: lastLease, much: emphasis{mixedLeases: 1, outage: 1, partition: 6, quitting: 1}, seeds: 80,
			as: `was cancelled|is dead|is unknown|went back|lost an override`,
			edits: []planted.Edit{
				condition("registry", "entry.dueAt", "retiresAt(e.renewed.Load(), e.longest)",
					"retiresAt(e.renewed.Load(), map[bool]time.Duration{false: e.longest, true: e.record.Term()}[isPlanted(%q)])",
					lastLease),
			},
		},
		{
			planted: durationAlone, much: emphasis{mixedLeases: 1, crash: 12, restart: 1, outage: 1}, seeds: 80,
			as: `lives|first list|404|is unknown`,
			edits: []planted.Edit{
				{In: "registry", Func: "entry.dueAt", Before: fmt.Sprintf(
					"if isPlanted(%q) { return retiresAt(e.renewed.Load(), e.record.Duration) }", durationAlone)},
				{In: "registry", Func: "Registry.longest", Before: fmt.Sprintf(
					"if isPlanted(%q) { return in.Record.Duration }", durationAlone)},
			},
		},
		{
			planted: noVersionBound, much: emphasis{forgery: 10}, seeds: 20, as: `from the far future`,
			edits: []planted.Edit{{
				In: "registry", Func: "outOfBounds",
				Before: fmt.Sprintf("if isPlanted(%q) { return nil }", noVersionBound),
			}},
		},
		{
			planted: staleDrain, much: emphasis{slowDrain: 1}, seeds: 20, as: `stopped in order`,
			edits: []planted.Edit{condition("membership", "Gate.Stale", "!g.leaving && g.wasSuspended(at)",
				"(!g.leaving || isPlanted(%q)) && g.wasSuspended(at)", staleDrain)},
		},
		{
			planted: slotAge, much: emphasis{slowBatches: 1, mixedLeases: 1}, seeds: 80, as: `was renewed`,
			edits: []planted.Edit{condition("cluster", "nodePeer.render",
				"if entry.Age > rec.Term()",
				"if isPlanted(%q) && wait > time.Duration(rec.Info.LeaseInfo.RenewalIntervalInSecs)*time.Second ||\n"+
					"entry.Age > rec.Term()", slotAge)},
		},
		{
			planted: fewPreserve, much: emphasis{realEvictors: 1}, seeds: 20, as: `is dead`,
			edits: []planted.Edit{{In: "registry", Func: "SelfPreservation.tooFew", Before: fmt.Sprintf(
				"if isPlanted(%q) { return l.Expected-l.Missing <= int(float64(l.Expected)*o.Threshold) }", fewPreserve)}},
		},
		{
			planted: wholeLeaves, much: emphasis{smallMessages: 1, crash: 6}, seeds: 40, as: `an answer of`,
			edits: []planted.Edit{condition("repair", "Repair.serveVersions", "room < 0 && len(out.Versions) > 0",
				"room < 0 && len(out.Versions) > 0 && !isPlanted(%q)", wholeLeaves)},
		},
		{
			planted: olderReplaces, much: emphasis{setWeather: 1, crash: 15}, seeds: 40, as: `older incarnation`,
			edits: []planted.Edit{{
				In: "membership", Func: "peer.refuses",
				Before: fmt.Sprintf("if isPlanted(%q) { return \"\" }", olderReplaces),
			}},
		},
		{
			planted: passesRetire, much: emphasis{partition: 1, quitting: 1, quietLong: 1}, seeds: 40, as: `the digests`,
			edits: []planted.Edit{condition("registry", "Registry.rlockRetired", "len(r.queue) > 0",
				"!isPlanted(%q) && len(r.queue) > 0", passesRetire)},
		},
	}
}

// buildPlanted builds these tests with what is planted in the code. It does so
// without the race detector, with which a seed takes many times as long: that
// the code has no races is shown without anything planted in it.
func buildPlanted(t *testing.T) *planted.Binary {
	t.Helper()
	var edits []planted.Edit
	for _, b := range brokenRules() {
		edits = append(edits, b.edits...)
	}
	return planted.Build(t, edits)
}

// runPlanted runs this test with what is planted under a name, and with this
// process's flags.
func runPlanted(t *testing.T, name string) {
	t.Helper()
	args := []string{"-test.run=^" + t.Name() + "$", fmt.Sprintf("-test.v=%t", testing.Verbose())}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	cmd := buildPlanted(t).Command(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("with %q planted: %v", name, err)
	}
}

// notedByPlanted has the planted binary notice the rule, and notice nothing in
// the same seeds with nothing planted.
func (b *broken) notedByPlanted(t *testing.T, binary *planted.Binary) {
	t.Helper()
	run := func(name, test string, seeds uint64) string {
		args := []string{
			"-test.run=^" + test + "$", "-test.v", "-rule=" + b.planted,
			fmt.Sprint("-first=", *firstFlag), fmt.Sprint("-seeds=", seeds), fmt.Sprint("-skew=", *skewFlag),
		}
		out, err := binary.Command(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("with %q planted: %v\n%.4000s", name, err, out)
		}
		return string(out)
	}
	out := run(b.planted, "TestBrokenRulesAreNoticed", 0)
	var seed uint64
	said := regexp.MustCompile(`seed \d+: .*`).FindString(out)
	if _, err := fmt.Sscanf(said, "seed %d:", &seed); err != nil {
		t.Fatalf("noticed in which seed? %v\n%.4000s", err, out)
	}
	t.Log(said)
	run("", "TestClustersHeal", seed-*firstFlag+1)
}
