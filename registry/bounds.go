package registry

import (
	"fmt"
	"time"
)

const (
	// MaxName bounds an application's name and an instance's id, in bytes. A row
	// of names must fit any message, also where each byte is escaped.
	MaxName = 1024
	// maxAhead is how far a version may be ahead of this node's clock: clocks
	// differ by less. A greater one would win over all that follows.
	maxAhead = 24 * time.Hour
)

// hasName reports whether both parts of the key are within MaxName.
func (k Key) hasName() bool { return len(k.App) <= MaxName && len(k.ID) <= MaxName }

// Refuses returns why this node does not take an entry of a peer, or nil if it does:
// a name over MaxName, a version that is more than a day ahead of the node's clock, or
// no room for another instance.
func (r *Registry) Refuses(key Key, in *Entry) error {
	wall, _ := r.clock()
	if err := outOfBounds(key, in, wall); err != nil {
		return err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.entries >= r.room && r.lookup(key) == nil {
		return fmt.Errorf("no room: %d entries of at most %d", r.entries, r.room)
	}
	return nil
}

func outOfBounds(key Key, in *Entry, wall int64) error {
	switch latest := wall + maxAhead.Milliseconds(); {
	case len(key.App) > MaxName:
		return fmt.Errorf("appName: %d bytes, at most %d", len(key.App), MaxName)
	case len(key.ID) > MaxName:
		return fmt.Errorf("id: %d bytes, at most %d", len(key.ID), MaxName)
	case in.Record.Version > latest:
		return fmt.Errorf("registryd.rv: %d is more than %v ahead of the clock", in.Record.Version, maxAhead)
	case in.Override.Version > latest:
		return fmt.Errorf("registryd.ov: %d is more than %v ahead of the clock", in.Override.Version, maxAhead)
	}
	return nil
}
