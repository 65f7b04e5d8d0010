package membership_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/membership"
)

func TestOptionsNameAllFaults(t *testing.T) {
	bad := membership.Options{Expect: -1, StartWait: -1, WaitWhenEmpty: -1, Exchange: -1, MaxPeers: -1}
	_, err := membership.New(bad, membership.Moment{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, fault := range []string{
		"node", "incarnation", "expected peers -1", "start wait -1ns", "wait when empty -1ns", "exchange -1ns",
		"max peers -1",
	} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("error %q does not name %q", err, fault)
		}
	}
	bad = membership.Options{Node: "a", Incarnation: incarnation(1), Expect: 3, MaxPeers: 2}
	if _, err := membership.New(bad, membership.Moment{}); err == nil {
		t.Error("more peers are expected than there may be, and New takes it")
	}
}

// TestPresenceOnTheWire reads what earlier versions send, and writes what they
// can read.
func TestPresenceOnTheWire(t *testing.T) {
	const earlier = `{"node":"n2","incarnation":"0197a3c0-0000-7000-8000-000000000000",` +
		`"url":"http://n2:8761","version":"v0.9","time":1764194400000,"digest":"00000000deadbeef","state":"ready"}`
	var p membership.Presence
	if err := json.Unmarshal([]byte(earlier), &p); err != nil {
		t.Fatal(err)
	}
	if p.Node != "n2" || p.Time != 1764194400000 || p.Digest != 0xdeadbeef || p.State != membership.Ready || p.Synced {
		t.Errorf("read %+v", p)
	}
	if body, err := json.Marshal(p); err != nil || string(body) != earlier {
		t.Errorf("wrote %s, %v\nwant  %s", body, err, earlier)
	}
	for state, want := range map[membership.State]string{
		membership.Syncing: `"syncing"`, membership.Ready: `"ready"`,
		membership.Paused: `"syncing"`, membership.Leaving: `"leaving"`,
	} {
		if got, err := json.Marshal(state); err != nil || string(got) != want {
			t.Errorf("%v is written as %s, %v, want %s", state, got, err, want)
		}
	}
	p.State = membership.Ready
	if err := json.Unmarshal([]byte(`{"state":"of a later version"}`), &p); err != nil || p.State != membership.Syncing {
		t.Errorf("an unknown state is %v, %v, want syncing", p.State, err)
	}
	for fault, p := range map[string]membership.Presence{
		"node": {Incarnation: incarnation(1)}, "incarnation": {Node: "n2"},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), fault+": missing") {
			t.Errorf("Check of one without %s = %v", fault, err)
		}
	}
}

// TestGateAllocatesNothing keeps the heartbeat path free of garbage.
func TestGateAllocatesNothing(t *testing.T) {
	began, may := time.Now(), 0
	opts := membership.Options{Node: "a", Incarnation: incarnation(1)}
	m, err := membership.New(opts, membership.Moment{Wall: began})
	if err != nil {
		t.Fatal(err)
	}
	gate := m.Gate()
	if n := testing.AllocsPerRun(100, func() {
		now := time.Now()
		at := membership.Moment{Mono: now.Sub(began), Wall: now}
		if gate.MayWrite(at) && !gate.MayRead(at) && !gate.MayEvict(at) {
			may++
		}
	}); n != 0 || may == 0 {
		t.Errorf("%v allocations, allowed %d times", n, may)
	}
}

// TestIsPure finds clocks, goroutines, channels and locks in the package.
func TestIsPure(t *testing.T) {
	allowed := []string{"cmp", "errors", "fmt", "slices", "strconv", "strings", "time", "github.com/google/uuid"}
	clocks := []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range file.Imports {
			if !slices.Contains(allowed, strings.Trim(imp.Path.Value, `"`)) {
				t.Errorf("%s imports %s", name, imp.Path.Value)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
				t.Errorf("%s: a goroutine or a channel", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s: time.%s", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestRandomInputs hands in whatever may happen, in any order, and checks what
// holds always.
func TestRandomInputs(t *testing.T) {
	opened, restarted := 0, 0
	for seed := range uint64(3000) {
		c := &checker{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 0)), last: make(map[string]heard)}
		c.run()
		opened += c.opened
		restarted += c.restarted
		if t.Failed() {
			return
		}
	}
	if opened < 1000 || restarted < 1000 {
		t.Errorf("%d opened, %d peers restarted: the inputs show little", opened, restarted)
	}
}

// heard is what a checker knows of a peer.
type heard struct {
	incarnation uuid.UUID
	since, at   time.Duration // for the first and the last time
}

// checker is one run of random inputs. It keeps its own account of what the rules
// are about.
type checker struct {
	*membership.Members
	t    *testing.T
	seed uint64
	rand *rand.Rand
	at   membership.Moment

	link     membership.Link
	standing time.Duration // since when this connection has been up and the node was not suspended
	echoed   bool          // its own presence came back since
	began    time.Duration // the start, or the end of the last suspension
	said     []membership.Presence
	round    uint64
	last     map[string]heard

	ended             bool // its name is taken
	opened, restarted int
}

func (c *checker) failf(format string, args ...any) {
	c.t.Errorf("seed %d, %v: "+format, append([]any{c.seed, c.at.Mono}, args...)...)
}

const maxPeers = 2

func (c *checker) run() {
	c.at.Wall = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	opts := membership.Options{
		Node: "a", Incarnation: incarnation(3), MaxPeers: maxPeers, Expect: c.rand.IntN(2), Restored: c.rand.IntN(2) == 0,
	}
	var err error
	if c.Members, err = membership.New(opts, c.at); err != nil {
		c.t.Fatal(err)
	}
	for range 80 {
		c.input()
		if c.t.Failed() {
			return
		}
		gate, state := c.Gate(), c.State()
		if gate.MayWrite(c.at) && (state == membership.Paused || state == membership.Superseded) {
			c.failf("takes writes while %v", state)
		}
		if gate.MayEvict(c.at) && state != membership.Ready {
			c.failf("evicts while %v", state)
		}
		if n := len(c.Peers()); n > maxPeers {
			c.failf("%d peers", n)
		}
		if next := c.Next(c.at); next < 0 || next > membership.Interval {
			c.failf("next tick in %v", next)
		}
	}
	// No state lasts that refuses reads or writes, whatever has happened, and even
	// if the catch-up under way never ends.
	for c.at.Mono < c.began+2*membership.DefaultStartWait {
		c.pass(time.Second)
		c.do(c.Tick(c.at))
	}
	if state := c.State(); !c.ended && (state == membership.Syncing || state == membership.Paused) {
		c.failf("is %v still, %v after its start or suspension", state, c.at.Mono-c.began)
	}
}

// input is one thing that happens.
func (c *checker) input() {
	switch n := c.rand.IntN(100); {
	case n < 40: // most of the time, time passes as it should
		c.pass(time.Duration(c.rand.Int64N(int64(time.Second))))
		c.do(c.Tick(c.at))
		if c.Next(c.at) == 0 && c.State() != membership.Leaving {
			c.failf("a tick after a tick is due at once")
		}
	case n < 43:
		c.pass(time.Duration(c.rand.Int64N(int64(time.Minute))))
	case n < 45: // a machine that is suspended, or a clock that is set
		c.at.Wall = c.at.Wall.Add(time.Duration(c.rand.Int64N(int64(time.Minute))) - 20*time.Second)
	case n < 53:
		c.setLink()
	case n < 63 && len(c.said) > 0: // an echo, of late or of long ago
		c.hear(c.said[c.rand.IntN(len(c.said))])
	case n < 64: // a clock that is nowhere
		c.hear(membership.Presence{
			Node: string(rune('a' + c.rand.IntN(4))), Incarnation: incarnation(1 + c.rand.IntN(5)),
			Time: []int64{math.MinInt64, math.MaxInt64}[c.rand.IntN(2)], State: membership.Ready,
		})
	case n < 90:
		c.hear(membership.Presence{
			Node: string(rune('a' + c.rand.IntN(4))), Incarnation: incarnation(1 + c.rand.IntN(5)),
			Time: c.at.Wall.UnixMilli() - c.rand.Int64N(3000), State: []membership.State{
				membership.Ready, membership.Ready, membership.Syncing, membership.Leaving,
			}[c.rand.IntN(4)], Synced: c.rand.IntN(2) == 0,
		})
	case n < 92:
		c.do(c.Asked(c.at))
	case n < 94:
		c.Progress(c.round-c.rand.Uint64N(2), c.rand.IntN(2), c.at)
	case n < 99:
		c.do(c.Synced(c.round-c.rand.Uint64N(2), c.rand.IntN(2) == 0, c.at))
	case c.rand.IntN(3) == 0:
		c.do(c.Leave(c.at))
	}
}

func (c *checker) pass(d time.Duration) {
	c.at.Mono += d
	c.at.Wall = c.at.Wall.Add(d)
}

func (c *checker) setLink() {
	since := c.link.Since.Add(1) // another connection each time
	c.link = membership.Link{Up: c.rand.IntN(3) > 0, Since: since, Late: c.rand.IntN(4) == 0}
	c.standing, c.echoed = c.at.Mono, false
	c.do(c.SetLink(c.link, c.at))
}

func (c *checker) hear(p membership.Presence) {
	before := c.last[p.Node]
	if p.Node == "a" && p.Incarnation == incarnation(3) && c.link.Up {
		c.echoed = true // it may be from before: the check is weaker than the rule
	}
	events := c.Hear(p, c.at)
	c.do(events) // a suspension comes first
	for _, e := range events {
		if e.Kind == membership.Restarted {
			c.restarted++
			newer := slices.Compare(before.incarnation[:], p.Incarnation[:]) > 0
			if silent := c.at.Mono - before.at; newer && silent < membership.Interval {
				c.failf("an older incarnation of %s replaces one that was heard %v ago", p.Node, silent)
			}
			if known := c.at.Mono - before.since; newer && known <= 5*time.Second {
				c.failf("an older incarnation of %s replaces one that is known for %v", p.Node, known)
			}
		}
		if e.Kind == membership.Heard {
			if before.incarnation != p.Incarnation {
				before = heard{incarnation: p.Incarnation, since: c.at.Mono}
			}
			before.at = c.at.Mono
			c.last[p.Node] = before
		}
	}
}

// do checks events, and acts on them.
func (c *checker) do(events []membership.Event) {
	for _, e := range events {
		switch e.Kind {
		case membership.Announce:
			c.said = append(c.said, c.Presence(0, c.at))
		case membership.Suspended:
			c.began, c.standing = c.at.Mono, max(c.standing, c.at.Mono)
			for name, h := range c.last {
				h.at = c.at.Mono - membership.Silence // its silence is forgiven
				c.last[name] = h
			}
		case membership.NameTaken:
			c.ended = true
		case membership.CatchUp:
			if e.Round <= c.round {
				c.failf("round %d after %d", e.Round, c.round)
			}
			c.round = e.Round
		case membership.Opened:
			c.opened++
			stood := c.link.Up && c.echoed && c.at.Mono-c.standing >= membership.Listen
			if waited := c.at.Mono - c.began; c.opened == 1 && !stood && waited < membership.RestoredWait {
				c.failf("opened after %v, without a connection that stood", waited)
			}
		default:
		}
	}
}
