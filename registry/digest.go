package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"

	"github.com/registryd/registryd/eureka"
)

// The digest shows in a few bytes whether two registries hold the same. Keys fall into
// leaves by the prefix of their hash. The sum of a leaf is the XOR of a hash of each of
// its entries' versions. The sum of a group, and of all, is the XOR of the leaves below.
// So a change costs two XORs, and heartbeats and evictions cost nothing, because leases
// are no part of it. Retired entries are no part either.
const (
	DigestGroups = 64 // the first six bits of a key's hash
	DigestLeaves = 64 // leaves of each group: the next six
)

// digest is the sums of one registry. A group is made with its first entry: a
// registry of few instances stays small.
type digest struct {
	root   uint64
	groups [DigestGroups]*group
}

// group is the leaves with one prefix.
type group struct {
	sum    uint64
	sums   [DigestLeaves]uint64
	leaves [DigestLeaves]map[*entry]struct{}
}

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

// versionSum returns the hash of an entry in the digest: of its key, and of the
// versions of both parts with what settles equal ones.
func versionSum(e *entry) uint64 {
	var stack [512]byte
	b := appendText(stack[:0], e.app.name)
	b = appendText(b, e.id)
	b = appendInt(b, e.record.Version)
	b = appendBool(b, e.record.Live)
	b = appendInt(b, int64(e.record.Hash))
	b = appendInt(b, e.override.Version)
	b = appendBool(b, e.override.Set)
	b = appendText(b, string(e.override.Status))
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// set brings the sums up to date after a part of e changed, or e was retired or
// renewed after that. The registry's lock is held.
func (d *digest) set(e *entry, retired bool) {
	sum := uint64(0)
	if !retired {
		sum = versionSum(e)
	}
	diff := e.sum ^ sum
	e.sum = sum
	d.root ^= diff
	g, leaf := d.groups[e.leaf/DigestLeaves], e.leaf%DigestLeaves
	if g == nil {
		g = new(group)
		d.groups[e.leaf/DigestLeaves] = g
	}
	g.sum ^= diff
	g.sums[leaf] ^= diff
	if g.leaves[leaf] == nil {
		g.leaves[leaf] = make(map[*entry]struct{})
	}
	if sum == 0 {
		delete(g.leaves[leaf], e)
	} else {
		g.leaves[leaf][e] = struct{}{}
	}
}

// Digest returns the sum of all that is not retired.
func (r *Registry) Digest() uint64 {
	r.rlockRetired()
	defer r.mu.RUnlock()
	return r.digest.root
}

// GroupSums returns the sums of the DigestGroups groups.
func (r *Registry) GroupSums() []uint64 {
	r.rlockRetired()
	defer r.mu.RUnlock()
	out := make([]uint64, DigestGroups)
	for i, g := range r.digest.groups {
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
	r.rlockRetired()
	defer r.mu.RUnlock()
	out := make([]uint64, DigestLeaves)
	if g := r.digest.groups[group]; g != nil {
		copy(out, g.sums[:])
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
	if leaf < 0 || leaf >= DigestGroups*DigestLeaves {
		return nil
	}
	r.rlockRetired()
	defer r.mu.RUnlock()
	g := r.digest.groups[leaf/DigestLeaves]
	if g == nil {
		return []Versions{}
	}
	out := make([]Versions, 0, len(g.leaves[leaf%DigestLeaves]))
	for e := range g.leaves[leaf%DigestLeaves] {
		out = append(out, Versions{
			Key: e.key(), Record: e.record.Version, Live: e.record.Live, Hash: e.record.Hash,
			Override: e.override.Version, Set: e.override.Set, OverrideStatus: e.override.Status,
		})
	}
	return out
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
