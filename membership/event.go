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
	// Ask asks for the question who is there to be published.
	Ask
	// CatchUp begins a catch-up; the one before, if any, no longer counts. Round.
	CatchUp
	// Opened says that this node serves: after its start, or after a suspension.
	Opened
	// Incomplete says that it gives up waiting and will serve what it has. It
	// catches up as soon as it can. Text, Elapsed since the start or the suspension.
	Incomplete
	// Suspended says that this process was suspended. Elapsed.
	Suspended
	// Degraded says that the text of [Members.Degraded] has changed since this
	// node opened. Text; empty: it is whole again.
	Degraded
	// NameTaken says that another node of this name is there, and that this one,
	// which is starting, must end. Presence.
	NameTaken
	// Superseding says that an older node of this name is there: this one stands
	// back. Presence. Unsuperseded says that it is there no more. Elapsed.
	Superseding
	Unsuperseded
	// Twin says that a node of this name is there that must give way. It is
	// repeated only after the twin has been silent. Presence.
	Twin

	// Peer and Presence are set in all that follow.

	// Joined says that a peer is there that was unknown.
	Joined
	// Restarted says that a peer is there with another incarnation: it may have
	// forgotten everything.
	Restarted
	// Back says that a peer is heard that was Unreachable. Elapsed since it was
	// last heard.
	Back
	// Heard follows each presence of a peer that counts: its digest is the latest.
	Heard
	// Goodbye says that a peer said goodbye.
	Goodbye
	// FellSilent says that a peer is silent for over 5 s. Elapsed.
	FellSilent
	// Gone says that a peer is forgotten: its pipeline is to be closed. Elapsed.
	Gone
	// Skewed says that a peer's clock is off by more than MaxSkew, Unskewed that
	// it is right again. Skew.
	Skewed
	Unskewed
	// Refused says that a node is no peer, since MaxPeers are there. It comes with
	// each of its presences.
	Refused
	// Ignored says that a presence does not count: it comes from an incarnation
	// that is over. Text.
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
