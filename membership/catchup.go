package membership

import (
	"fmt"
	"time"
)

// catchUp is the state of this node's catch-up with its peers. Members owns it.
type catchUp struct {
	want     bool          // a catch-up is wanted
	partial  bool          // the node serves without everything
	running  bool          // a try is under way
	done     bool          // it is over, complete or not: the node may serve
	tried    bool          // since it was wanted, with the nodes that are there
	asking   bool          // the try under way is one with the sources outside the cluster alone
	asked    bool          // there was such a try since it was wanted
	outside  bool          // one of these sources has sent everything
	round    uint64        // of the last CatchUp
	retryAt  time.Duration // not before
	progress time.Duration // of the last page, or of the first try
	pulled   int           // entries, in all rounds since the start
}

// restart asks for a new catch-up. A try under way no longer counts.
func (c *catchUp) restart() {
	*c = catchUp{want: true, round: c.round, pulled: c.pulled}
}

// Progress takes a page of a catch-up, with its number of entries.
func (m *Members) Progress(round uint64, entries int, at Moment) {
	if round == m.round && m.running {
		m.progress = at.Mono
		m.pulled += entries
		if entries > 0 {
			m.emptyUntil = 0
		}
	}
}

// Synced takes the end of a catch-up. ok reports whether all entries of its
// sources were received. One of an earlier round has no effect.
func (m *Members) Synced(round uint64, ok bool, at Moment) []Event {
	var out []Event
	if m.enter(at, &out) {
		return out
	}
	if round == m.round && m.running {
		asking := m.asking
		m.running, m.asking = false, false
		switch {
		case !ok:
			m.retryAt = at.Mono + m.retry()
		case asking && !m.alone(at):
			m.outside = true // other nodes may know more
		default:
			m.complete()
		}
	}
	return m.leave(at, out)
}

// complete ends the catch-up: this node has everything that its peers have.
func (m *Members) complete() {
	m.want, m.partial, m.done, m.synced = false, false, true, true
}

// retry returns the time between two tries.
func (m *Members) retry() time.Duration {
	if m.opened && !m.paused {
		return RetryOpen
	}
	return Retry
}

// advance continues the start, or the catch-up after a suspension, as far as
// possible.
func (m *Members) advance(at Moment, out *[]Event) {
	if m.want && (!m.running || m.asking) && at.Mono >= m.retryAt {
		switch s := m.Sources(); {
		case s.One && m.link.Up || len(s.Peers) > 0 && m.waited(at):
			m.begin(out)
			if !m.tried {
				m.tried, m.progress = true, at.Mono
			}
		case m.running:
		case m.opts.Outside && !m.outside && m.reachable() == 0 && at.Mono >= m.goneOn+Listen:
			m.begin(out)
			m.asking, m.asked = true, true
		case m.alone(at):
			m.complete()
		}
	}
	if m.want && !m.partial && m.overdue(at) {
		m.partial, m.done = true, true
		if m.tried || m.asked && !m.outside {
			m.retryAt = at.Mono + RetryOpen
		}
		*out = append(*out, Event{Kind: Incomplete, Text: m.missing(), Elapsed: at.Mono - m.goneOn})
	}
	if m.done && m.mayOpen(at) {
		m.open(at, out)
	}
	if m.paused && !m.opened && at.Mono >= m.goneOn+LateComers {
		m.paused = false // it has not served, and is starting again
	}
}

// begin starts a try. It ends one that asks the sources outside the cluster alone.
func (m *Members) begin(out *[]Event) {
	m.round++
	m.running, m.asking = true, false
	*out = append(*out, Event{Kind: CatchUp, Round: m.round})
}

// deadline returns when the node gives up waiting.
func (m *Members) deadline(at Moment) time.Duration {
	wait := m.opts.StartWait
	if m.opened {
		wait = Patience
	}
	patience := m.progress + Patience
	switch {
	case !m.tried:
		return m.goneOn + wait
	case m.echoed && len(m.Sources().Peers) > 0:
		return patience // the peers can't answer
	default:
		return max(m.goneOn+wait, patience)
	}
}

// overdue reports whether the node gives up. It has waited for long enough, or
// there is no peer to wait for and it can't know whether it is alone. A try
// under way continues: it may take long with many peers that do not answer.
func (m *Members) overdue(at Moment) bool {
	if at.Mono >= m.deadline(at) {
		return true
	}
	outside := m.opts.Outside && !m.outside // a source outside the cluster may come back
	return !m.running && m.reachable() == 0 && m.waited(at) && !outside
}

// missing returns why the node gives up, in words for the log.
func (m *Members) missing() string {
	switch n := m.reachable(); {
	case !m.link.Up:
		return "not connected to a broker"
	case !m.echoed:
		return "own presence does not come back"
	case n == 0 && m.asked && !m.outside:
		return "no source outside the cluster has answered"
	case n == 0 && m.link.Late:
		return "no route to another broker"
	case n == 0:
		return "no peer is reachable"
	case !m.tried:
		return fmt.Sprintf("%d of %d peers are there, none has everything", n, m.opts.Expect)
	default:
		return "no peer has sent everything that it knows"
	}
}

// proven reports whether this node has sent and received for long enough to
// know every node that there is.
func (m *Members) proven(at Moment) bool {
	return m.link.Up && m.echoed && at.Mono >= m.answered
}

// waited reports whether no further peers need to be waited for.
func (m *Members) waited(at Moment) bool {
	switch {
	case !m.proven(at):
		return false
	case m.opts.Expect > 0 && m.reachable() >= m.opts.Expect:
		return true // all that there should be are there
	case m.link.Late && at.Mono < m.session+LateBrokers:
		return false
	}
	return m.opened || m.reachable() >= m.opts.Expect || at.Mono >= m.goneOn+m.opts.StartWait
}

// alone reports whether there is no other node. A silent peer may be cut off,
// and brokers that have not met may hide one.
func (m *Members) alone(at Moment) bool {
	if !m.waited(at) || m.link.Late || m.opts.Expect > 0 {
		return false
	}
	for _, p := range m.peers {
		if p.Status != Left {
			return false
		}
	}
	return true
}

// mayOpen reports whether only the catch-up prevented this node from serving.
func (m *Members) mayOpen(at Moment) bool {
	if m.paused && at.Mono < m.goneOn+LateComers {
		return false
	}
	return m.opened || m.partial || m.proven(at) && at.Mono >= m.quiet() || at.Mono >= m.goneOn+m.opts.StartWait
}

// open makes the node serve, unless it does already.
func (m *Members) open(at Moment, out *[]Event) {
	m.done = false
	if m.opened && !m.paused {
		return
	}
	if !m.opened && !m.opts.Restored && m.pulled == 0 {
		m.emptyUntil = at.Mono + m.opts.WaitWhenEmpty
	}
	m.opened, m.paused = true, false
	m.announce = at.Mono
	*out = append(*out, Event{Kind: Opened})
}
