package registry

// deltaList holds the entries that changed lately, each once, in the order of
// their last change. It is linked through the entries, so that a change moves
// an entry to the end at no cost.
type deltaList struct{ first, last *entry }

// touch puts e at the end, as changed at a time of the lease clock.
func (d *deltaList) touch(e *entry, at int64) {
	d.remove(e)
	e.deltaAt, e.deltaBefore = at, d.last
	if d.last != nil {
		d.last.deltaNext = e
	} else {
		d.first = e
	}
	d.last = e
}

// remove takes e out if it is in.
func (d *deltaList) remove(e *entry) {
	if e.deltaAt == 0 {
		return
	}
	if e.deltaBefore != nil {
		e.deltaBefore.deltaNext = e.deltaNext
	} else {
		d.first = e.deltaNext
	}
	if e.deltaNext != nil {
		e.deltaNext.deltaBefore = e.deltaBefore
	} else {
		d.last = e.deltaBefore
	}
	e.deltaAt, e.deltaNext, e.deltaBefore = 0, nil, nil
}

// SweepDelta takes changes older than the retention out of the delta, and says
// how many. The owner calls it every 30 s, Eureka's
// deltaRetentionTimerIntervalInMs.
func (r *Registry) SweepDelta() int {
	_, lease := r.clock()
	s := r.lockSlices(&r.mu)
	defer s.unlock()
	dropped := 0
	for e := r.delta.first; e != nil && e.deltaAt < lease-r.retention; e = r.delta.first {
		r.settle(e)
		if !e.isPresent() {
			e.view = nil // of a tombstone the last there was
		}
		if r.forgotten[e.key()] == e {
			delete(r.forgotten, e.key())
		}
		if dropped++; dropped%sweepLen == 1 {
			r.generation.Add(1) // before readers see that it is gone
		}
		s.pass(sliceLen / sweepLen)
	}
	return dropped
}

// sweepLen is how many changes are taken out of the delta while the lock is held once.
const sweepLen = 512
