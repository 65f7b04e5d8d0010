package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
)

// The digest shows in a few bytes whether two registries hold the same. Keys fall into
// leaves by the prefix of their hash. The sum of a leaf is the XOR of a hash of each of
// its entries' versions. The sum of a group, and of all, is the XOR of the leaves below.
// Heartbeats and evictions cost nothing, because leases are no part of it. Retired entries
// are no part either.
//
// A change only notes that the sum of its entry is stale. Who reads the sums hashes what
// is stale, once, without the registry's lock.
const (
	DigestGroups = 64 // the first six bits of a key's hash
	DigestLeaves = 64 // leaves of each group: the next six
)

// digest is the entries of one registry by leaf, and their sums. A group is made with
// its first entry: a registry of few instances stays small.
type digest struct {
	groups [DigestGroups]*[DigestLeaves]map[*entry]struct{}
	stale  []*entry // whose sums are not up to date, each once
	sums   sums
}

// sums is the sums of a digest. Its lock is taken before the registry's.
type sums struct {
	mu     sync.Mutex
	root   uint64
	groups [DigestGroups]*groupSums
	spare  []*entry   // the other buffer of digest.stale
	copies []entrySum // a buffer
}

// groupSums is the sums of one group, and of its leaves.
type groupSums struct {
	sum    uint64
	leaves [DigestLeaves]uint64
}

// entrySum is an entry, and what the digest is to hold of it.
type entrySum struct {
	e        *entry
	counted  bool
	versions Versions
}

// Bounds of the work on stale sums.
const (
	staleSlice = 256  // entries that are copied while the registry's lock is held once
	maxStale   = 4096 // entries for which a buffer is kept
)

// Leaf returns the number of the leaf that a key falls into, from 0 on.
func Leaf(key Key) int { return int(leafOf(key)) }

// leafOf returns the leaf of a key.
func leafOf(key Key) uint16 {
	var stack [256]byte
	b := appendText(stack[:0], key.App)
	b = append(b, key.ID...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint16(sum[:2]) >> 4
}

// Sum returns the hash of an entry in the digest: of its key, and of the versions of
// both parts with what settles equal ones.
func (v *Versions) Sum() uint64 {
	var stack [512]byte
	b := appendText(stack[:0], v.Key.App)
	b = appendText(b, v.Key.ID)
	b = appendInt(b, v.Record)
	b = appendBool(b, v.Live)
	b = appendInt(b, int64(v.Hash))
	b = appendInt(b, v.Override)
	b = appendBool(b, v.Set)
	b = appendText(b, string(v.OverrideStatus))
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// set takes e into the digest, or out of it, after a part of e changed, or e was retired
// or renewed after that. The registry's lock is held.
func (d *digest) set(e *entry, retired bool) {
	if e.counted == retired {
		e.counted = !retired
		d.place(e)
	}
	if !e.stale {
		e.stale = true
		d.stale = append(d.stale, e)
	}
}

// place adds e to its leaf, or takes it out.
func (d *digest) place(e *entry) {
	g := d.groups[e.leaf/DigestLeaves]
	if g == nil {
		g = new([DigestLeaves]map[*entry]struct{})
		d.groups[e.leaf/DigestLeaves] = g
	}
	leaf := &g[e.leaf%DigestLeaves]
	switch {
	case !e.counted:
		delete(*leaf, e)
	case *leaf == nil:
		*leaf = map[*entry]struct{}{e: {}}
	default:
		(*leaf)[e] = struct{}{}
	}
}

// lockSums returns the sums as they are now, locked. The registry's lock is not held.
func (r *Registry) lockSums() *sums {
	s := &r.digest.sums
	s.mu.Lock()
	r.rlockRetired()
	stale := r.digest.stale
	r.digest.stale, s.spare = s.spare[:0], nil
	r.mu.RUnlock()
	for some := range slices.Chunk(stale, staleSlice) {
		s.copies = s.copies[:0]
		r.mu.RLock()
		for _, e := range some {
			e.stale = false
			s.copies = append(s.copies, entrySum{e, e.counted, e.versions()})
		}
		r.mu.RUnlock()
		for i := range s.copies {
			s.set(&s.copies[i])
		}
	}
	clear(s.copies)
	clear(stale)
	if cap(stale) <= maxStale {
		s.spare = stale
	}
	return s
}

// set brings the sums up to date with one entry.
func (s *sums) set(of *entrySum) {
	e, sum := of.e, uint64(0)
	if of.counted {
		sum = of.versions.Sum()
	}
	diff := e.sum ^ sum
	e.sum = sum
	g := s.groups[e.leaf/DigestLeaves]
	if g == nil {
		g = new(groupSums)
		s.groups[e.leaf/DigestLeaves] = g
	}
	s.root ^= diff
	g.sum ^= diff
	g.leaves[e.leaf%DigestLeaves] ^= diff
}

// Digest returns the sum of all that is not retired.
func (r *Registry) Digest() uint64 {
	s := r.lockSums()
	defer s.mu.Unlock()
	return s.root
}

// GroupSums returns the sums of the DigestGroups groups.
func (r *Registry) GroupSums() []uint64 {
	s := r.lockSums()
	defer s.mu.Unlock()
	out := make([]uint64, DigestGroups)
	for i, g := range s.groups {
		if g != nil {
			out[i] = g.sum
		}
	}
	return out
}

// LeafSums returns the sums of the DigestLeaves leaves of a group; nil if there
// is no such group. Leaf i of group g is number g × DigestLeaves + i.
func (r *Registry) LeafSums(group int) []uint64 {
	if group < 0 || group >= DigestGroups {
		return nil
	}
	s := r.lockSums()
	defer s.mu.Unlock()
	out := make([]uint64, DigestLeaves)
	if g := s.groups[group]; g != nil {
		copy(out, g.leaves[:])
	}
	return out
}

// Versions are what decides between two copies of an entry.
type Versions struct {
	Key            Key
	Record         int64
	Live           bool
	Hash           uint64
	Override       int64
	Set            bool
	OverrideStatus eureka.Status
}

// Entry returns v as an entry without content, to compare by.
func (v *Versions) Entry() Entry {
	return Entry{
		Record:   Record{Version: v.Record, Live: v.Live, Hash: v.Hash},
		Override: Override{Version: v.Override, Set: v.Set, Status: v.OverrideStatus},
	}
}

// LeafVersions returns the versions of all entries in a leaf; nil if there is no
// such leaf.
func (r *Registry) LeafVersions(leaf int) []Versions {
	return inLeaf(r, leaf, (*entry).versions)
}

// Lease is an entry's versions and the age of its lease.
type Lease struct {
	Versions
	Age time.Duration
	// Bare: a node that has these versions learns all from the age. Otherwise the lease was
	// longer once, or the entry is kept longer than it says, see [Entry].
	Bare bool
}

// LeafLeases returns the leases of all entries in a leaf; nil if there is no such leaf.
func (r *Registry) LeafLeases(leaf int) []Lease {
	_, lease := r.clock()
	return inLeaf(r, leaf, func(e *entry) Lease {
		return Lease{e.versions(), e.age(lease), e.longest <= e.record.Term() && e.keep(lease) == 0}
	})
}

// inLeaf returns what of makes of each entry in a leaf; nil if there is no such leaf.
func inLeaf[T any](r *Registry, leaf int, of func(*entry) T) []T {
	if leaf < 0 || leaf >= DigestGroups*DigestLeaves {
		return nil
	}
	r.rlockRetired()
	defer r.mu.RUnlock()
	g := r.digest.groups[leaf/DigestLeaves]
	if g == nil {
		return []T{}
	}
	out := make([]T, 0, len(g[leaf%DigestLeaves]))
	for e := range g[leaf%DigestLeaves] {
		out = append(out, of(e))
	}
	return out
}

// versions returns what decides between e and another copy of it. The lock is held,
// shared or not.
func (e *entry) versions() Versions {
	return Versions{
		Key: e.key(), Record: e.record.Version, Live: e.record.Live, Hash: e.record.Hash,
		Override: e.override.Version, Set: e.override.Set, OverrideStatus: e.override.Status,
	}
}

// AllVersions returns the versions of everything that is not retired, leaf by
// leaf. No lock is held while the caller's loop runs.
func (r *Registry) AllVersions() iter.Seq[Versions] {
	return func(yield func(Versions) bool) {
		for leaf := range DigestGroups * DigestLeaves {
			for _, v := range r.LeafVersions(leaf) {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// Declinable reports whether a peer may drop the entry: it is evicted here, its lease
// has expired, or it is not known at all.
func (r *Registry) Declinable(key Key) bool {
	_, lease := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.lookup(key)
	if e == nil || e.evicted {
		return true
	}
	if e.record.Live {
		return r.lapsed(e, lease) // the peer may have been up for longer than we
	}
	return e.dueAt() < lease
}
