package registry

import "github.com/registryd/registryd/eureka"

// draft is what a change is to make of a record, made and hashed before it takes the lock.
type draft struct {
	next    func(have *Record, visible eureka.Status) Record
	have    Record
	visible eureka.Status
	made    Record
}

// draft applies next to the record of key as it is now. A record that next leaves alone is
// not hashed again. next must depend on its arguments alone. The lock is not held.
func (r *Registry) draft(key Key, next func(have *Record, visible eureka.Status) Record) *draft {
	d := &draft{next: next}
	r.mu.RLock()
	e := r.lookup(key)
	if e != nil {
		d.have, d.visible = e.record, e.visible
	}
	r.mu.RUnlock()
	if e != nil {
		d.make()
	}
	return d
}

func (d *draft) make() {
	if d.made = d.next(&d.have, d.visible); d.made != d.have {
		d.made.Hash = HashRecord(&d.made)
	}
}

// of returns the record to store in e. It is made anew if e has changed since the draft,
// which is rare. The lock is held.
func (d *draft) of(e *entry) Record {
	if d.have != e.record || d.visible != e.visible {
		d.have, d.visible = e.record, e.visible
		d.make()
	}
	return d.made
}
