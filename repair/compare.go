package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/registryd/registryd/registry"
)

// compare exchanges the versions of leaves, and the entries that differ. A forced
// round only pushes: when two nodes meet again both are forced, and an entry that
// one fetched would cross the wire twice. The next round fetches what the peer did
// not push.
func (p *Peer) compare(ctx context.Context, leaves []int, forced bool) error {
	before := p.unequal
	p.unequal = make(map[registry.Key]pair)
	turn := make(map[int]bool, len(leaves))
	for _, leaf := range leaves {
		turn[leaf] = true
	}
	for key, both := range before {
		if leaf := registry.Leaf(key); !turn[leaf] && p.differed[leaf] {
			p.unequal[key] = both // its turn comes again
		}
	}
	theirs, failed := p.versions(ctx, leaves)
	var fetch, unknown []registry.Key
	for _, leaf := range leaves {
		rows, received := theirs[leaf]
		if !received {
			continue
		}
		for _, ours := range p.repair.reg.LeafVersions(leaf) {
			v := rows[ours.Key]
			delete(rows, ours.Key)
			if p.push(ours, v) {
				fetch = append(fetch, ours.Key)
			}
		}
		for key, v := range rows { // unknown here, or retired
			unknown = append(unknown, key)
			p.unequal[key] = pair{theirs: v}
		}
	}
	if !forced {
		p.fetched.Add(float64(len(fetch) + len(unknown)))
		failed = errors.Join(failed,
			p.repair.fetch(ctx, p.name, fetch, askEntries),
			p.repair.fetch(ctx, p.name, unknown, askUnknown))
	}
	p.count(before, turn)
	return failed
}

// versions asks for the versions of leaves, in as many requests as it takes, and
// returns those of the leaves that were received completely. A request that fails
// costs the round the leaf that it began with, not the others.
func (p *Peer) versions(ctx context.Context, leaves []int) (map[int]map[registry.Key]registry.Versions, error) {
	out := make(map[int]map[registry.Key]registry.Versions, len(leaves))
	var errs []error
	var at *cursor
	for len(leaves) > 0 && ctx.Err() == nil {
		reply, err := p.repair.askReply(ctx, p.name, request{Ask: askVersions, Leaves: leaves, Cursor: at})
		if err == nil && !reply.Next.follows(at, leaves) {
			err = fmt.Errorf("versions: peer %s makes no progress: %w", p.name, errPage)
		}
		if err != nil {
			errs = append(errs, err)
			delete(out, leaves[0]) // received in part
			leaves, at = leaves[1:], nil
			if len(errs) >= maxFailures {
				break
			}
			continue
		}
		for i := range reply.Versions {
			v := reply.Versions[i].versions()
			leaf := registry.Leaf(v.Key)
			if out[leaf] == nil {
				out[leaf] = make(map[registry.Key]registry.Versions)
			}
			out[leaf][v.Key] = v
		}
		rest := 0
		if at = reply.Next; at == nil {
			rest = len(leaves)
		} else {
			rest = slices.Index(leaves, at.Leaf)
		}
		for _, leaf := range leaves[:rest] {
			if out[leaf] == nil {
				out[leaf] = make(map[registry.Key]registry.Versions) // empty there
			}
		}
		leaves = leaves[rest:]
	}
	for _, leaf := range leaves {
		delete(out, leaf) // the round ended before it
	}
	return out, errors.Join(append(errs, ctx.Err())...)
}

// follows reports whether c, where the rest of leaves begins, lies behind the
// place that was asked for. A nil c does.
func (c *cursor) follows(asked *cursor, leaves []int) bool {
	switch {
	case c == nil:
		return true
	case asked == nil || asked.Leaf != c.Leaf:
		return slices.Contains(leaves, c.Leaf)
	default:
		return !asked.passed(c.key())
	}
}

// push compares one key, and puts it into the pipeline if our version is later. It
// reports whether the peer's is, in the record or in the override.
func (p *Peer) push(ours, theirs registry.Versions) (fetch bool) {
	a, b := ours.Entry(), theirs.Entry()
	var bits registry.Bits
	if a.Record.After(&b.Record) {
		bits |= registry.Registered
	}
	if a.Override.After(&b.Override) {
		bits |= registry.Overridden
	}
	fetch = b.Record.After(&a.Record) || b.Override.After(&a.Override)
	if bits == 0 && !fetch {
		return false
	}
	p.unequal[ours.Key] = pair{ours, theirs}
	if _, evicted, _ := p.repair.reg.Entry(ours.Key); evicted {
		return fetch // the pipeline drops it; the peer fetches it
	}
	if bits != 0 && !p.refuses(ours) {
		if !ours.Live {
			bits = registry.Cancelled
		}
		p.offer(ours.Key, bits)
		p.pushed.Inc()
	}
	return fetch
}

// count counts the keys that were unequal in the previous round and still are, with
// the same versions. Changes under way do not count, nor does a key that one side
// declines because it is expired or retired. A key whose leaf had no turn now keeps
// its former state.
func (p *Peer) count(before map[registry.Key]pair, compared map[int]bool) {
	counted := make(map[registry.Key]bool)
	for key, now := range p.unequal {
		again := before[key] == now && !p.repair.reg.Declinable(key)
		if !compared[registry.Leaf(key)] {
			again = p.counted[key]
		}
		if again {
			counted[key] = true
		}
	}
	p.counted = counted
	p.setDivergent(len(counted))
	p.show()
}
