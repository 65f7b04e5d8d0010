package simulate

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/planted"
)

// rule is a rule of docs/convergence.md that is broken on purpose, from outside: in
// what crosses the bus, in what a node is wired to, or by the clock.
type rule uint8

const (
	asWritten rule = iota
	noPipeline
	noAntiEntropy
	noTombstones
	evictionCancels
	expiredTaken
	noAsking
	leaseAsTime
	workOffQueue
	evictStalled
	openDoor
	oneOfTwo
)

var ruleNames = [...]string{
	asWritten: "as written", noPipeline: "no pipeline", noAntiEntropy: "no anti-entropy", noTombstones: "no tombstones",
	evictionCancels: "an eviction leaves a tombstone", expiredTaken: "expired entries taken from peers",
	noAsking: "no asking before an eviction", leaseAsTime: "a lease as a time of day",
	workOffQueue: "a stopped node works off what queued up",
	evictStalled: "a pass when the process goes on, before it has synced",
	openDoor:     "a node that starts works off what waited for it",
	oneOfTwo:     "one of two nodes that meet is enough to start",
}

func (r rule) String() string { return ruleNames[r] }

// broken is a broken rule, and the clusters in which that is noticed.
type broken struct {
	rule    rule           // from outside,
	planted string         // or in the code: its name,
	edits   []planted.Edit // and what it changes
	much    emphasis
	skew    time.Duration // of the nodes' clocks, at most; 0: as -skew says
	seeds   int           // how many it takes until it is noticed, at most
	as      string        // matches what is violated; "": whatever that is
}

func (b *broken) String() string {
	if b.planted != "" {
		return b.planted
	}
	return b.rule.String()
}

func (b *broken) plan(seed uint64) *plan { return newPlan(seed, max(b.skew, *skewFlag), b.much) }

// brokenRules are all rules that are broken.
// If only a certain weather shows a rule, there is more of that.
func brokenRules() []broken {
	return append(append(plantedRules(), faultRules()...), []broken{
		{rule: evictionCancels, much: emphasis{partition: 12}, seeds: 60},
		{rule: noTombstones, seeds: 20},
		{rule: expiredTaken, seeds: 20},
		{rule: noAsking, much: emphasis{cutToEvict: 3}, seeds: 100},
		{rule: leaseAsTime, skew: time.Minute, much: emphasis{partition: 6}, seeds: 40},
		{rule: workOffQueue, much: emphasis{partition: 3, processSuspended: 20, quitting: 1}, seeds: 40},
		{rule: openDoor, much: emphasis{crash: 10}, seeds: 20, as: `before it served`},
		{rule: oneOfTwo, much: emphasis{meeting: 10}, seeds: 100, as: `serves its first list|answers 404`},
		{rule: evictStalled, much: emphasis{processSuspended: 20}, seeds: 80},
		{rule: noPipeline, much: emphasis{partition: 15}, seeds: 80},
		{
			rule: noAntiEntropy, much: emphasis{setWeather: 1, partition: 6, crash: 8, processSuspended: 5, quitting: 1},
			seeds: 40,
		},
	}...)
}

// ruleNamed returns the broken rule that has a name.
func ruleNamed(t *testing.T, name string) broken {
	t.Helper()
	all := append([]broken{{rule: asWritten}}, brokenRules()...)
	names := make([]string, len(all))
	for i := range all {
		if names[i] = all[i].String(); names[i] == name {
			return all[i]
		}
	}
	t.Fatalf("no rule %q; there are\n\t%s", name, strings.Join(names, "\n\t"))
	return broken{}
}

// TestBrokenRulesAreNoticed breaks each rule in turn, -rule alone if there is one.
// The seed that notices it must be silent when the rule is as written.
func TestBrokenRulesAreNoticed(t *testing.T) {
	only := ruleNamed(t, *ruleFlag)
	_, built := planted.Chosen()
	var binary *planted.Binary
	if !built {
		binary = buildPlanted(t)
	}
	for _, b := range brokenRules() {
		if name := only.String(); name != ruleNames[asWritten] && name != b.String() {
			continue
		}
		t.Run(b.String(), func(t *testing.T) {
			t.Parallel()
			if b.planted != "" && !built {
				b.notedByPlanted(t, binary)
				return
			}
			seed, violated := b.noted(t)
			if violated == "" {
				t.Fatalf("nothing noticed in %d seeds", b.seeds)
			}
			t.Logf("seed %d: %s", seed, violated)
			if b.planted != "" {
				return // whoever started this looks at it with nothing planted
			}
			for _, v := range runSeed(t, b.plan(seed), asWritten, false) {
				t.Errorf("seed %d, as written: %s", seed, v)
			}
		})
	}
}

// noted returns the first seed that notices that the rule is broken, and as what.
func (b *broken) noted(t *testing.T) (seed uint64, violated string) {
	t.Helper()
	as := regexp.MustCompile(b.as)
	for i := range b.seeds {
		seed = *firstFlag + uint64(i)
		for _, v := range runSeed(t, b.plan(seed), b.rule, false) {
			if as.MatchString(v) {
				return seed, v
			}
		}
	}
	return 0, ""
}

// onWire returns a message as a broken rule changes it; nil: it is lost.
func (w *world) onWire(l linkKind, from, to int, body []byte) []byte {
	switch w.rule { //nolint:exhaustive // the other rules break something else
	case noPipeline:
		if l == batchLink {
			return nil
		}
	case noAntiEntropy:
		if l == syncLink && (bytes.Contains(body, []byte(`"sums"`)) || bytes.Contains(body, []byte(`"versions"`))) {
			return nil
		}
	case noTombstones:
		return rewrite(l, body, func(item *eureka.Item) bool { return item.State.Live })
	case expiredTaken:
		return rewrite(l, body, func(item *eureka.Item) bool {
			if item.State.Live {
				item.State.Age = min(item.State.Age, (usual - time.Second).Milliseconds())
			}
			return true
		})
	case leaseAsTime:
		return rewrite(l, body, func(item *eureka.Item) bool {
			item.State.Age = max(0, item.State.Age+(w.plan.skew[to]-w.plan.skew[from]).Milliseconds())
			return true
		})
	}
	return body
}

// rewrite changes the items of a batch or of an answer to a sync request; false
// takes one out of the answer, and makes a batch a lost one.
func rewrite(l linkKind, body []byte, change func(*eureka.Item) bool) []byte {
	at := bytes.Index(body, []byte(`"replicationList"`))
	if l != batchLink && l != syncAnswer || at < 0 {
		return body
	}
	items, err := eureka.DecodeReplicationList(append([]byte{'{'}, body[at:]...), eureka.ListOptions{NATS: true})
	if err != nil {
		return body
	}
	var out [][]byte
	for i := range items {
		switch {
		case items[i].State == nil || change(&items[i]):
			out = append(out, eureka.AppendItem(nil, &items[i]))
		case l == batchLink:
			return nil
		}
	}
	return append(bytes.Clone(body[:at]), eureka.JoinReplicationList(nil, out)[1:]...)
}
