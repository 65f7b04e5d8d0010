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
				after("Registry.SetMetadata", "e.record.Version = e.known() + 1",
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
					Find: "lastDirty < min(e.record.LastDirty, max(e.record.Version, e.accepted))",
					Replace: fmt.Sprintf("lastDirty < e.record.LastDirty && (isPlanted(%q) || lastDirty < max(e.record.Version, e.accepted))",
						trustFuture),
				},
			},
		},
		{
			planted: metadataNow, much: emphasis{partition: 25, quitting: 1, setMetadata: 300},
			seeds: 40, as: `was cancelled|is dead`,
			edits: []planted.Edit{
				after("Registry.SetMetadata", "e.record.Version = e.known() + 1",
					fmt.Sprintf("if isPlanted(%q) { e.record.Version = e.next(&tx{wall: t.wall}) }", metadataNow)),
			},
		},
	}
}

// buildPlanted builds these tests with what is planted in the code. It does so
// without the race detector, with which a seed takes many times as long: that
// the code has no races is shown without anything planted in it.
func buildPlanted(t *testing.T) *planted.Binary {
	t.Helper()
	var edits []planted.Edit
	for _, b := range plantedRules() {
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
