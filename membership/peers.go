package membership

import (
	"cmp"
	"slices"
	"time"
)

// Status is a peer's state in this node's view.
type Status string

// The statuses of a peer. Its pipeline keeps trying in all of them.
const (
	Reachable   Status = "reachable"
	Unreachable Status = "unreachable" // silent for over 5 s
	Left        Status = "left"        // said goodbye
)

// Peer is another node, by its last presence.
type Peer struct {
	Presence Presence
	Status   Status
	Last     time.Duration // when it was last heard, by Moment.Mono
	Skew     time.Duration // how far its clock is behind ours
}

type peer struct {
	Peer
	since    time.Duration // when this incarnation was heard first
	meets    time.Duration // until when what it knows may be on its way to this node
	fresh    bool          // heard since this node started or resumed
	old      sighting      // of an older incarnation
	skewed   bool          // Skewed was reported
	far      bool          // its clock is off
	farSince time.Duration // since when, if far
}

// replaceable is how long an incarnation must have been silent before another
// one takes its place: a running one would have announced itself once. So a
// second node of the name that starts by mistake, and ends, changes nothing.
const replaceable = Interval * 3 / 2

// hearPeer takes the presence of another node.
func (m *Members) hearPeer(p Presence, at Moment, out *[]Event) {
	known := m.peers[p.Node]
	met := known == nil || known.Status != Reachable || known.Presence.Incarnation != p.Incarnation ||
		known.Presence.State != Ready // it may have restored what this node lacks
	away := time.Duration(0) // it may wait as long before it sends again
	switch {
	case known == nil:
		if p.State == Leaving {
			return
		}
		if known = m.add(p, at, out); known == nil {
			return
		}
	case known.Presence.Incarnation != p.Incarnation:
		if why := known.refuses(&p, at); why != "" {
			if older(known.Presence.Incarnation, p.Incarnation) {
				known.fresh = false // it may have ended: no source until it speaks again
			}
			*out = append(*out, Event{Kind: Ignored, Peer: p.Node, Presence: p, Text: why})
			return
		}
		known.since = at.Mono
		*out = append(*out, Event{Kind: Restarted, Peer: p.Node, Presence: p})
	case known.Status == Left:
		*out = append(*out, Event{Kind: Ignored, Peer: p.Node, Presence: p, Text: "it has said goodbye"})
		return
	case p.State == Leaving:
		known.Presence, known.Status, known.Last = p, Left, at.Mono
		*out = append(*out, Event{Kind: Goodbye, Peer: p.Node, Presence: p})
		return
	case known.Status == Unreachable:
		away = at.Mono - known.Last
		*out = append(*out, Event{Kind: Back, Peer: p.Node, Presence: p, Elapsed: away})
	}
	switch {
	case p.State != Ready || !m.opened || m.paused:
		known.meets = at.Mono // one of the two is catching up
	case met:
		known.meets = at.Mono + m.opts.Exchange + min(away, MaxRetry)
	}
	known.Presence, known.Status, known.Last, known.fresh = p, Reachable, at.Mono, true
	known.measure(at, out)
	*out = append(*out, Event{Kind: Heard, Peer: p.Node, Presence: p})
}

// refuses returns why another incarnation does not take the place of the one
// that is known; empty if it does. An older one may have ended before the known one
// began, and have words under way for a while after that.
func (p *peer) refuses(said *Presence, at Moment) string {
	switch {
	case said.State == Leaving:
		return "goodbye of another incarnation"
	case older(said.Incarnation, p.Presence.Incarnation) && (!p.old.again(said, at) || at.Mono-p.since <= late):
		return "older incarnation"
	case p.Status == Reachable && at.Mono-p.Last <= replaceable:
		return "another incarnation was there just now"
	default:
		return ""
	}
}

// hearGoodbye takes a presence while this node is leaving. A peer that leaves
// too needs no more changes.
func (m *Members) hearGoodbye(p Presence, out *[]Event) {
	known := m.peers[p.Node]
	if known == nil || p.State != Leaving || p.Incarnation != known.Presence.Incarnation || known.Status == Left {
		return
	}
	known.Presence, known.Status = p, Left
	*out = append(*out, Event{Kind: Goodbye, Peer: p.Node, Presence: p})
}

// add makes a node a peer. nil: there are too many. One that has left makes room.
func (m *Members) add(p Presence, at Moment, out *[]Event) *peer {
	if len(m.peers) >= m.opts.MaxPeers {
		var oldest *peer
		for _, q := range m.peers {
			if q.Status == Left && (oldest == nil || q.Last < oldest.Last) {
				oldest = q
			}
		}
		if oldest == nil {
			*out = append(*out, Event{Kind: Refused, Peer: p.Node, Presence: p})
			return nil
		}
		m.forget(oldest, at, out)
	}
	known := &peer{Peer: Peer{Presence: p, Status: Reachable, Last: at.Mono}, since: at.Mono}
	m.peers[p.Node] = known
	*out = append(*out, Event{Kind: Joined, Peer: p.Node, Presence: p})
	return known
}

func (m *Members) forget(p *peer, at Moment, out *[]Event) {
	delete(m.peers, p.Presence.Node)
	*out = append(*out, Event{Kind: Gone, Peer: p.Presence.Node, Presence: p.Presence, Elapsed: at.Mono - p.Last})
}

// measure takes how far the peer's clock is behind ours, the message's way
// included. What waited while this process or the broker was suspended is late, and
// comes all at once: a clock that is off is so for longer.
func (p *peer) measure(at Moment, out *[]Event) {
	p.Skew = at.Wall.Round(0).Sub(p.Presence.sent())
	far := p.Skew.Abs() > MaxSkew
	if far && !p.far {
		p.farSince = at.Mono
	}
	p.far = far
	event := Event{Peer: p.Presence.Node, Presence: p.Presence, Skew: p.Skew}
	switch {
	case far && !p.skewed && at.Mono-p.farSince >= Interval/2:
		p.skewed, event.Kind = true, Skewed
	case p.skewed && p.Skew.Abs() < MaxSkew/2:
		p.skewed, event.Kind = false, Unskewed
	default:
		return
	}
	*out = append(*out, event)
}

// forgive restarts the count of the peer's silence: it was ours.
func (p *peer) forgive(at Moment) {
	p.fresh, p.far = false, false
	if p.Status != Left {
		p.Last = at.Mono
	}
}

// watch notices the peers that have fallen silent.
func (m *Members) watch(at Moment, out *[]Event) {
	for _, p := range m.sorted() {
		switch silent := at.Mono - p.Last; {
		case silent > GoneAfter:
			m.forget(p, at, out)
		case silent > Silence && p.Status == Reachable:
			p.Status = Unreachable
			*out = append(*out, Event{Kind: FellSilent, Peer: p.Presence.Node, Presence: p.Presence, Elapsed: silent})
		}
	}
}

// sorted returns the peers by name.
func (m *Members) sorted() []*peer {
	all := make([]*peer, 0, len(m.peers))
	for _, p := range m.peers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *peer) int { return cmp.Compare(a.Presence.Node, b.Presence.Node) })
	return all
}

// reachable returns the number of reachable peers.
func (m *Members) reachable() int {
	n := 0
	for _, p := range m.peers {
		if p.Status == Reachable {
			n++
		}
	}
	return n
}

// meeting reports whether this node may not have yet what some peer knows.
func (m *Members) meeting(at Moment) bool {
	if !m.link.Up || at.Mono < m.returned {
		return true // it may not even have heard yet who is there
	}
	for _, p := range m.peers {
		if p.Status == Reachable && at.Mono < p.meets {
			return true
		}
	}
	return false
}

// Peers returns the peers by name.
func (m *Members) Peers() []Peer {
	all := m.sorted()
	out := make([]Peer, len(all))
	for i, p := range all {
		out[i] = p.Peer
	}
	return out
}

// Sources are the peers to catch up from.
type Sources struct {
	Peers []Peer // by name; begin at any of them
	// One reports whether one of them is enough: each is ready, has synced, and is not
	// meeting a peer. Else each may know what no other does.
	One bool
}

// Sources returns the peers to catch up from: those that are ready, have synced and
// are not meeting a peer; without any, all that have been heard since this node
// started or went on.
func (m *Members) Sources() Sources {
	var whole, all []Peer
	for _, p := range m.sorted() {
		if p.Status != Reachable || !p.fresh {
			continue
		}
		all = append(all, p.Peer)
		if p.Presence.whole() && !p.Presence.Meeting {
			whole = append(whole, p.Peer)
		}
	}
	if len(whole) > 0 {
		return Sources{Peers: whole, One: true}
	}
	return Sources{Peers: all}
}
