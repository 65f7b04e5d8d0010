package registry

// late finds the leases that are late without a look at all of them. A lease is late
// when it is silent (see [Registry.silent]): over, or two heartbeats were left out.
//
// An entry waits in the tick before which it can't be late. A renewal only makes that
// later, so a heartbeat leaves it where it is. When the tick is over, the entry goes to a
// later one, or among those that were late when they were looked at last. So an entry is
// looked at about once a minute, however often somebody asks.
//
// The registry's lock guards it.
type late struct {
	ticks map[int64][]*entry  // entries by tick; one that has gone elsewhere is skipped
	next  int64               // no earlier tick has entries
	found map[*entry]struct{} // late when looked at last; they may have been renewed since
}

// tickLen is the length of a tick, ms.
const tickLen = 100

// tickOf returns the tick of a time of the lease clock, which is above 0.
func tickOf(at int64) int64 { return at/tickLen + 1 }

func newLate() late {
	return late{ticks: make(map[int64][]*entry), found: make(map[*entry]struct{})}
}

// put takes an entry that is not late before a time.
func (l *late) put(e *entry, before int64) {
	tick := tickOf(before)
	if _, in := l.found[e]; in || e.tick != 0 && e.tick <= tick {
		return // it is looked at early enough
	}
	if len(l.ticks) == 0 {
		l.next = tick
	}
	e.tick, l.next = tick, min(l.next, tick)
	l.ticks[tick] = append(l.ticks[tick], e)
}

// remove takes an entry out that readers don't see any more. It stays in its tick until
// that is over, so that one which comes and goes is there once.
func (l *late) remove(e *entry) { delete(l.found, e) }

// take takes out at most n entries of a tick before now, all of one tick. Some may have
// gone elsewhere, see [entry].tick. It returns none when there are no more.
func (l *late) take(now int64, n int) (entries []*entry, tick int64) {
	if now-l.next > int64(len(l.ticks)) { // after a long time: look at what there is
		l.next = now
		for tick := range l.ticks {
			l.next = min(l.next, tick)
		}
	}
	for ; l.next < now; l.next++ {
		all, ok := l.ticks[l.next]
		if !ok {
			continue
		}
		left := max(0, len(all)-n)
		if l.ticks[l.next] = all[:left:left]; left == 0 {
			delete(l.ticks, l.next)
		}
		return all[left:], l.next
	}
	return nil, 0
}

// lateAt returns the time after which e is silent unless it is renewed; lease clock, ms.
func (r *Registry) lateAt(e *entry) int64 {
	since := max(e.renewed.Load(), r.upSince)
	at := since + r.lives(e).Milliseconds()
	if interval := interval(e.record.Info); r.term(&e.record) <= 4*interval {
		at = min(at, since+2*interval.Milliseconds())
	}
	return at
}

// silent reports whether the client of e seems to be gone: its lease has expired, or
// it has left out two renewals. The latter shows an outage of many clients before
// their first lease expires. It says nothing of a client whose lease is much longer
// than its interval: such a client claims to renew at other times.
func (r *Registry) silent(e *entry, lease int64) bool { return r.lateAt(e) < lease }

// eachLate calls do with each entry that readers see and that is silent, under the lock.
// It lets go of the lock in between. An entry that becomes or ceases to be silent
// meanwhile may be left out or not.
func (r *Registry) eachLate(lease int64, do func(*entry)) {
	s := r.lockSlices(&r.mu)
	defer s.unlock()
	now := tickOf(lease)
	for {
		entries, tick := r.late.take(now, sliceLen)
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if e.tick != tick {
				continue
			}
			switch e.tick = 0; {
			case !e.isPresent():
			case r.silent(e, lease):
				r.late.found[e] = struct{}{}
			default:
				r.late.put(e, r.lateAt(e))
			}
		}
		s.pass(len(entries))
	}
	for e := range r.late.found {
		if r.silent(e, lease) {
			do(e)
		} else { // renewed since
			delete(r.late.found, e)
			r.late.put(e, r.lateAt(e))
		}
		s.pass(1)
	}
	for i := 0; i < len(r.late.ticks[now]); i++ { // some of them may be due
		if e := r.late.ticks[now][i]; e.tick == now && e.isPresent() && r.silent(e, lease) {
			e.tick = 0
			r.late.found[e] = struct{}{}
			do(e)
		}
		s.pass(1)
	}
}
