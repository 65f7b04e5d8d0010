package registry

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/eureka"
)

// A list is made of parts, so that what is encoded of it stays good but for the parts in
// which something has changed.

// partSize is how many instances a part has when it is made. It is cut in two at twice
// that.
const partSize = 64

// Part is a run of instances in a list. It is never changed. As long as nothing in it
// changes, lists share it, and its address stands for its content.
type Part struct {
	all  []seen
	made time.Time
}

// Len returns the number of instances.
func (p *Part) Len() int { return len(p.all) }

// First and Last return the applications of the first and of the last instance.
func (p *Part) First() string { return p.all[0].view.App }

// Last returns the application of the last instance.
func (p *Part) Last() string { return p.all[len(p.all)-1].view.App }

// Views returns the instances by application and id, and is cheaper than Instances: the
// time of the last renewal in them may be old, see [Registry.Lease]. An instance whose
// address is the same as before has not changed otherwise. Nobody may change them.
func (p *Part) Views() iter.Seq[*eureka.InstanceInfo] {
	return func(yield func(*eureka.InstanceInfo) bool) {
		for _, s := range p.all {
			if !yield(s.view) {
				return
			}
		}
	}
}

// Instances returns the instances by application and id. Nobody may change them.
func (p *Part) Instances() iter.Seq[*eureka.InstanceInfo] {
	return func(yield func(*eureka.InstanceInfo) bool) {
		var one eureka.InstanceInfo
		for _, s := range p.all {
			i := s.view
			if i.LeaseInfo.LastRenewalTimestamp != s.renewed {
				one = *i
				one.LeaseInfo.LastRenewalTimestamp = s.renewed
				i = &one // until the next one
			}
			if !yield(i) {
				return
			}
		}
	}
}

// List is a list in parts, as of one moment.
type List struct {
	Parts      []*Part // by application and id; of changes those that are gone last
	Version    string
	HashCode   string // of the full list
	Generation uint64 // see [Registry.Generation]
}

// List returns all that readers see. What a part says of renewals is at most maxAge old, in
// lists of more than freshLen instances in proportion older. It costs a few nanoseconds a
// part, and some microseconds for each part in which something has changed. Any goroutine may
// call it.
func (r *Registry) List(maxAge time.Duration) List {
	return r.list(&r.all, appsVersion, maxAge)
}

// Changes returns what changed within the retention, each instance once and in its
// present state. Each generation has a version of its own. It costs what
// [Registry.List] does.
func (r *Registry) Changes(maxAge time.Duration) List {
	out := r.list(&r.changes, "", maxAge)
	r.versions.Lock()
	defer r.versions.Unlock()
	if r.versions.of != out.Generation || r.versions.version == "" {
		r.versions.of, r.versions.version = out.Generation, r.nextDelta()
	}
	out.Version = r.versions.version
	return out
}

func (r *Registry) nextDelta() string { return strconv.FormatInt(r.deltaVersion.Add(1), 10) }

// freshLen is how many instances of a list are made anew within maxAge. With 20 s a list
// that is read all the time has 10,000 to 20,000 of them encoded a second, about a quarter
// of a core, however long it is. A million in 20 s would take longer than that.
const freshLen = 200_000

// oldest returns how old parts may be: maxAge, but in proportion to what is above freshLen.
func (s *sequence) oldest(maxAge time.Duration) time.Duration {
	return time.Duration(float64(maxAge) * max(1, float64(len(s.blocks)*partSize)/freshLen))
}

func (r *Registry) list(of *sequence, version string, maxAge time.Duration) List {
	now := r.now()
	s := r.lockSlices(r.mu.RLocker())
	defer s.unlock()
	maxAge = of.oldest(maxAge)
	for i := 0; i < len(of.blocks); i++ { // what can be made ahead, in slices
		s.pass(of.renew(i, now, maxAge))
	}
	return List{
		Parts: of.parts(now, maxAge), Version: version, HashCode: r.counts.HashCode(), Generation: r.generation.Load(),
	}
}

// sequence holds entries in an order, in blocks. The registry's lock guards it; parts may
// be called under the shared one. An entry must not change its place while it is in.
type sequence struct {
	of      membership // which of an entry's blocks is this sequence's
	compare func(a, b *entry) int
	blocks  []*block
}

// membership names the sequences that an entry may be in.
type membership uint8

const (
	inAll membership = iota
	inChanges
	memberships
)

// block is what one part is made of: at least one entry.
type block struct {
	entries []*entry
	part    atomic.Pointer[Part] // nil: something has changed since
}

// compareEntries orders by application and id.
func compareEntries(a, b *entry) int {
	if c := strings.Compare(a.app.name, b.app.name); c != 0 {
		return c
	}
	return strings.Compare(a.id, b.id)
}

// compareChanges orders by application, those that are there before those that are gone,
// and id. Eureka's client that does not know an application yet takes all that the delta
// has of it with the first instance that is there, those that are gone too. It then takes
// out those that it reads after that one. Of others its hash code would be wrong, and it
// would fetch everything (DiscoveryClient.updateDelta).
func compareChanges(a, b *entry) int {
	switch c := strings.Compare(a.app.name, b.app.name); {
	case c != 0:
		return c
	case a.gone != b.gone && a.gone:
		return 1
	case a.gone != b.gone:
		return -1
	}
	return strings.Compare(a.id, b.id)
}

// search returns the place of e among entries in an order, and whether it is there. It looks at
// the end first: what comes in order, as from a snapshot, is placed at once.
func search(entries []*entry, e *entry, compare func(a, b *entry) int) (i int, in bool) {
	if n := len(entries); n == 0 || compare(entries[n-1], e) < 0 {
		return n, false
	}
	return slices.BinarySearchFunc(entries, e, compare)
}

// find returns the block in which e is or belongs, and its place there. There is a block.
func (s *sequence) find(e *entry) (at, i int) {
	at = len(s.blocks) - 1
	if last := s.blocks[at].entries; s.compare(last[len(last)-1], e) < 0 {
		return at, len(last)
	}
	at, exact := slices.BinarySearchFunc(s.blocks, e, func(b *block, e *entry) int {
		return s.compare(b.entries[0], e)
	})
	if !exact {
		at = max(0, at-1)
	}
	i, _ = slices.BinarySearchFunc(s.blocks[at].entries, e, s.compare)
	return at, i
}

// after returns the entries of a block after e, whether or not e is in; nil: of the first
// one. There are none when the sequence ends. Nobody may change them, and they hold as
// long as the lock.
func (s *sequence) after(e *entry) []*entry {
	at, i := 0, 0
	if e != nil && len(s.blocks) > 0 {
		at, i = s.find(e)
		if b := s.blocks[at]; i < len(b.entries) && s.compare(b.entries[i], e) == 0 {
			i++
		}
	}
	for ; at < len(s.blocks); at, i = at+1, 0 {
		if rest := s.blocks[at].entries[i:]; len(rest) > 0 {
			return rest
		}
	}
	return nil
}

// put adds e, or notes that it has changed.
func (s *sequence) put(e *entry) {
	if b := e.blocks[s.of]; b != nil {
		b.part.Store(nil)
		return
	}
	if len(s.blocks) == 0 {
		s.blocks = append(s.blocks, s.newBlock([]*entry{e}))
		return
	}
	at, i := s.find(e)
	b := s.blocks[at]
	b.part.Store(nil)
	b.entries, e.blocks[s.of] = slices.Insert(b.entries, i, e), b
	if len(b.entries) >= 2*partSize {
		s.blocks = slices.Insert(s.blocks, at+1, s.newBlock(b.entries[partSize:]))
		b.entries = slices.Clone(b.entries[:partSize])
	}
}

// newBlock returns a block with a copy of the entries.
func (s *sequence) newBlock(entries []*entry) *block {
	b := &block{entries: slices.Clone(entries)}
	for _, e := range entries {
		e.blocks[s.of] = b
	}
	return b
}

// remove takes e out, if it is in. A block that becomes small joins its neighbour.
func (s *sequence) remove(e *entry) {
	b := e.blocks[s.of]
	if b == nil {
		return
	}
	at, i := s.find(e)
	b.part.Store(nil)
	b.entries, e.blocks[s.of] = slices.Delete(b.entries, i, i+1), nil
	switch {
	case len(b.entries) == 0:
		s.blocks = slices.Delete(s.blocks, at, at+1)
	case len(b.entries) <= partSize/2 && len(s.blocks) > 1:
		at = min(at, len(s.blocks)-2) // the last one has a neighbour on its left only
		left, right := s.blocks[at], s.blocks[at+1]
		if all := slices.Concat(left.entries, right.entries); len(all) <= partSize {
			s.blocks[at] = s.newBlock(all)
			s.blocks = slices.Delete(s.blocks, at+1, at+2)
		}
	}
}

// parts returns the parts of all blocks. A part that is too old is made anew: those of
// neighbours at different times, so that not all are made anew at once.
func (s *sequence) parts(now time.Time, maxAge time.Duration) []*Part {
	out := make([]*Part, len(s.blocks))
	for i, b := range s.blocks {
		s.renew(i, now, maxAge)
		out[i] = b.part.Load()
	}
	return out
}

// renew makes the i-th part anew if it is too old, or if something has changed. It
// returns how many entries it has looked at.
func (s *sequence) renew(i int, now time.Time, maxAge time.Duration) (looked int) {
	b := s.blocks[i]
	if p := b.part.Load(); p != nil && now.Sub(p.made) <= spread(maxAge, i) {
		return 1
	}
	p := &Part{all: make([]seen, len(b.entries)), made: now}
	for n, e := range b.entries {
		p.all[n] = e.seen()
	}
	b.part.Store(p)
	return len(b.entries)
}

// spread returns an age from half of maxAge to maxAge for the i-th part.
func spread(maxAge time.Duration, i int) time.Duration {
	const steps = 64
	return maxAge/2 + maxAge/2*time.Duration(uint(i)*2654435761>>7%steps)/steps
}

// each calls do with each entry.
func (s *sequence) each(do func(*entry)) {
	for _, b := range s.blocks {
		for _, e := range b.entries {
			do(e)
		}
	}
}
