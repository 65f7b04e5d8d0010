package membership_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/internal/script"
	"github.com/registryd/registryd/membership"
)

// TestScripts runs the scripts of testdata/membership at the top of the
// repository; their README.md explains the commands.
func TestScripts(t *testing.T) {
	script.Each(t, "../testdata/membership", func(t *testing.T, path string) {
		script.Run(t, path, new(world).run)
	})
}

// world is one node and what surrounds it.
type world struct {
	*membership.Members
	mono  time.Duration
	wall  time.Time
	link  membership.Link
	deaf  bool // its own presence does not come back
	round uint64
	due   time.Duration // of the next tick
	peers []*speaker    // that announce themselves

	announced, asked int
	out              strings.Builder
}

// speaker is a node that announces itself once a second, and when it is asked.
type speaker struct {
	presence membership.Presence
	skew     time.Duration
	next     time.Duration
}

func (w *world) at() membership.Moment { return membership.Moment{Mono: w.mono, Wall: w.wall} }

func (w *world) pass(d time.Duration) {
	w.mono += d
	w.wall = w.wall.Add(d)
}

// run runs one command of a script and returns what the node did.
func (w *world) run(cmd script.Command) string {
	if cmd.Name == "start" {
		*w = world{wall: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
		w.start(cmd)
		return w.out.String()
	}
	w.out.Reset()
	w.announced, w.asked = 0, 0
	switch cmd.Name {
	case "link":
		w.setLink(cmd)
	case "hear":
		s := w.speaker(cmd)
		s.presence.Time = w.wall.Add(-s.skew).Add(-cmd.Duration("late", 0)).UnixMilli()
		w.do(w.Hear(s.presence, w.at()))
	case "speak":
		s := w.speaker(cmd)
		w.silence(s.presence.Node, s.presence.Incarnation)
		w.peers = append(w.peers, s)
		w.speak(s)
	case "silence":
		w.silence(cmd.Word(0), uuid.Nil)
	case "tick":
		w.tick(cmd.WordDuration(0))
	case "stop": // the process, by both clocks
		w.pass(cmd.WordDuration(0))
	case "suspend": // the machine: the monotonic clock does not see it
		w.wall = w.wall.Add(cmd.WordDuration(0))
	case "wall": // is set
		w.wall = w.wall.Add(cmd.WordDuration(0))
	case "page":
		w.Progress(uint64(cmd.Int("round", int(w.round))), cmd.Int("entries", 0), w.at())
	case "synced", "failed":
		w.do(w.Synced(uint64(cmd.Int("round", int(w.round))), cmd.Name == "synced", w.at()))
	case "asked":
		w.do(w.Asked(w.at()))
	case "leave":
		w.do(w.Leave(w.at()))
	case "state":
		return w.state()
	default:
		cmd.Fatalf("unknown command")
	}
	if w.announced+w.asked > 0 {
		fmt.Fprintf(&w.out, "announced %d, asked %d\n", w.announced, w.asked)
	}
	return w.out.String()
}

func (w *world) start(cmd script.Command) {
	var err error
	w.Members, err = membership.New(membership.Options{
		Node: "a", Incarnation: incarnation(cmd.Int("inc", 5)), Expect: cmd.Int("expect", 0),
		StartWait: cmd.Duration("start-wait", 0), WaitWhenEmpty: cmd.Duration("wait-when-empty", 0),
		Restored: slices.Contains(cmd.Words, "restored"), Outside: slices.Contains(cmd.Words, "outside"), MaxPeers: cmd.Int("max-peers", 0),
	}, w.at())
	if err != nil {
		cmd.Fatalf("%v", err)
	}
	w.do(w.Tick(w.at()))
}

// setLink takes "up" or "down"; "late", "trouble" and "deaf" go with up.
func (w *world) setLink(cmd script.Command) {
	w.deaf = slices.Contains(cmd.Words, "deaf")
	up := cmd.Word(0) == "up"
	if up && (!w.link.Up || slices.Contains(cmd.Words, "again")) {
		w.link.Since = w.wall
	}
	w.link.Up, w.link.Late = up, slices.Contains(cmd.Words, "late")
	w.link.Trouble = strings.ReplaceAll(cmd.Text("trouble", ""), "_", " ")
	w.do(w.SetLink(w.link, w.at()))
}

// incarnation returns a UUIDv7; a greater number started later.
func incarnation(n int) uuid.UUID {
	return uuid.UUID{5: byte(n), 6: 0x70, 8: 0x80}
}

func (w *world) speaker(cmd script.Command) *speaker {
	s := &speaker{skew: cmd.Duration("skew", 0)}
	s.presence = membership.Presence{
		Node: cmd.Word(0), Incarnation: incarnation(cmd.Int("inc", 1)),
		Synced: cmd.Text("synced", "true") == "true", Meeting: slices.Contains(cmd.Words, "meeting"),
	}
	if err := s.presence.State.UnmarshalText([]byte(cmd.Text("state", "ready"))); err != nil {
		cmd.Fatalf("%v", err)
	}
	return s
}

func (w *world) speak(s *speaker) {
	s.next = w.mono + membership.Interval
	p := s.presence
	p.Time = w.wall.Add(-s.skew).UnixMilli()
	w.do(w.Hear(p, w.at()))
}

// silence has an incarnation of a node, or all of them, speak no more.
func (w *world) silence(node string, inc uuid.UUID) {
	w.peers = slices.DeleteFunc(w.peers, func(s *speaker) bool {
		return s.presence.Node == node && (inc == uuid.Nil || s.presence.Incarnation == inc)
	})
}

// tick lets time pass as the caller of Members does: it ticks when Next says.
func (w *world) tick(d time.Duration) {
	end := w.mono + d
	for range 100_000 { // else Next stays 0
		step := w.due - w.mono
		for _, s := range w.peers {
			step = min(step, s.next-w.mono)
		}
		step = max(step, 0) // the process was suspended
		if w.mono+step > end {
			w.pass(end - w.mono)
			return
		}
		w.pass(step)
		for _, s := range w.peers {
			if s.next <= w.mono && w.link.Up {
				w.speak(s)
			}
			if s.next <= w.mono {
				s.next = w.mono + membership.Interval
			}
		}
		if w.due <= w.mono {
			w.do(w.Tick(w.at()))
		}
	}
	w.out.WriteString("time does not get on\n")
}

// do acts on events as the caller of Members does, and writes them down.
func (w *world) do(events []membership.Event) {
	for _, e := range events {
		switch e.Kind {
		case membership.Announce:
			w.announced++
			if p := w.Presence(0, w.at()); w.link.Up && !w.deaf && p.State != membership.Leaving {
				w.do(w.Hear(p, w.at()))
			}
			continue
		case membership.Ask:
			w.asked++
			for _, s := range slices.Clone(w.peers) {
				if w.link.Up && !w.deaf {
					w.speak(s)
				}
			}
			continue
		case membership.Heard:
			continue
		case membership.CatchUp:
			w.round = e.Round
		default:
		}
		fmt.Fprintf(&w.out, "%.3fs %s\n", w.mono.Seconds(), w.describe(e))
	}
	w.due = w.mono + w.Next(w.at())
}

func (w *world) describe(e membership.Event) string {
	words := []string{e.Kind.String()}
	if e.Peer != "" {
		words = append(words, e.Peer)
	}
	if e.Peer != "" && e.Presence.Incarnation != uuid.Nil {
		words = append(words, fmt.Sprint("inc=", e.Presence.Incarnation[5]))
	}
	if e.Elapsed != 0 {
		words = append(words, "after "+e.Elapsed.String())
	}
	if e.Skew != 0 {
		words = append(words, "by "+e.Skew.String())
	}
	if e.Kind == membership.CatchUp {
		s := w.Sources()
		words = append(words, fmt.Sprint(e.Round), "from", map[bool]string{true: "one of", false: "all of"}[s.One])
		for _, p := range s.Peers {
			words = append(words, p.Presence.Node)
		}
	}
	if e.Kind == membership.Degraded {
		e.Text = cmp.Or(e.Text, "no more")
	}
	if e.Text != "" {
		return strings.Join(words, " ") + ": " + e.Text
	}
	return strings.Join(words, " ")
}

// state describes the node: what it says, what it may do, and whom it knows.
func (w *world) state() string {
	gate, at := w.Gate(), w.at()
	own := w.Presence(0, at)
	said, err := own.State.MarshalText()
	if err != nil {
		return err.Error()
	}
	fmt.Fprintf(&w.out, "%v, says %s synced=%t", w.State(), said, own.Synced)
	if own.Meeting {
		w.out.WriteString(" meeting")
	}
	w.out.WriteString("\n")
	fmt.Fprintf(&w.out, "reads=%t writes=%t evicts=%t\n", gate.MayRead(at), gate.MayWrite(at), gate.MayEvict(at))
	if gate.Empty(at) {
		w.out.WriteString("knows that there is nothing to read\n")
	}
	if text := w.Degraded(at); text != "" {
		fmt.Fprintf(&w.out, "degraded: %s\n", text)
	}
	for _, p := range w.Peers() {
		fmt.Fprintf(&w.out, "peer %s inc=%d %s %s synced=%t\n", p.Presence.Node, p.Presence.Incarnation[5],
			p.Status, p.Presence.State, p.Presence.Synced)
	}
	return w.out.String()
}
