package repair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// link is the transport to one node, which may take fewer bytes, lose requests, or be of a
// version that does not know what is asked.
type link struct {
	to      *Repair
	payload int
	takes   time.Duration // an answer, on its way
	lost    func(req request) bool
	asked   map[string]int // by what was asked
	entries int            // that came
	largest int            // answer, in bytes
}

func newLink(to *Repair) *link { return &link{to: to, payload: 1 << 20, asked: make(map[string]int)} }

func (l *link) MaxPayload() int { return l.payload }

func (l *link) Sync(_ context.Context, _ string, body []byte) ([]byte, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	l.asked[req.Ask]++
	if len(body) > l.payload {
		return nil, fmt.Errorf("a request of %d bytes", len(body))
	}
	if l.lost != nil && l.lost(req) {
		return nil, errors.New("lost")
	}
	answer, err := l.to.serve(body, min(l.payload*3/4, answerBytes))
	if req.Ask == askPage && err == nil {
		l.entries += strings.Count(string(answer), `"appName"`)
	}
	l.largest = max(l.largest, len(answer))
	time.Sleep(l.takes)
	return answer, err
}

// ids returns n names.
func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("i-", i)
	}
	return out
}

// knowing returns a node that knows every change, and holds what from holds.
func knowing(tb testing.TB, from *Repair) *Repair {
	tb.Helper()
	r := answering(tb)
	r.opts.Up = func() time.Duration { return time.Hour }
	for v := range from.reg.AllVersions() {
		e, evicted, _ := from.reg.Entry(v.Key)
		e.Evicted = evicted
		r.reg.Join(v.Key, e, registry.Registered|registry.Overridden, registry.Origin{Way: registry.BySync})
	}
	return r
}

// pullFrom has a node catch up from another one, in as many tries as it takes.
func pullFrom(tb testing.TB, r *Repair, over *link) *CatchUp {
	tb.Helper()
	r.transport = over
	c := r.NewCatchUp()
	for range 20 {
		if c.Try(tb.Context(), []Source{{Name: "source"}}, true, func(int) {}) {
			return c
		}
	}
	tb.Fatal("not caught up after 20 tries")
	return nil
}

// A node that was away for a while has nearly everything. The entries that changed travel,
// and of all others just the ages.
func TestCatchUpTakesWhatDiffers(t *testing.T) {
	client := registry.Origin{}
	for _, tt := range []struct {
		name    string
		payload int
		takes   time.Duration
		lost    func() func(request) bool
		known   bool // the try proves what is unknown to the source
	}{
		{name: "in one go", payload: 1 << 20, known: true},
		{name: "answers are late", payload: 1 << 20, takes: 900 * time.Millisecond, known: true},
		{name: "small messages", payload: 4 << 10, known: true},
		{name: "the first leases are lost", payload: 1 << 20, known: false, lost: func() func(request) bool {
			n := 0
			return func(req request) bool {
				if req.Ask == askLeases {
					n++
				}
				return n == 1
			}
		}},
		{name: "each third answer is lost", payload: 4 << 10, lost: func() func(request) bool {
			n := 0
			return func(request) bool { n++; return n%3 == 2 }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const instances, changes = 2000, 10
				away := answering(t, ids(instances)...)
				source := knowing(t, away)
				time.Sleep(10 * time.Second)
				for i := range instances {
					source.reg.Renew(registry.NewKey("DEMO", fmt.Sprint("i-", i)), 1, "", client)
				}
				time.Sleep(time.Second)
				for i := range changes {
					source.reg.SetMetadata(registry.NewKey("DEMO", fmt.Sprint("i-", i)), map[string]string{"new": "1"}, client)
				}
				source.reg.Cancel(registry.NewKey("DEMO", "i-100"), client)
				over := newLink(source)
				over.takes = tt.takes
				if over.payload = tt.payload; tt.lost != nil {
					over.lost = tt.lost()
				}
				c := pullFrom(t, away, over)
				if away.reg.Digest() != source.reg.Digest() {
					t.Error("not equal")
				}
				for v := range source.reg.AllVersions() {
					ours, _, _ := away.reg.Entry(v.Key)
					if theirs, _, _ := source.reg.Entry(v.Key); ours.Age != theirs.Age {
						t.Fatalf("%v: age %v, the source has %v", v.Key, ours.Age, theirs.Age)
					}
				}
				if tt.lost == nil && over.entries > 20*changes {
					t.Errorf("%d entries travelled, want about those of %d leaves", over.entries, changes+1)
				}
				if over.largest > tt.payload {
					t.Errorf("an answer of %d bytes", over.largest)
				}
				if known := c.Known() > 0; tt.known && !known {
					t.Error("it has pulled all in one go, and does not know everything")
				}
			})
		})
	}
}

// What an age can't tell travels whole: a lease that was longer once, or a cancel that is
// kept longer than its lease says.
func TestLeavesWithMoreToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := answering(t, "short", "plain")
		source := knowing(t, away)
		key := registry.NewKey("DEMO", "short")
		e, _, _ := source.reg.Entry(key)
		e.Longest = time.Hour
		source.reg.Join(key, e, 0, registry.Origin{Way: registry.ByBatch})
		cancelled := registry.NewKey("DEMO", "cancelled")
		tombstone := registry.Entry{Record: registry.Record{Version: 7, Base: eureka.StatusUnknown, Duration: time.Minute}}
		tombstone.Record.Hash = registry.HashRecord(&tombstone.Record)
		away.reg.Join(cancelled, tombstone, registry.Registered|registry.Overridden, registry.Origin{Way: registry.BySync})
		source.reg.Restore(cancelled, tombstone, time.Minute)
		if away.reg.Digest() != source.reg.Digest() {
			t.Fatal("they differ before")
		}
		over := newLink(source)
		pullFrom(t, away, over)
		if e, _, _ := away.reg.Entry(key); e.Longest != time.Hour {
			t.Errorf("longest term %v, want an hour", e.Longest)
		}
		if over.entries != 2 {
			t.Errorf("%d entries travelled, want the two with more to tell", over.entries)
		}
	})
}

// A peer of an earlier version does not know the question. Pages tell the same.
func TestCatchUpFromAnEarlierVersion(t *testing.T) {
	away := answering(t, ids(500)...)
	source := knowing(t, away)
	source.reg.Cancel(registry.NewKey("DEMO", "i-7"), registry.Origin{})
	over := newLink(source)
	over.payload, over.lost = 64<<10, func(req request) bool { return req.Ask == askLeases }
	pullFrom(t, away, over)
	if away.reg.Digest() != source.reg.Digest() {
		t.Error("not equal")
	}
	if over.asked[askLeases] > maxFailures {
		t.Errorf("asked %d times in vain", over.asked[askLeases])
	}
}

// An empty node does not ask for leases of what it doesn't have.
func TestEmptyNodePullsPages(t *testing.T) {
	source := knowing(t, answering(t, ids(500)...))
	away, over := answering(t), newLink(source)
	pullFrom(t, away, over)
	if away.reg.Digest() != source.reg.Digest() || over.asked[askLeases] > 0 {
		t.Errorf("digests %x and %x, asked %v", away.reg.Digest(), source.reg.Digest(), over.asked)
	}
}

// said is the transport to a peer that says the same to everything.
type said struct {
	nowhere
	text string
}

func (s said) Sync(context.Context, string, []byte) ([]byte, error) { return []byte(s.text), nil }

// Leases that are no answer to the question are refused: a peer must not make this node
// skip leaves, or ask without end.
func TestLeasesOutOfOrder(t *testing.T) {
	for _, text := range []string{
		`{"leases":[{"leaf":6}]}`,
		`{"leases":[{"leaf":9},{"leaf":9}]}`,
		`{"leases":[{"leaf":9},{"leaf":8}]}`,
		`{"leases":[{"leaf":4096}]}`,
		`{"leases":[{"leaf":20}],"next":{"leaf":20}}`,
		`{"next":{"leaf":7}}`,
		`{"next":{"leaf":7,"app":"A","id":"b"}}`,
		`{"next":{"leaf":-1}}`,
		`{"next":{"leaf":4096}}`,
	} {
		r := answering(t, "a")
		r.transport = said{text: text}
		p := place{at: &cursor{Leaf: 7, App: "A", ID: "a"}}
		if _, _, err := r.askLeases(t.Context(), "b", &p, func(int) {}); !errors.Is(err, errPage) {
			t.Errorf("%s: %v, want it refused", text, err)
		}
	}
}

// The answer has no more than a leaf's ages where they match, whatever they are.
func TestAgesOfAnotherLeaf(t *testing.T) {
	r := answering(t, "a")
	key := registry.NewKey("DEMO", "a")
	leaf := registry.Leaf(key)
	good := sumOf(sortedLeases(r.reg, leaf))
	for _, tt := range []struct {
		row  leafLeases
		want bool
	}{
		{leafLeases{Leaf: leaf, Sum: good, Ages: []int64{5}}, true},
		{leafLeases{Leaf: leaf, Sum: good, Ages: []int64{-5}}, true},
		{leafLeases{Leaf: leaf, Sum: good + 1, Ages: []int64{5}}, false},
		{leafLeases{Leaf: leaf, Sum: good}, false},
		{leafLeases{Leaf: leaf, Sum: good, Ages: []int64{5, 5}}, false},
	} {
		if got := r.joinLeases("b", tt.row, 0); got != tt.want {
			t.Errorf("%+v: joined %t, want %t", tt.row, got, tt.want)
		}
	}
}

// A node resumes with 100,000 instances, of which 80 have changed: all pages, or what
// differs.
func BenchmarkCatchUp(b *testing.B) {
	const instances, changes = 100_000, 80
	away := answering(b, ids(instances)...)
	source := knowing(b, away)
	over := newLink(source)
	away.transport = over
	n := 0
	for _, way := range []string{"pages", "differences"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				for i := range changes {
					key := registry.NewKey("DEMO", fmt.Sprint("i-", i))
					source.reg.SetMetadata(key, map[string]string{"n": fmt.Sprint(n)}, registry.Origin{})
				}
				n++
				b.StartTimer()
				c, p := away.NewCatchUp(), new(place)
				pull := c.entries
				if way == "pages" {
					pull = c.pages
				}
				if _, err := pull(b.Context(), "source", p, func(int) {}); err != nil {
					b.Fatal(err)
				}
				if away.reg.Digest() != source.reg.Digest() {
					b.Fatal("not equal")
				}
			}
		})
	}
}
