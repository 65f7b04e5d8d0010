package membership

import (
	"strconv"
	"time"
)

// Kind is what an [Event] is about.
type Kind uint8

// What the caller has to do, or what has happened. The comments name the fields
// that are set beside Kind.
const (
	// Announce asks for this node's presence to be published.
	Announce Kind = iota + 1
	// Ask asks for the question which nodes there are to be published.
	Ask
	// CatchUp begins a catch-up; the one before, if any, no longer counts. Round.
	CatchUp
	// Opened: this node serves, after its start or after a suspension.
	Opened
	// Incomplete: this node gives up waiting and will serve what it has. It
	// catches up as soon as it can. Text, Elapsed since the start or the
	// suspension.
	Incomplete
	// Suspended: this process was suspended. Elapsed.
	Suspended
	// Degraded: the text of [Members.Degraded] has changed since this node
	// opened. Text; empty: the node is no longer degraded.
	Degraded
	// NameTaken: another node of this name exists, and this one, which is
	// starting, must end. Presence.
	NameTaken
	// Superseding: an older node of this name exists, and this one gives way.
	// Presence. Unsuperseded: that node is gone. Elapsed.
	Superseding
	Unsuperseded
	// Twin: a node of this name exists that must give way. It is repeated only
	// after the twin has been silent. Presence.
	Twin

	// Peer and Presence are set in all that follow.

	// Joined: a peer that was unknown.
	Joined
	// Restarted: a peer with another incarnation. It may have forgotten
	// everything.
	Restarted
	// Back: a presence of a peer that was Unreachable. Elapsed since the one
	// before.
	Back
	// Heard follows each presence of a peer that counts: its digest is the latest.
	Heard
	// Goodbye: a peer has said goodbye.
	Goodbye
	// FellSilent: a peer is silent for over 5 s. Elapsed.
	FellSilent
	// Gone: a peer is forgotten, and its pipeline must be closed. Elapsed.
	Gone
	// Skewed: a peer's clock is off by more than MaxSkew. Unskewed: it is right
	// again. Skew.
	Skewed
	Unskewed
	// Refused: a node is no peer, because there are MaxPeers already. It comes
	// with each of its presences.
	Refused
	// Ignored: a presence does not count, because its incarnation is over. Text.
	Ignored
)

var kindNames = [...]string{
	"", "announce", "ask", "catch up", "opened", "incomplete", "suspended", "degraded", "name taken", "superseding",
	"unsuperseded", "twin", "joined", "restarted", "back", "heard", "goodbye", "fell silent", "gone", "skewed",
	"unskewed", "refused", "ignored",
}

// String returns the kind in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Event is one thing for the caller to act on. The comments of the kinds say
// which fields are set.
type Event struct {
	Kind     Kind
	Peer     string   // its name
	Presence Presence // the one that caused the event, or the last of the peer
	Elapsed  time.Duration
	Skew     time.Duration // how far the peer's clock is behind ours
	Round    uint64        // of the catch-up
	Text     string        // why, in words for the log
}
