package membership

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// State is what a node is doing. Presence carries it.
type State uint8

// The states of a node.
const (
	Syncing    State = iota // it has started and may know less than its peers
	Ready                   // it serves
	Paused                  // it was suspended; announced as Syncing
	Superseded              // an older node of its name is there; not announced
	Leaving                 // it is stopping; the presence with it is the goodbye
)

var stateNames = [...]string{"syncing", "ready", "paused", "superseded", "leaving"}

// String returns the state in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// MarshalText implements encoding.TextMarshaler: the state as presence carries
// it, "syncing", "ready" or "leaving".
func (s State) MarshalText() ([]byte, error) {
	switch s {
	case Ready, Leaving:
		return []byte(s.String()), nil
	default:
		return []byte(Syncing.String()), nil
	}
}

// UnmarshalText implements encoding.TextUnmarshaler. A state that this version
// does not know is Syncing: such a peer is there, and is asked last.
func (s *State) UnmarshalText(text []byte) error {
	switch string(text) {
	case "ready":
		*s = Ready
	case "leaving":
		*s = Leaving
	default:
		*s = Syncing
	}
	return nil
}

// Digest is the root of a node's digest. On the wire it has 16 hexadecimal
// digits.
type Digest uint64

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(d)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	*d = Digest(n)
	return err
}

// Presence is published by a node once a second, and when it is asked.
type Presence struct {
	Node        string    `json:"node"`
	Incarnation uuid.UUID `json:"incarnation"` // UUIDv7, new at every start
	URL         string    `json:"url"`         // where clients reach it
	Version     string    `json:"version"`     // of the program
	Time        int64     `json:"time"`        // the sender's clock, ms since 1970
	Digest      Digest    `json:"digest"`
	State       State     `json:"state"`
	// Synced reports whether the node has got everything that a peer knows, since
	// its start and its last suspension, or nobody else was there. Earlier versions
	// do not send it.
	Synced bool `json:"synced,omitempty"`
	// Meeting reports whether a node that has synced has met a peer that serves, or got
	// its connection back, so lately that it may not have yet what that peer knows.
	// Earlier versions neither send nor know it.
	Meeting bool `json:"meeting,omitempty"`
}

// Check returns an error that names the fault of a presence that can't be used:
// it has no node or no incarnation.
func (p *Presence) Check() error {
	var errs []error
	if p.Node == "" {
		errs = append(errs, errors.New("node: missing"))
	}
	if p.Incarnation == uuid.Nil {
		errs = append(errs, errors.New("incarnation: missing"))
	}
	return errors.Join(errs...)
}

// sent returns the sender's time.
func (p *Presence) sent() time.Time { return time.UnixMilli(p.Time) }

// whole reports whether the node is ready and has everything that its peers
// had, apart from those that it is meeting.
func (p *Presence) whole() bool { return p.State == Ready && p.Synced }

// older reports whether incarnation a started before b, by their nodes' clocks.
func older(a, b uuid.UUID) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// Moment is a time by two clocks. Their difference shows a suspension that only
// one of them sees, as that of the whole machine.
type Moment struct {
	Mono time.Duration // monotonic, from any origin; it never goes back
	Wall time.Time     // the time of day
}

// Since returns how much each clock has moved since an earlier moment.
func (at Moment) since(before Moment) (mono, wall time.Duration) {
	// Round strips the monotonic reading: with it, Sub would not see the wall clock.
	return at.Mono - before.Mono, at.Wall.Round(0).Sub(before.Wall.Round(0))
}

// suspended returns how long the process was suspended between two ticks; 0 if
// they are no further apart than Suspension, by the monotonic clock, and the wall
// clock moved no more than Suspension beyond it. A wall clock that is set back
// is no suspension; one that is set forward by more counts as one, which costs a
// catch-up and nothing else.
func (at Moment) suspended(tick Moment) time.Duration {
	mono, wall := at.since(tick)
	if mono > Suspension || wall-mono > Suspension {
		return max(mono, wall)
	}
	return 0
}

// Link is the connection to the broker, as its owner sees it.
type Link struct {
	Up bool // the node is connected
	// Since is when the connection was made. Another value means that the
	// connection broke in between, also if Up was true both times.
	Since time.Time
	// Late reports whether brokers may still be joining: the embedded broker has
	// routes to others, and none of them is up.
	Late bool
	// Trouble is why this node may not be heard or may not hear, in words for
	// /readyz: "broker refuses publish on …". Empty: nothing is known.
	Trouble string
}
