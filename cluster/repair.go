package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/registry"
)

// Anti-entropy: every presence carries the root of its sender's digest. Where it
// differs from ours, the sums of groups and leaves say where; a leaf that differs
// in two rounds is compared entry by entry, and what differs goes both ways: what
// we have later into the pipeline, what the peer has later by a request.

// Bounds of a round.
const (
	// roundGroups is how many groups' sums one request asks for: 20 KB.
	roundGroups = 16
	// roundLeaves is how many leaves are compared in one round; the others
	// wait for the next.
	roundLeaves = 1024
	// maxWanted bounds the keys that wait to be fetched from a peer; beyond,
	// the digest finds them.
	maxWanted = 10_000
	// maxRefused bounds what is known to be unsendable to a peer; anything
	// beyond is tried again in each round.
	maxRefused = 10_000
)

// repairer keeps this node and one peer equal. Its goroutine owns all of it but
// what has a lock.
type repairer struct {
	peer *peer
	wake chan struct{} // one slot

	differed   map[int]bool          // leaves, in the round before
	differedAt time.Time             // of that round
	unequal    map[registry.Key]pair // found unequal when their leaves were compared last
	counted    map[registry.Key]bool // of unequal, those in divergent
	next       int                   // the leaf that comes first where there are too many for one round
}

// pair is what both sides had of a key.
type pair struct{ ours, theirs registry.Versions }

func newRepairer(p *peer) *repairer {
	return &repairer{peer: p, wake: make(chan struct{}, 1)}
}

// gap is how long a difference must last to count as one: twice the time that a
// change takes to the peer.
func (c *Cluster) gap() time.Duration {
	delay := c.opts.BatchDelay
	if delay == 0 {
		delay = acceptor.DefaultDelay
	}
	return 2 * (delay + time.Second)
}

// force asks for a round at once, in which one difference is enough.
func (p *peer) force() {
	p.forced.Store(true)
	p.signalRepair()
}

// Repair compares this node with all its peers at once, and exchanges what
// differs. It returns before that is done.
func (c *Cluster) Repair() {
	for _, p := range *c.fanOut.Load() {
		p.force()
	}
}

func (p *peer) signalRepair() {
	select {
	case p.repair.wake <- struct{}{}:
	default:
	}
}

// want has an entry fetched from the peer.
func (p *peer) want(key registry.Key) {
	p.wantMu.Lock()
	if len(p.wanted) < maxWanted {
		p.wanted[key] = struct{}{}
	}
	p.wantMu.Unlock()
	p.signalRepair()
}

func (p *peer) takeWanted() []registry.Key {
	p.wantMu.Lock()
	defer p.wantMu.Unlock()
	keys := make([]registry.Key, 0, len(p.wanted))
	for k := range p.wanted {
		keys = append(keys, k)
	}
	clear(p.wanted)
	return keys
}

// refusal says what of an instance the peer could not be sent, and how large a
// batch was allowed to be then: sending it again would only fail again.
type refusal struct {
	record, override int64 // versions
	bytes            int
}

// refuse remembers that an instance, as it is, can't be sent to the peer: it is
// larger than a message, or the peer can't read it.
func (p *peer) refuse(key registry.Key) {
	entry, _, ok := p.cluster.reg.Entry(key)
	if !ok {
		return
	}
	p.wantMu.Lock()
	defer p.wantMu.Unlock()
	if _, again := p.refused[key]; again || len(p.refused) < maxRefused {
		p.refused[key] = refusal{entry.Record.Version, entry.Override.Version, p.cluster.batchBytes()}
	}
}

// wouldRefuse says whether that was tried and has failed.
func (p *peer) wouldRefuse(v registry.Versions) bool {
	p.wantMu.Lock()
	defer p.wantMu.Unlock()
	return p.refused[v.Key] == refusal{v.Record, v.Override, p.cluster.batchBytes()}
}

// forgive forgets what could not be sent: the peer may be another program now.
func (p *peer) forgive() {
	p.wantMu.Lock()
	defer p.wantMu.Unlock()
	p.refused = make(map[registry.Key]refusal)
}

// run repairs until ctx ends. Rounds are at least half a gap apart.
func (r *repairer) run(ctx context.Context) {
	c := r.peer.cluster
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			c.metrics.repairFailed.Inc()
			c.log.Debug("repair round failed", "peer", r.peer.name, "err", err)
		}
		pause := time.NewTimer(c.gap() / 2)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// round fetches what is wanted, and compares where the digests differ.
func (r *repairer) round(ctx context.Context) error {
	p, c := r.peer, r.peer.cluster
	var failed error
	if keys := p.takeWanted(); len(keys) > 0 {
		if failed = c.fetch(ctx, p.name, keys, askEntries); failed != nil {
			for _, k := range keys {
				p.want(k)
			}
		}
	}
	return errors.Join(failed, r.reconcile(ctx))
}

// reconcile compares with the peer where the digests differ.
func (r *repairer) reconcile(ctx context.Context) error {
	p, c := r.peer, r.peer.cluster
	forced := p.forced.Swap(false)
	if !forced && p.digest.Load() == c.reg.Digest() {
		r.equal()
		return nil
	}
	differ, err := r.differing(ctx)
	if err != nil {
		if forced {
			p.forced.Store(true) // the peer's next presence asks for a round again
		}
		return err
	}
	if len(differ) == 0 {
		r.equal()
		return nil
	}
	compare := differ
	if !forced {
		if r.differed != nil && time.Since(r.differedAt) < c.gap() {
			return nil // too early to be a second round
		}
		compare = nil
		for _, leaf := range differ {
			if r.differed[leaf] {
				compare = append(compare, leaf)
			}
		}
	}
	r.differedAt, r.differed = time.Now(), make(map[int]bool, len(differ))
	for _, leaf := range differ {
		r.differed[leaf] = true
	}
	c.metrics.repairRounds.Inc()
	return r.compare(ctx, r.turn(compare), forced)
}

// turn returns as many leaves as a round compares, from where the last one ended:
// what stays different in the first ones must not keep the others waiting.
func (r *repairer) turn(leaves []int) []int {
	if len(leaves) <= roundLeaves {
		return leaves
	}
	at, _ := slices.BinarySearch(leaves, r.next)
	out := slices.Concat(leaves[at:], leaves[:at])[:roundLeaves]
	r.next = out[roundLeaves-1] + 1
	return out
}

// equal forgets the differences.
func (r *repairer) equal() {
	r.differed, r.unequal, r.counted = nil, nil, nil
	r.peer.divergent.Store(0)
}

// differing returns the leaves whose sums differ.
func (r *repairer) differing(ctx context.Context) ([]int, error) {
	c := r.peer.cluster
	theirs, err := r.sums(ctx, nil, 1, registry.DigestGroups)
	if err != nil {
		return nil, err
	}
	var groups []int
	for g, ours := range c.reg.GroupSums() {
		if ours != uint64(theirs[0][g]) {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return nil, nil
	}
	var out []int
	for some := range slices.Chunk(groups, roundGroups) {
		if theirs, err = r.sums(ctx, some, len(some), registry.DigestLeaves); err != nil {
			return nil, err
		}
		for i, g := range some {
			for l, ours := range c.reg.LeafSums(g) {
				if ours != uint64(theirs[i][l]) {
					out = append(out, g*registry.DigestLeaves+l)
				}
			}
		}
	}
	return out, nil
}

func (r *repairer) sums(ctx context.Context, groups []int, rows, columns int) ([][]sum, error) {
	reply, err := r.ask(ctx, syncRequest{Ask: askSums, Groups: groups})
	if err != nil {
		return nil, err
	}
	if len(reply.Sums) != rows {
		return nil, fmt.Errorf("sums: %d rows, want %d", len(reply.Sums), rows)
	}
	for _, row := range reply.Sums {
		if len(row) != columns {
			return nil, fmt.Errorf("sums: %d in a row, want %d", len(row), columns)
		}
	}
	return reply.Sums, nil
}

func (r *repairer) ask(ctx context.Context, req syncRequest) (syncReply, error) {
	var out syncReply
	body, err := r.peer.cluster.ask(ctx, r.peer.name, req)
	if err == nil {
		err = r.peer.cluster.opts.Codec.Unmarshal(body, &out)
	}
	return out, err
}

// compare exchanges versions of leaves, and what differs. A forced round only
// pushes: when two nodes meet again both are forced, and what each fetched would
// cross the wire twice. What the peer does not push is fetched in the next round.
func (r *repairer) compare(ctx context.Context, leaves []int, forced bool) error {
	c := r.peer.cluster
	before := r.unequal
	r.unequal = make(map[registry.Key]pair)
	turn := make(map[int]bool, len(leaves))
	for _, leaf := range leaves {
		turn[leaf] = true
	}
	for key, pair := range before {
		if leaf := registry.Leaf(key); !turn[leaf] && r.differed[leaf] {
			r.unequal[key] = pair // its turn comes again
		}
	}
	var fetch, unknown []registry.Key
	for len(leaves) > 0 {
		reply, err := r.ask(ctx, syncRequest{Ask: askVersions, Leaves: leaves})
		if err != nil {
			return err
		}
		if reply.Done < 1 || reply.Done > len(leaves) {
			return fmt.Errorf("versions: of %d leaves, asked for %d", reply.Done, len(leaves))
		}
		theirs := make(map[registry.Key]registry.Versions, len(reply.Versions))
		for i := range reply.Versions {
			v := reply.Versions[i].versions()
			theirs[v.Key] = v
		}
		for _, leaf := range leaves[:reply.Done] {
			for _, ours := range c.reg.LeafVersions(leaf) {
				v := theirs[ours.Key]
				delete(theirs, ours.Key)
				if r.push(ours, v) {
					fetch = append(fetch, ours.Key)
				}
			}
		}
		for key, v := range theirs { // unknown here, or retired
			unknown = append(unknown, key)
			r.unequal[key] = pair{theirs: v}
		}
		leaves = leaves[reply.Done:]
	}
	if forced {
		fetch, unknown = nil, nil
	}
	c.metrics.repaired.WithLabelValues(r.peer.name, "fetched").Add(float64(len(fetch) + len(unknown)))
	err := errors.Join(
		c.fetch(ctx, r.peer.name, fetch, askEntries),
		c.fetch(ctx, r.peer.name, unknown, askUnknown),
	)
	r.count(before, turn)
	return err
}

// push compares one key. What we have later goes into the pipeline; it says
// whether the peer has something later.
func (r *repairer) push(ours, theirs registry.Versions) (fetch bool) {
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
	r.unequal[ours.Key] = pair{ours, theirs}
	if _, evicted, _ := r.peer.cluster.reg.Entry(ours.Key); evicted {
		return fetch // the pipeline drops it; the peer fetches it
	}
	if bits != 0 && !r.peer.wouldRefuse(ours) {
		if !ours.Live {
			bits = registry.Cancelled
		}
		r.peer.offer(ours.Key, bits)
		r.peer.cluster.metrics.repaired.WithLabelValues(r.peer.name, "pushed").Inc()
	}
	return fetch
}

// count counts the keys that were unequal in the round before, with the same
// versions, and are so still: not changes under way, and not what one side
// declines because it is expired or retired. Those whose leaves had no turn now
// count as before.
func (r *repairer) count(before map[registry.Key]pair, compared map[int]bool) {
	counted := make(map[registry.Key]bool)
	for key, now := range r.unequal {
		again := before[key] == now && !r.peer.cluster.reg.Declinable(key)
		if !compared[registry.Leaf(key)] {
			again = r.counted[key]
		}
		if again {
			counted[key] = true
		}
	}
	r.counted = counted
	r.peer.divergent.Store(int64(len(counted)))
}
