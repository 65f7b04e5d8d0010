package registry

import "sync"

// sliceLen is how many entries are looked at while the lock is held once, where all of
// them have to be. A slice takes less than a millisecond, and clients come in between.
const sliceLen = 2048

// changeCost is how many looks at an entry a change of one costs at most.
const changeCost = 16

// lockSlices holds a lock, and lets go of it for a moment after each slice.
type lockSlices struct {
	lock    sync.Locker
	between func()
	looked  int
}

// lockSlices takes the lock: &r.mu, or r.mu.RLocker() for readers.
func (r *Registry) lockSlices(lock sync.Locker) *lockSlices {
	lock.Lock()
	return &lockSlices{lock: lock, between: r.between}
}

// pass notes that as many entries were looked at. What was read before of the registry
// may have changed when it returns.
func (s *lockSlices) pass(entries int) {
	if s.looked += entries; s.looked < sliceLen {
		return
	}
	s.looked = 0
	s.lock.Unlock()
	if s.between != nil {
		s.between()
	}
	s.lock.Lock()
}

func (s *lockSlices) unlock() { s.lock.Unlock() }

// eachPresent calls do with each entry that readers see, by application and id, under
// the shared lock. It lets go of the lock in between. An entry that comes or goes
// meanwhile may be left out or not; each other one is seen once.
func (r *Registry) eachPresent(do func(*entry)) {
	s := r.lockSlices(r.mu.RLocker())
	defer s.unlock()
	var last *entry
	for {
		block := r.all.after(last)
		if len(block) == 0 {
			return
		}
		for _, e := range block {
			do(e)
		}
		last = block[len(block)-1]
		s.pass(len(block))
	}
}
