package membership

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Times of membership. They are not options: every node must agree on them.
const (
	// Interval is the time between two presences of a node.
	Interval = time.Second
	// Silence is how long a peer may be silent before it is Unreachable.
	Silence = 5 * time.Second
	// GoneAfter is how long a peer may be silent before it is forgotten.
	GoneAfter = 5 * time.Minute
	// MaxSkew is how far a peer's clock may be off before that is Skewed: two
	// actions on one instance through two nodes are ordered by their clocks.
	MaxSkew = 2 * time.Second
	// Suspension is how long a process must have been suspended to count as just
	// started: what has queued up meanwhile is older than it looks.
	Suspension = 5 * time.Second
	// LateComers is how long a node takes nothing after it went on: what waited in
	// its sockets is read in that time, and can't be told from what is new.
	LateComers = time.Second
	// Listen is how long the connection of a starting node must have stood before
	// the node is alone, or knows that its name is free.
	Listen = 250 * time.Millisecond
	// AskAgain is the time between two questions who is there, in the first second
	// of a connection: what is said before all brokers know who listens is lost.
	AskAgain = 80 * time.Millisecond
	// LateBrokers is how long a starting node waits for the first route between
	// embedded brokers.
	LateBrokers = 16 * time.Second
	// Patience is how long a node tries to catch up with peers that are there,
	// from the last page on, before it serves what it has.
	Patience = 15 * time.Second
	// Retry is the time between two tries, and RetryOpen that of a node that
	// serves meanwhile.
	Retry     = 250 * time.Millisecond
	RetryOpen = 5 * time.Second
)

// MaxRetry is how long a pipeline may wait before it sends again what a peer did not
// answer: as long as that lasted, and no longer than this.
const MaxRetry = 30 * time.Second

// Defaults and bounds of [Options].
const (
	DefaultMaxPeers  = 256 // each costs a pipeline
	DefaultStartWait = time.Minute
	// DefaultExchange has room for the usual batch delay, once in each direction.
	DefaultExchange = Silence + time.Second
	// RestoredWait bounds the start's wait of a node that has a snapshot: its data
	// is a better answer than none.
	RestoredWait = 5 * time.Second
)

// Options of [Members]. Node and Incarnation are required; any other zero field
// means its default.
type Options struct {
	Node        string    // this node's name
	Incarnation uuid.UUID // UUIDv7, new at each start
	URL         string    // where its clients reach it
	Version     string    // of the program

	// Expect is how many peers there should be. With fewer the node is degraded,
	// and a starting node waits for them within StartWait, unless one that has
	// everything is there. Default 0.
	Expect int
	// StartWait bounds the start without a peer that can be asked and without the
	// proof that there is none. Default DefaultStartWait. With Restored it is at
	// most RestoredWait.
	StartWait time.Duration
	// WaitWhenEmpty is how long lists stay closed after a start that found no
	// instance anywhere. This rule is Eureka's (waitTimeInMsWhenSyncEmpty).
	// Default 0, where Eureka has 5 minutes.
	WaitWhenEmpty time.Duration
	// Outside reports whether there are sources outside the cluster, such as Java
	// peers. A node that hears no peer asks them while it waits for peers. Without a
	// peer that has everything, a catch-up asks them too.
	Outside bool
	// Exchange is how long two nodes that meet take to exchange what one of them knows
	// and the other does not. Default DefaultExchange.
	Exchange time.Duration
	// Restored reports whether a snapshot with at least one instance was loaded.
	Restored bool
	// MaxPeers bounds the peers. Default DefaultMaxPeers.
	MaxPeers int
}

// withDefaults returns the options with their defaults, and all their faults.
func (o Options) withDefaults() (Options, error) {
	if o.StartWait == 0 {
		o.StartWait = DefaultStartWait
	}
	if o.Exchange == 0 {
		o.Exchange = DefaultExchange
	}
	if o.MaxPeers == 0 {
		o.MaxPeers = DefaultMaxPeers
	}
	var errs []error
	if o.Node == "" {
		errs = append(errs, errors.New("node: missing"))
	}
	if o.Incarnation == uuid.Nil {
		errs = append(errs, errors.New("incarnation: missing"))
	}
	if o.StartWait < 0 {
		errs = append(errs, fmt.Errorf("start wait %v: negative", o.StartWait))
	}
	if o.WaitWhenEmpty < 0 {
		errs = append(errs, fmt.Errorf("wait when empty %v: negative", o.WaitWhenEmpty))
	}
	if o.Exchange < 0 {
		errs = append(errs, fmt.Errorf("exchange %v: negative", o.Exchange))
	}
	if o.MaxPeers < 0 {
		errs = append(errs, fmt.Errorf("max peers %d: negative", o.MaxPeers))
	}
	if o.Expect < 0 || o.MaxPeers > 0 && o.Expect > o.MaxPeers {
		errs = append(errs, fmt.Errorf("expected peers %d: not in 0 to %d", o.Expect, o.MaxPeers))
	}
	if o.Restored {
		o.StartWait = min(o.StartWait, RestoredWait)
	}
	return o, errors.Join(errs...)
}
