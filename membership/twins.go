package membership

import (
	"time"

	"github.com/google/uuid"
)

// twins is what is known of other nodes of this node's name. Members owns it.
type twins struct {
	superseded bool          // an older one is there
	olderOne   uuid.UUID     // its incarnation
	lastOlder  time.Duration // when it was last heard
	twinLast   time.Duration // when one that must give way was last heard
	twinSaid   bool          // Twin was reported, and it is not silent since

	rival   sighting      // the last of a node of this name
	rivalAt time.Duration // when it was heard, if it may be a predecessor's last words
	rivaled bool          // there is one, and it is not known to be over
}

// late is how long a message may be on its way. What was sent so long before a node's
// start, or arrives so long after it, may be the last word of its predecessor.
const late = 5 * time.Second

// Bounds of [sighting.again].
const (
	sightingGap    = 50 * time.Millisecond
	sightingJitter = 500 * time.Millisecond
)

// sighting is a presence of an incarnation that should be over.
type sighting struct {
	incarnation uuid.UUID
	sent        time.Time
	at          time.Duration
}

// again takes a presence and reports whether its node is alive: it has spoken
// before, at least sightingGap ago, and its clock has gone on as ours did
// meanwhile. Messages that waited somewhere arrive closer together than they were
// sent. Of several incarnations it watches the oldest that is not silent.
func (s *sighting) again(p *Presence, at Moment) bool {
	before := *s
	now := sighting{p.Incarnation, p.sent(), at.Mono}
	if before.incarnation != now.incarnation {
		free := before.incarnation == uuid.Nil || now.at-before.at > Silence
		if free || older(now.incarnation, before.incarnation) {
			*s = now
		}
		return false
	}
	gap, sent := now.at-before.at, now.sent.Sub(before.sent)
	if gap < sightingGap {
		return false
	}
	*s = now
	return sent > 0 && (sent-gap).Abs() <= sightingJitter
}

// hearOwn takes a presence of this node's name: its own, or another node's.
func (m *Members) hearOwn(p Presence, at Moment, out *[]Event) {
	if p.Incarnation == m.opts.Incarnation {
		m.hearEcho(&p, at)
		return
	}
	known := m.rival.incarnation == p.Incarnation
	alive := m.rival.again(&p, at) && !m.lastWords(&p)
	switch {
	case p.State == Leaving:
		if known {
			m.rival, m.rivaled = sighting{}, false
		}
		if m.superseded && p.Incarnation == m.olderOne {
			m.unsupersede(at, out)
		}
	case m.superseded && p.Incarnation == m.olderOne:
		m.lastOlder = at.Mono
	case !alive:
		if !m.rivaled || at.Mono >= m.quiet() {
			*out = append(*out, Event{Kind: Ask}) // one who is there answers again
		}
		m.rivaled, m.rivalAt = true, at.Mono
	default:
		m.rivaled = false
		m.hearTwin(p, at, out)
	}
}

// hearEcho takes this node's own presence. It proves nothing if it was sent before
// the connection was made. To the broker and back is half the way of a question
// to a peer and of its answer, if the peer is as far away; Listen is the least.
func (m *Members) hearEcho(p *Presence, at Moment) {
	took := at.Wall.Round(0).Sub(p.sent())
	if !m.link.Up || took > at.Mono-m.session+time.Millisecond {
		return
	}
	if !m.echoed {
		m.answered = max(m.session+Listen, at.Mono+2*max(took, 0))
	}
	m.echoed, m.echo = true, at.Mono
}

// lastWords reports whether a presence may have been sent by a node that ended
// before this one began. One of long before comes from a wrong clock.
func (m *Members) lastWords(p *Presence) bool {
	before := m.began.Wall.Round(0).Sub(p.sent())
	return before > 0 && before <= late
}

// quiet returns until when this node waits for one that may have its name: it
// speaks once a second.
func (m *Members) quiet() time.Duration {
	if !m.rivaled {
		return 0
	}
	return m.rivalAt + Interval + Listen
}

// hearTwin takes the presence of a live node of this node's name. One that is
// only starting gives way to one that is ready; of two that are starting, or
// ready, the later gives way. Else both would.
func (m *Members) hearTwin(p Presence, at Moment, out *[]Event) {
	elder := older(p.Incarnation, m.opts.Incarnation)
	switch {
	case !m.opened && (elder || p.State == Ready):
		m.taken = true
		*out = append(*out, Event{Kind: NameTaken, Peer: p.Node, Presence: p})
	case m.opened && elder && p.State == Ready:
		if !m.superseded {
			*out = append(*out, Event{Kind: Superseding, Peer: p.Node, Presence: p})
		}
		m.superseded, m.olderOne, m.lastOlder = true, p.Incarnation, at.Mono
	case m.opened:
		m.twinLast = at.Mono
		if !m.twinSaid {
			m.twinSaid = true
			*out = append(*out, Event{Kind: Twin, Peer: p.Node, Presence: p})
		}
	}
}

// watchTwins notices when a node of this name is silent.
func (m *Members) watchTwins(at Moment, out *[]Event) {
	if m.superseded && at.Mono-m.lastOlder > Silence {
		m.unsupersede(at, out)
	}
	if at.Mono-m.twinLast > Silence {
		m.twinSaid = false
	}
}

func (m *Members) unsupersede(at Moment, out *[]Event) {
	m.superseded = false
	m.announce, m.echo = at.Mono, at.Mono
	*out = append(*out, Event{Kind: Unsuperseded, Peer: m.opts.Node, Elapsed: at.Mono - m.lastOlder})
}
