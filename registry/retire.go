package registry

import (
	"container/heap"
	"math"
	"time"
)

// retireBatch bounds how many entries are retired while the lock is held once.
const retireBatch = sliceLen / changeCost

// queue is a heap of entries by the time at which they may be retired. A renewal only
// makes that time later, so a heartbeat leaves the heap alone: an entry whose turn has
// come is put back if its time is later now. Not in it is what is retired and still seen by
// readers, because self-preservation keeps it.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].retires < q[j].retires }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push and Pop implement heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry) //nolint:forcetypeassert // there is nothing else in it
	e.at = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.at = notQueued
	return e
}

// eachBefore calls do with each entry below the i-th whose turn has come before a time;
// 0: with all. There are few, as each read of the digest takes them out.
func (q queue) eachBefore(at int64, i int, do func(*entry)) {
	if i >= len(q) || q[i].retires >= at {
		return
	}
	do(q[i])
	q.eachBefore(at, 2*i+1, do)
	q.eachBefore(at, 2*i+2, do)
}

// notQueued is the position of an entry that is not in the queue.
const notQueued = -1

// age returns how long ago the lease of e was renewed.
func (e *entry) age(lease int64) time.Duration {
	return time.Duration(min(max(lease-e.renewed.Load(), 0), maxAge.Milliseconds())) * time.Millisecond
}

// dueAt returns when e may be forgotten by all nodes; lease clock, ms. What was restored
// waits for [Registry.Exchanged].
func (e *entry) dueAt() int64 {
	if e.restored != 0 {
		return math.MaxInt64
	}
	return max(retiresAt(e.renewed.Load(), e.longest), e.kept)
}

// keep returns for how long e is remembered beyond what its lease says: 0, or all that
// is left of its time.
func (e *entry) keep(lease int64) time.Duration {
	now := lease
	if e.restored != 0 {
		now = e.restored
	}
	if e.kept <= now || e.restored == 0 && e.kept <= retiresAt(e.renewed.Load(), e.longest) {
		return 0
	}
	return time.Duration(e.kept-now) * time.Millisecond
}

// unkeep ends what was restored: another record took its place. The lock is held.
func (r *Registry) unkeep(e *entry) {
	if e.kept != 0 {
		e.kept, e.restored = 0, 0
		r.requeue(e)
	}
}

// requeue puts e where it belongs in the queue after its time became earlier. The lock
// is held.
func (r *Registry) requeue(e *entry) {
	if e.at != notQueued {
		e.retires = e.dueAt()
		heap.Fix(&r.queue, e.at)
	}
}

// track brings the digest and the queue up to date after e was made, changed, or
// renewed although it was retired. The lock is held.
func (r *Registry) track(e *entry, lease int64) {
	isRetired := e.dueAt() < lease
	r.digest.set(e, isRetired)
	switch {
	case e.at != notQueued:
	case isRetired && e.isPresent():
		r.outlived[e] = struct{}{}
	default:
		delete(r.outlived, e)
		e.retires = e.dueAt()
		heap.Push(&r.queue, e)
	}
}

// renewHere renews the lease for the client, or for a Java peer. The lock is held.
func (r *Registry) renewHere(t *tx) {
	t.e.renew(t.lease)
	r.unkeep(t.e)
	if t.e.at == notQueued {
		r.track(t.e, t.lease)
	}
}

// recall puts an entry back that was renewed although it was retired.
func (r *Registry) recall(key Key, lease int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.lookup(key); e != nil && e.at == notQueued {
		r.track(e, lease)
	}
}

// retireDue retires what is due: what readers don't see is forgotten, anything else
// leaves the digest. It returns how many entries it forgot, and whether more are due.
// The lock is held.
func (r *Registry) retireDue(lease int64) (forgotten int, more bool) {
	for range retireBatch {
		if len(r.queue) == 0 || r.queue[0].retires >= lease {
			return forgotten, false
		}
		e := r.queue[0]
		if at := e.dueAt(); at >= lease {
			e.retires = at
			heap.Fix(&r.queue, 0)
			continue
		}
		heap.Pop(&r.queue)
		if e.isPresent() {
			r.digest.set(e, true)
			r.outlived[e] = struct{}{}
			continue
		}
		r.remove(e)
		forgotten++
	}
	return forgotten, true
}

// Forget deletes tombstones and evicted entries that are retired: two terms and five
// minutes after the last renewal no peer sends or takes them any more. What
// self-preservation keeps in spite of its age leaves just the digest. It returns how
// many it deleted. Reads of the digest do the same, so that what they tell depends on
// the time alone and not on when a node makes its eviction pass.
func (r *Registry) Forget() int {
	_, lease := r.clock()
	r.mu.RLock()
	late := !r.exchanged && lease-r.startMs > r.maxLease.Milliseconds()
	r.mu.RUnlock()
	if late {
		r.resume(lease)
	}
	forgotten := r.retireAll(lease)
	r.lockSums().mu.Unlock() // else what is forgotten stays in memory until somebody reads them
	s := r.lockSlices(&r.mu)
	defer s.unlock()
	for key, at := range r.lost {
		if !r.misses(key, at, lease) {
			delete(r.lost, key)
		}
		s.pass(1)
	}
	return forgotten
}

// retireAll retires all that is due, and returns how many entries it forgot.
func (r *Registry) retireAll(lease int64) int {
	forgotten := 0
	for more := true; more; {
		r.mu.Lock()
		var n int
		n, more = r.retireDue(lease)
		forgotten += n
		r.mu.Unlock()
		if r.between != nil {
			r.between()
		}
	}
	return forgotten
}

// rlockRetired takes the shared lock when nothing is due.
func (r *Registry) rlockRetired() {
	_, lease := r.clock()
	r.mu.RLock()
	for len(r.queue) > 0 && r.queue[0].retires < lease {
		r.mu.RUnlock()
		r.mu.Lock()
		r.retireDue(lease)
		r.mu.Unlock()
		r.mu.RLock()
	}
}

// Restore joins an entry of this node's own snapshot, which was written so long ago;
// its Age is the one that it had then. Call it before [Registry.Exchanged].
//
// The time away ages the lease. It is nobody's time for the memory of a cancel or an
// eviction: until Exchanged, or for [Options].MaxLease at most, that time stands still,
// and at least five minutes of it are left, for peers that start a little later. Else a
// cluster that was down for longer than it remembers a cancel would list what was
// cancelled, if one node had not heard of it.
func (r *Registry) Restore(key Key, in Entry, away time.Duration) Outcome {
	in.Age = min(max(in.Age, 0), maxAge)
	if !in.Record.Live || in.Evicted {
		left := 2*r.longest(&in) + retirement - in.Age
		in.Keep = max(left, in.Keep, retirement)
	} else {
		in.Keep = 0
	}
	in.Age = min(in.Age+min(max(away, 0), maxAge), maxAge)
	out, _ := r.Join(key, in, Registered|Overridden, Origin{Way: BySnapshot})
	if in.Keep == 0 {
		return out
	}
	_, lease := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.lookup(key); e != nil && e.kept != 0 && !r.exchanged {
		e.restored = max(lease, 1)
		r.restored = append(r.restored, e)
	}
	return out
}

// Exchanged reports to the registry that this node has exchanged what it knows with
// each peer that is there: time passes again for what was restored.
func (r *Registry) Exchanged() {
	_, lease := r.clock()
	r.resume(lease)
}

// resume lets time pass again for what was restored.
func (r *Registry) resume(lease int64) {
	s := r.lockSlices(&r.mu)
	defer s.unlock()
	all := r.restored
	r.restored, r.exchanged = nil, true // Restore adds no more
	for _, e := range all {
		if e.restored != 0 {
			e.kept += lease - e.restored
			e.restored = 0
			r.requeue(e)
		}
		s.pass(changeCost)
	}
}
