package membership

import (
	"fmt"
	"strings"
	"time"
)

// Members is this node's view of itself and of its peers. One goroutine at a time
// may use it.
type Members struct {
	opts  Options
	peers map[string]*peer

	began  Moment // of New
	tick   Moment // the last Tick
	ticked bool   // there was one

	link     Link
	session  time.Duration // when this connection was first seen, or the node resumed
	echoed   bool          // this node's presence came back in this session
	echo     time.Duration // when that was last
	answered time.Duration // when all who were asked in this session have answered, if echoed
	announce time.Duration // when the next presence is due

	opened     bool          // the node has served
	returned   time.Duration // until when what peers know since its last connection may be on its way
	paused     bool          // it was suspended, and has not caught up since
	leaving    bool          // it says goodbye
	overslept  bool          // it was suspended while leaving
	taken      bool          // another node has its name: it ends
	synced     bool          // it has received everything that its peers had
	goneOn     time.Duration // the start, or the end of the last suspension
	emptyUntil time.Duration // lists stay closed until then
	degraded   string        // as the last event said

	catchUp
	twins
}

// New returns the membership of a node that has just started, without a
// connection and without peers. Errors name all faults of the options.
func New(opts Options, at Moment) (*Members, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	return &Members{
		opts: opts, peers: make(map[string]*peer), began: at, goneOn: at.Mono, announce: at.Mono,
		catchUp: catchUp{want: true},
	}, nil
}

// SetLink takes the state of the connection to the broker.
func (m *Members) SetLink(l Link, at Moment) []Event {
	var out []Event
	if m.enter(at, &out) {
		return out
	}
	before := m.link
	m.link = l
	anew := !before.Up || !l.Since.Equal(before.Since) ||
		before.Late && !l.Late || before.Trouble != "" && l.Trouble == ""
	if l.Up && anew {
		m.newSession(at)
	}
	return m.leave(at, out)
}

// newSession restarts the proof that this node can send and receive.
func (m *Members) newSession(at Moment) {
	m.session, m.echo, m.echoed = at.Mono, at.Mono, false
	m.announce = at.Mono
	switch {
	case m.opened && !m.paused:
		m.returned = at.Mono + m.opts.Exchange
	case m.done && !m.want:
		m.restart() // it has missed what came since
	}
}

// Tick takes the time. The first Tick begins the watch for suspensions.
func (m *Members) Tick(at Moment) []Event {
	var out []Event
	if m.enter(at, &out) {
		if m.leaving {
			m.overslept = m.overslept || m.suspended(at) > 0
			m.tick = at
		}
		return out
	}
	m.tick, m.ticked = at, true
	m.watch(at, &out)
	m.watchTwins(at, &out)
	return m.leave(at, out)
}

// Asked answers a node that asks which nodes there are.
func (m *Members) Asked(at Moment) []Event {
	var out []Event
	if !m.enter(at, &out) && m.State() != Superseded {
		out = append(out, Event{Kind: Announce})
	}
	return out
}

// Hear takes a presence, this node's own included. One that fails
// [Presence.Check] must not be handed in.
func (m *Members) Hear(p Presence, at Moment) []Event {
	var out []Event
	switch {
	case m.leaving:
		m.hearGoodbye(p, &out)
		return out
	case m.enter(at, &out):
		return out
	case p.Node == m.opts.Node:
		m.hearOwn(p, at, &out)
	default:
		m.hearPeer(p, at, &out)
	}
	return m.leave(at, out)
}

// Leave begins the node's stop. A second call has no effect. A leaving node
// never counts as suspended: it sends what it still can. But after a suspension it takes
// nothing more, because what waited in its sockets is too old for its snapshot.
func (m *Members) Leave(Moment) []Event {
	quiet := m.leaving || m.taken || m.superseded
	m.leaving = true
	if quiet {
		return nil // peers would take the goodbye for that of the other node
	}
	return []Event{{Kind: Announce}}
}

// enter begins an input. It reports whether the input has no effect: the node is
// leaving, or its name is taken.
func (m *Members) enter(at Moment, out *[]Event) bool {
	if m.leaving || m.taken {
		return true
	}
	if elapsed := m.suspended(at); elapsed > 0 {
		m.pause(elapsed, at, out)
	}
	return false
}

func (m *Members) suspended(at Moment) time.Duration {
	if !m.ticked {
		return 0
	}
	return at.suspended(m.tick)
}

// pause makes the node count as just started. The silence of its peers was its
// own.
func (m *Members) pause(elapsed time.Duration, at Moment, out *[]Event) {
	*out = append(*out, Event{Kind: Suspended, Elapsed: elapsed})
	m.tick, m.paused, m.goneOn = at, true, at.Mono
	m.newSession(at)
	m.restart()
	m.lastOlder = at.Mono
	for _, p := range m.peers {
		p.forgive(at)
	}
}

// leave ends an input: it does everything that is due.
func (m *Members) leave(at Moment, out []Event) []Event {
	if m.taken {
		return out
	}
	m.advance(at, &out)
	if at.Mono >= m.announce {
		if m.link.Up && !m.superseded {
			out = append(out, Event{Kind: Announce})
		}
		m.announce = at.Mono + Interval
		if m.link.Up && (!m.opened || m.paused || m.eager(at)) {
			out = append(out, Event{Kind: Ask})
		}
		if m.eager(at) {
			m.announce = at.Mono + AskAgain
		}
	}
	if text := m.Degraded(at); m.opened && !m.paused && text != m.degraded {
		m.degraded = text
		out = append(out, Event{Kind: Degraded, Text: text})
	}
	return out
}

// eager reports whether this node announces itself every AskAgain: it wants to
// know its peers, and its connection is new.
func (m *Members) eager(at Moment) bool {
	settled := m.opened && !m.paused && !m.want
	return m.link.Up && !settled && at.Mono-m.session < time.Second
}

// Next returns how long it is until Tick must be called: from 0, at once, to
// Interval. Every input changes it. After the end there is nothing to tick for.
func (m *Members) Next(at Moment) time.Duration {
	if m.leaving || m.taken {
		return Interval
	}
	due := m.began.Mono
	if m.ticked {
		due = m.tick.Mono + Interval
	}
	if !m.link.Up && (!m.opened || m.paused) {
		due = min(due, m.tick.Mono+AskAgain) // the caller may only now and then look at the link
	}
	for _, t := range [...]time.Duration{
		m.announce, m.answered, m.session + LateBrokers, m.quiet(), m.goneOn + LateComers, m.retryAt,
	} {
		if t > at.Mono {
			due = min(due, t)
		}
	}
	if m.want {
		if t := m.deadline(at); t > at.Mono {
			due = min(due, t)
		}
	}
	return max(0, due-at.Mono)
}

// State returns what this node is doing. It does not notice a suspension by
// itself; [Gate] does.
func (m *Members) State() State {
	switch {
	case m.leaving:
		return Leaving
	case m.superseded:
		return Superseded
	case m.paused:
		return Paused
	case m.opened:
		return Ready
	default:
		return Syncing
	}
}

// Presence returns this node's presence.
func (m *Members) Presence(digest uint64, at Moment) Presence {
	p := Presence{
		Node: m.opts.Node, Incarnation: m.opts.Incarnation, URL: m.opts.URL, Version: m.opts.Version,
		Time: at.Wall.UnixMilli(), Digest: Digest(digest), State: m.State(), Synced: m.synced && !m.partial,
	}
	p.Meeting = p.whole() && m.meeting(at)
	return p
}

// Degraded returns the reasons why this node serves less than it should, in
// words for /readyz; empty if there are none.
func (m *Members) Degraded(at Moment) string {
	var why []string
	if !m.link.Up {
		why = append(why, "not connected to a broker")
	}
	if m.link.Trouble != "" {
		why = append(why, m.link.Trouble)
	}
	if m.link.Up && !m.superseded && at.Mono-m.echo > Silence {
		why = append(why, "own presence does not come back")
	}
	if n := m.reachable(); n < m.opts.Expect {
		why = append(why, fmt.Sprintf("%d of %d peers", n, m.opts.Expect))
	}
	if !m.opened && m.link.Up && m.link.Late && m.link.Trouble == "" {
		why = append(why, "waiting for other nodes")
	}
	if !m.opened && m.asked && !m.outside {
		why = append(why, "waiting for a server outside the cluster")
	}
	switch {
	case m.partial && m.synced:
		why = append(why, "sync after suspension incomplete")
	case m.partial:
		why = append(why, "initial sync incomplete")
	}
	return strings.Join(why, "; ")
}

// Gate is what a node may do, as of one input. It is a value: any goroutine may
// keep it and ask it.
type Gate struct {
	reads, writes, evicts bool
	readsFrom             time.Duration
	tick                  Moment
	ticked, leaving       bool
}

// Gate returns what this node may do until the next input.
func (m *Members) Gate() Gate {
	return Gate{
		reads: m.opened && !m.paused, readsFrom: m.emptyUntil,
		writes: !m.paused && !m.superseded && !m.overslept,
		evicts: m.opened && !m.paused && !m.superseded && !m.leaving,
		tick:   m.tick, ticked: m.ticked, leaving: m.leaving,
	}
}

// MayRead reports whether lists may be answered (200; else 403).
func (g *Gate) MayRead(at Moment) bool { return g.reads && at.Mono >= g.readsFrom && !g.Stale(at) }

// Empty reports whether this node knows what its peers know, which is nothing, and
// lists stay closed for a while: [Options.WaitWhenEmpty].
func (g *Gate) Empty(at Moment) bool { return g.reads && at.Mono < g.readsFrom && !g.Stale(at) }

// MayWrite reports whether writes of clients and batches of peers may be taken
// (else 503). A node that is starting takes them.
func (g *Gate) MayWrite(at Moment) bool { return g.writes && !g.wasSuspended(at) }

// MayEvict reports whether this node knows of the leases what its peers know.
func (g *Gate) MayEvict(at Moment) bool { return g.evicts && !g.Stale(at) }

// Stale reports whether the process was suspended since the last tick. The
// first input after that makes the node Paused, unless it is leaving. It allocates nothing.
func (g *Gate) Stale(at Moment) bool { return !g.leaving && g.wasSuspended(at) }

func (g *Gate) wasSuspended(at Moment) bool { return g.ticked && at.suspended(g.tick) > 0 }
