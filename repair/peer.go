package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/registry"
)

// Anti-entropy: every presence carries the root of its sender's digest. If it
// differs from ours, the sums of groups and leaves show where. A leaf that differs
// in two rounds is compared entry by entry. Our later versions go into the pipeline;
// the peer's later versions are fetched by a request.

// Bounds of a round.
const (
	// groupRoom is what the leaf sums of a group take in an answer, in bytes.
	groupRoom = 20 * registry.DigestLeaves
	// roundGroups is how many groups' sums one request asks for at most: 20 KB.
	roundGroups = 16
	// roundLeaves is how many leaves are compared in one round; the others wait
	// for the next.
	roundLeaves = 1024
	// maxWanted bounds the keys that wait to be fetched from a peer; the digest
	// finds those beyond it.
	maxWanted = 10_000
	// maxRefused bounds the instances that are known to be unsendable to a peer;
	// those beyond it are tried again in each round.
	maxRefused = 10_000
)

// Peer keeps this node and one peer equal. Run owns the comparison; the other
// methods may be called from any goroutine.
type Peer struct {
	repair *Repair
	name   string
	offer  func(registry.Key, registry.Bits) // puts a change into the peer's pipeline
	wake   chan struct{}                     // one slot

	digest    atomic.Uint64 // the root of its digest, as it announced last
	forced    atomic.Bool   // its next round acts on the first difference
	divergent atomic.Int64  // keys found unequal twice with the same versions
	shown     atomic.Pointer[[]Difference]

	mu      sync.Mutex
	wanted  map[registry.Key]struct{} // guarded by mu; to be fetched from the peer
	refused map[registry.Key]refusal  // guarded by mu; can't be sent to the peer

	// Owned by Run.
	differed   map[int]bool          // leaves, in the round before
	differedAt time.Time             // of that round
	unequal    map[registry.Key]pair // found unequal when their leaves were compared last
	counted    map[registry.Key]bool // of unequal, those in divergent
	next       int                   // the leaf to begin with when there are too many for one round

	pushed, fetched prometheus.Counter
	gauge           prometheus.Gauge
}

// pair is the versions of a key on both sides.
type pair struct{ ours, theirs registry.Versions }

// refusal is the version of an instance that could not be sent to the peer, and the
// bound of a batch then. With the same values, sending would only fail again.
type refusal struct {
	record, override int64 // versions
	bytes            int
}

// NewPeer returns the comparison with a peer. It calls offer with the keys of which
// this node has a later version; offer must not block.
func (r *Repair) NewPeer(name string, offer func(registry.Key, registry.Bits)) *Peer {
	return &Peer{
		repair: r, name: name, offer: offer, wake: make(chan struct{}, 1),
		wanted: make(map[registry.Key]struct{}), refused: make(map[registry.Key]refusal),
		pushed:  r.metrics.repaired.WithLabelValues(name, "pushed"),
		fetched: r.metrics.repaired.WithLabelValues(name, "fetched"),
		gauge:   r.metrics.divergent.WithLabelValues(name),
	}
}

// Forget drops the series of a peer whose Run has returned.
func (r *Repair) Forget(peer string) { r.metrics.forget(peer) }

// Heard takes the root of the peer's digest, as its presence announced it.
func (p *Peer) Heard(digest uint64) {
	p.digest.Store(digest)
	if digest != p.repair.reg.Digest() || p.divergent.Load() > 0 {
		p.signal()
	}
}

// Divergent returns how many entries differ from the peer's for longer than a
// change takes.
func (p *Peer) Divergent() int64 { return p.divergent.Load() }

// SetDivergent sets how many entries differ for longer than a change takes, for a peer
// that is compared otherwise than by Run. So do [Peer.Repaired] and [Peer.Round].
func (p *Peer) SetDivergent(n int) { p.setDivergent(n) }

// Repaired counts entries that were found different.
func (p *Peer) Repaired(pushed, fetched int) {
	p.pushed.Add(float64(pushed))
	p.fetched.Add(float64(fetched))
}

// Round counts a comparison by its outcome: "compared" or "failed".
func (p *Peer) Round(outcome string) { p.repair.metrics.rounds.WithLabelValues(p.name, outcome).Inc() }

// Force asks for a round at once that acts on differences it sees for the first
// time.
func (p *Peer) Force() {
	p.forced.Store(true)
	p.signal()
}

func (p *Peer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Want has an entry fetched from the peer.
func (p *Peer) Want(key registry.Key) {
	p.mu.Lock()
	if len(p.wanted) < maxWanted {
		p.wanted[key] = struct{}{}
	}
	p.mu.Unlock()
	p.signal()
}

func (p *Peer) takeWanted() []registry.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := make([]registry.Key, 0, len(p.wanted))
	for k := range p.wanted {
		keys = append(keys, k)
	}
	clear(p.wanted)
	return keys
}

// Refuse remembers that an instance, as it is, can't be sent to the peer: it is
// larger than a message, or the peer can't read it.
func (p *Peer) Refuse(key registry.Key) {
	entry, _, ok := p.repair.reg.Entry(key)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := p.refused[key]; again || len(p.refused) < maxRefused {
		p.refused[key] = refusal{entry.Record.Version, entry.Override.Version, p.repair.room()}
	}
}

// refuses reports whether sending these versions was tried and failed.
func (p *Peer) refuses(v registry.Versions) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[v.Key] == refusal{v.Record, v.Override, p.repair.room()}
}

// Forgive forgets the refusals: the peer may run another version now.
func (p *Peer) Forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.refused)
}

// gap is how long a difference must last to count as one: twice the time that a
// change takes to the peer.
func (r *Repair) gap() time.Duration { return 2 * (r.opts.BatchDelay + time.Second) }

// Run repairs until ctx ends. Rounds are at least half a gap apart.
func (p *Peer) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		if err := p.round(ctx); err != nil && ctx.Err() == nil {
			p.repair.metrics.rounds.WithLabelValues(p.name, "failed").Inc()
			p.repair.log.Debug("repair round failed", "peer", p.name, "err", err)
		}
		pause := time.NewTimer(p.repair.gap() / 2)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// round fetches the wanted entries, and compares if the digests differ.
func (p *Peer) round(ctx context.Context) error {
	var failed error
	if keys := p.takeWanted(); len(keys) > 0 {
		if failed = p.repair.fetch(ctx, p.name, keys, askEntries); failed != nil {
			for _, k := range keys {
				p.Want(k)
			}
		}
	}
	asked := p.askEvicted(ctx)
	err := p.reconcile(ctx)
	if asked != nil {
		p.forced.Store(true) // the peer's next presence asks for a round again
	}
	return errors.Join(failed, asked, err)
}

// askEvicted asks for the leases of what this node has evicted, in a forced round.
// Leases are no part of the digest: of two nodes that meet one may know of renewals
// that it has no reason to send.
func (p *Peer) askEvicted(ctx context.Context) error {
	if !p.forced.Load() {
		return nil
	}
	return p.repair.fetch(ctx, p.name, p.repair.reg.Evicted(), askAges)
}

// reconcile compares with the peer if the digests differ.
func (p *Peer) reconcile(ctx context.Context) error {
	r := p.repair
	forced := p.forced.Swap(false)
	if !forced && p.digest.Load() == r.reg.Digest() {
		p.equal()
		return nil
	}
	differ, err := p.differing(ctx)
	if err != nil {
		if forced {
			p.forced.Store(true) // the peer's next presence asks for a round again
		}
		return err
	}
	if len(differ) == 0 {
		p.equal()
		return nil
	}
	compare := differ
	if !forced {
		if p.differed != nil && time.Since(p.differedAt) < r.gap() {
			return nil // too early to be a second round
		}
		compare = nil
		for _, leaf := range differ {
			if p.differed[leaf] {
				compare = append(compare, leaf)
			}
		}
	}
	p.differedAt, p.differed = time.Now(), make(map[int]bool, len(differ))
	for _, leaf := range differ {
		p.differed[leaf] = true
	}
	err = p.compare(ctx, p.turn(compare), forced)
	if err == nil {
		r.metrics.rounds.WithLabelValues(p.name, "compared").Inc()
	}
	return err
}

// turn returns as many leaves as a round compares, from where the last one ended:
// leaves that stay different must not keep the others waiting.
func (p *Peer) turn(leaves []int) []int {
	if len(leaves) <= roundLeaves {
		return leaves
	}
	at, _ := slices.BinarySearch(leaves, p.next)
	out := slices.Concat(leaves[at:], leaves[:at])[:roundLeaves]
	p.next = out[roundLeaves-1] + 1
	return out
}

// equal forgets the differences.
func (p *Peer) equal() {
	p.differed, p.unequal, p.counted = nil, nil, nil
	p.setDivergent(0)
	p.show()
}

func (p *Peer) setDivergent(n int) {
	p.divergent.Store(int64(n))
	p.gauge.Set(float64(n))
}

// differing returns the leaves whose sums differ, in ascending order.
func (p *Peer) differing(ctx context.Context) ([]int, error) {
	theirs, err := p.sums(ctx, nil, 1, registry.DigestGroups)
	if err != nil {
		return nil, err
	}
	var groups []int
	for g, ours := range p.repair.reg.GroupSums() {
		if ours != uint64(theirs[0][g]) {
			groups = append(groups, g)
		}
	}
	var out []int
	chunk := min(roundGroups, max(1, p.repair.room()/groupRoom))
	for some := range slices.Chunk(groups, chunk) {
		if theirs, err = p.sums(ctx, some, len(some), registry.DigestLeaves); err != nil {
			return nil, err
		}
		for i, g := range some {
			for l, ours := range p.repair.reg.LeafSums(g) {
				if ours != uint64(theirs[i][l]) {
					out = append(out, g*registry.DigestLeaves+l)
				}
			}
		}
	}
	return out, nil
}

func (p *Peer) sums(ctx context.Context, groups []int, rows, columns int) ([][]sum, error) {
	reply, err := p.repair.askReply(ctx, p.name, request{Ask: askSums, Groups: groups})
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
