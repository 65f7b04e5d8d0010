package registry

import (
	"cmp"
	"strings"

	"github.com/registryd/registryd/eureka"
)

// Key names an instance: overrides, leases and versions belong to the
// application and the id together (Java's overrides to the id alone).
type Key struct {
	App string // upper case
	ID  string // case-sensitive
}

// NewKey returns the key of an instance whose application is spelled in any case.
func NewKey(app, id string) Key { return Key{App: eureka.Upper(app), ID: id} }

// String returns APP/id, as logs and tail show it.
func (k Key) String() string { return k.App + "/" + k.ID }

// compare orders by application and id.
func (k Key) compare(o Key) int {
	return cmp.Or(strings.Compare(k.App, o.App), strings.Compare(k.ID, o.ID))
}

// Bits say what happened to an instance. They are all that a pipeline keeps of
// a change: what is sent is read from the registry when the batch is cut, so it
// is always the newest.
type Bits uint8

// The bits of a slot.
const (
	Renewed    Bits = 1 << iota // H: the lease alone
	Registered                  // R: a new record, by a register or new metadata
	Overridden                  // O: a new override, set or removed
	Cancelled                   // C: the record became a tombstone
)

// Merge returns the bits of a slot that held b when newer happened: the union. A
// cancel replaces all before it, and a renewal adds nothing to anything else.
func (b Bits) Merge(newer Bits) Bits {
	if newer&Cancelled != 0 {
		return newer &^ Renewed
	}
	if u := b | newer; u != Renewed {
		return u &^ Renewed
	}
	return Renewed
}

// String spells the bits by their letters: H, R, O, C.
func (b Bits) String() string {
	var s []byte
	for i, c := range []byte("HROC") {
		if b&(1<<i) != 0 {
			s = append(s, c)
		}
	}
	return string(s)
}

// Change is what was done to one instance, and whether a peer said so.
type Change struct {
	Key  Key
	Bits Bits
	// IsReplication is true for what came from a peer. It is never sent on. It
	// belongs to the request, not to the stored instance.
	IsReplication bool
}

// Sink takes every change, except renewals that came from peers. Changed is called
// after the registry's lock is released, from the goroutine that made the change, and
// must not block.
type Sink interface {
	Changed(Change)
}
