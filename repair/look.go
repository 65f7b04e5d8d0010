package repair

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/registryd/registryd/registry"
)

// Look asks a peer what it holds of an instance, and joins nothing of it. known is false
// if the peer has nothing. It returns within two seconds.
func (r *Repair) Look(ctx context.Context, from string, key registry.Key) (e registry.Entry, known bool, err error) {
	body, err := r.ask(ctx, from, request{Ask: askEntries, Evicted: true, Keys: [][2]string{{key.App, key.ID}}})
	if err != nil {
		return registry.Entry{}, false, err
	}
	p, err := decodePage(body)
	if err != nil {
		return registry.Entry{}, false, fmt.Errorf("sync %s: answer of peer %s: %w", askEntries, from, err)
	}
	for i := range p.items {
		if registry.NewKey(p.items[i].AppName, p.items[i].ID) == key {
			e, _, err = registry.FromItem(&p.items[i])
			return e, err == nil, err
		}
	}
	return registry.Entry{}, false, nil
}

// maxShown bounds the differences that are shown of a peer.
const maxShown = 100

// Difference is an instance that stays different. A side that has nothing of it has the
// versions 0.
type Difference struct {
	Key          registry.Key
	Ours, Theirs registry.Versions
}

// Differences returns the instances behind [Peer.Divergent], by key, at most 100. A peer
// that is compared otherwise than by Run has none. Nobody may change them.
func (p *Peer) Differences() []Difference {
	if shown := p.shown.Load(); shown != nil {
		return *shown
	}
	return nil
}

// show publishes what differs. Run's goroutine calls it.
func (p *Peer) show() {
	if len(p.counted) == 0 {
		p.shown.Store(nil)
		return
	}
	out := make([]Difference, 0, len(p.counted))
	for key := range p.counted {
		both := p.unequal[key]
		out = append(out, Difference{Key: key, Ours: both.ours, Theirs: both.theirs})
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.Key.App, b.Key.App), strings.Compare(a.Key.ID, b.Key.ID))
	})
	out = out[:min(len(out), maxShown)]
	p.shown.Store(&out)
}
