package bridge

import (
	"context"
	"iter"
	"time"

	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// settledAfter is how long ago our last change of an instance must be for a first
// difference to count, when a comparison was asked for: the peer's list may be 30 s
// old.
const settledAfter = 35 * time.Second

// comparison is what one round remembers for the next.
type comparison struct {
	listed   map[registry.Key]listed     // by the peer, in the last round
	differed map[registry.Key]difference // in the last round
}

// listed is what the peer's list said of an instance.
type listed struct {
	lastDirty  int64
	registered int64 // by the peer: it keeps that until it restarts, or is told to register anew
}

// difference is an instance as it differed. The same in two rounds is no change that
// was under way.
type difference struct {
	ours    versions
	theirs  listed // registered is not set; the zero value: not listed
	updated int64  // their last change
	before  listed // what the peer listed before the instance was missing there; the zero value: it did not
}

// compare compares the peer's list with the registry. What differs in two rounds is
// sent through the pipeline, or taken from the peer. When forced, after an outage,
// what did not change here for a while counts at once.
func (p *Peer) compare(ctx context.Context, forced bool) error {
	list, now, err := p.list(ctx)
	if err != nil {
		return err
	}
	r := p.comparison(&list, now, forced)
	p.compared = r.next
	p.pipeline.Repaired(r.pushed, r.fetched)
	p.pipeline.SetDivergent(r.divergent)
	if r.pushed+r.fetched > 0 {
		p.log.Info("lists compared", "listed", len(r.next.listed), "pushed", r.pushed, "fetched", r.fetched)
	}
	return nil
}

// comparison compares a list, and acts on the differences that count.
func (p *Peer) comparison(list *eureka.Applications, now time.Time, forced bool) *round {
	r := &round{
		peer: p, now: now, forced: forced, before: p.compared,
		next: comparison{
			listed: make(map[registry.Key]listed, len(p.compared.listed)), differed: make(map[registry.Key]difference),
		},
	}
	for key, theirs := range instances(list) {
		r.next.listed[key] = listed{theirs.LastDirtyTimestamp, theirs.LeaseInfo.RegistrationTimestamp}
	}
	r.restarted = r.hasRestarted()
	for key, theirs := range instances(list) {
		r.look(key, theirs)
	}
	for v := range p.reg.AllVersions() {
		if _, there := r.next.listed[v.Key]; !there && v.Live {
			r.look(v.Key, nil)
		}
	}
	return r
}

// Pull implements cluster.Foreign: all instances, whatever their status. Eureka takes
// only those that are UP from a peer.
func (p *Peer) Pull(ctx context.Context, progress func(entries int)) error {
	if _, _, err := p.postList(ctx, emptyList); err != nil {
		return err
	}
	if p.isNode() {
		return cluster.ErrNode
	}
	list, now, err := p.list(ctx)
	if err != nil {
		return err
	}
	r, n := round{peer: p, now: now}, 0
	for key, theirs := range instances(&list) {
		s := r.sides(key, theirs)
		if v := s.judge(); v == adopt || v == lease {
			r.act(v, key, &s)
		}
		n++
	}
	progress(n)
	p.log.Info("synced", "entries", n)
	return nil
}

// instances returns all instances of a list.
func instances(list *eureka.Applications) iter.Seq2[registry.Key, *eureka.InstanceInfo] {
	return func(yield func(registry.Key, *eureka.InstanceInfo) bool) {
		for a := range list.Applications {
			for _, i := range list.Applications[a].Instances {
				if !yield(registry.NewKey(i.App, i.ID()), i) {
					return
				}
			}
		}
	}
}

// round is one comparison.
type round struct {
	peer      *Peer
	now       time.Time // by the peer's clock
	forced    bool
	restarted bool // the peer, since the round before
	before    comparison
	next      comparison

	pushed, fetched, divergent int
}

// hasRestarted reports whether the peer has forgotten everything since the last round:
// no lease of then has gone on.
func (r *round) hasRestarted() bool {
	for key, was := range r.before.listed {
		if is, ok := r.next.listed[key]; ok && is.registered == was.registered {
			return false
		}
	}
	return len(r.before.listed) > 0
}

// sides returns an instance as both sides have it.
func (r *round) sides(key registry.Key, theirs *eureka.InstanceInfo) sides {
	s := sides{theirs: theirs}
	if entry, evicted, ok := r.peer.reg.Entry(key); ok {
		s.ours, s.evicted = &entry, evicted
	}
	if theirs != nil {
		s.age = max(0, r.now.Sub(time.UnixMilli(theirs.LeaseInfo.LastRenewalTimestamp)))
	}
	return s
}

// look compares one instance, and acts on a difference that counts.
func (r *round) look(key registry.Key, theirs *eureka.InstanceInfo) {
	s := r.sides(key, theirs)
	is := difference{}
	if s.ours != nil {
		is.ours = versions{s.ours.Record.Version, s.ours.Override.Version}
	}
	was, again := r.before.differed[key]
	if theirs != nil {
		is.theirs.lastDirty, is.updated = theirs.LastDirtyTimestamp, theirs.LastUpdatedTimestamp
	} else if !r.restarted {
		is.before = was.before
		if before, ok := r.before.listed[key]; ok {
			is.before = before
		}
		s.listed = s.ours != nil && is.before != (listed{}) && is.before.lastDirty == s.ours.Record.LastDirty
	}
	v := s.judge()
	switch v {
	case equal:
		r.renew(key, &s)
		return
	case ignore:
		return
	case register, override, cancelThere, cancelHere, adopt, lease:
	}
	same := again && was.ours == is.ours && was.theirs == is.theirs && was.updated == is.updated
	r.next.differed[key] = is
	if same {
		r.divergent++
	}
	if same || r.countsAtOnce(v, &s) {
		r.act(v, key, &s)
	}
}

// countsAtOnce reports whether a difference that is seen for the first time counts. A
// cancel that did not reach us never does: it may be on its way.
func (r *round) countsAtOnce(v verdict, s *sides) bool {
	switch {
	case v == lease, v == adopt && s.ours == nil:
		return true // nothing of ours can be lost
	case v == register && r.restarted:
		return true // its list is not older than its start
	case v == cancelHere || !r.forced:
		return false
	}
	changed := time.UnixMilli(max(s.ours.Record.Version, s.ours.Override.Version))
	return time.Since(changed) > settledAfter
}

// act makes both sides equal.
func (r *round) act(v verdict, key registry.Key, s *sides) {
	switch v {
	case register:
		r.push(key, registry.Registered, s)
	case override:
		r.push(key, registry.Registered|registry.Overridden, s)
	case cancelThere:
		r.push(key, registry.Cancelled, s)
	case cancelHere:
		r.peer.reg.Cancel(key, r.peer.origin())
		r.fetched++
	case lease:
		r.join(key, s)
		r.fetched++
	case adopt:
		if s.theirs.Check(key.App) == nil && r.peer.reg.Adopt(s.theirs, r.peer.origin()) == registry.OK {
			r.fetched++
		}
	case equal, ignore:
	}
}

// push puts a change into the pipeline, unless the peer could not take it before.
func (r *round) push(key registry.Key, bits registry.Bits, s *sides) {
	if r.peer.refuses(key, versions{s.ours.Record.Version, s.ours.Override.Version}) {
		return
	}
	r.peer.pipeline.Offer(key, bits)
	r.pushed++
}

// renew takes the lease of an instance that both sides have, where the peer has heard
// its client later: its heartbeats do not reach us.
func (r *round) renew(key registry.Key, s *sides) {
	if s.theirs != nil && s.ours != nil && s.age < s.ours.Age-interval(s.ours)/2 {
		r.join(key, s)
	}
}

// join joins the age of the peer's lease, and nothing else.
func (r *round) join(key registry.Key, s *sides) {
	known := *s.ours
	known.Age = s.age
	r.peer.reg.Join(key, known, 0, r.peer.origin())
}
