package broker

import (
	"slices"

	"github.com/nats-io/nats.go"
)

// interest is what a link makes anew on each connection. Its methods are called with the link's lock held.
type interest interface {
	// attach subscribes on nc, in place of what it subscribed before.
	attach(nc *nats.Conn) error

	// name returns the subject that stands for the interest.
	name() string

	// covers reports whether a subscription to subject is this interest's.
	covers(subject string) bool
}

// add makes an interest on the current connection, if there is one, and on each that follows.
func (l *link) add(i interest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		return ErrClosed
	}
	if l.attached != nil {
		// A connection that has ended is no fault: the next one gets the interest.
		if err := i.attach(l.attached); err != nil && !l.attached.IsClosed() {
			return err
		}
	}
	l.interests = append(l.interests, i)
	return nil
}

// remove takes an interest off the list and calls detach under the same lock.
func (l *link) remove(i interest, detach func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.interests = slices.DeleteFunc(l.interests, func(other interest) bool { return other == i })
	detach()
}

// again makes some interests anew on the current connection.
func (l *link) again(which func(interest) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.interests {
		if l.attached != nil && which(i) {
			_ = i.attach(l.attached) //nolint:errcheck // The connection has ended, and the next one gets the interest.
		}
	}
}

// subjects returns the names of all interests.
func (l *link) subjects() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for _, i := range l.interests {
		names = append(names, i.name())
	}
	return names
}
