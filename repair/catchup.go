package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/registryd/registryd/internal/sample"
)

// Source is a peer that can be pulled from.
type Source struct {
	Name   string
	Digest uint64 // of its registry, as it announced last
}

// CatchUp pulls what the peers know into the registry. It keeps its place in the
// order of entries between tries, even if the source changes. One goroutine at a
// time may use it.
type CatchUp struct {
	repair *Repair
	whole  place             // how far sources that know everything have been pulled
	known  time.Duration     // see Known
	parts  map[string]*place // how far each other source has been pulled
	warned sample.Sample
}

var errIncomplete = errors.New("source does not know everything")

// place is how far a pull has come.
type place struct {
	at      *cursor
	done    bool
	entries int
}

// NewCatchUp begins a catch-up.
func (r *Repair) NewCatchUp() *CatchUp { return &CatchUp{repair: r, parts: make(map[string]*place)} }

// Try pulls from each source once. If one is set, a single source is enough: Try
// ends at the first that has sent everything. Otherwise it pulls from all of them,
// and skips those whose digest equals ours. It calls progress with the number of
// entries of each page. It reports whether everything has been received; it returns
// early, with false, when ctx ends.
func (c *CatchUp) Try(ctx context.Context, sources []Source, one bool, progress func(entries int)) bool {
	if one {
		return c.tryOne(ctx, sources, progress)
	}
	all := true
	for _, s := range sources {
		p := c.parts[s.Name]
		if p == nil {
			p = new(place)
			c.parts[s.Name] = p
		}
		if !p.done && s.Digest == c.repair.reg.Digest() {
			p.done = true
		}
		if !p.done && !c.pull(ctx, s.Name, p, progress) {
			all = false
		}
	}
	return all
}

// tryOne pulls from one source, and continues with the next one if that fails.
func (c *CatchUp) tryOne(ctx context.Context, sources []Source, progress func(int)) bool {
	for _, s := range sources {
		if c.pull(ctx, s.Name, &c.whole, progress) {
			return true
		}
	}
	return false
}

// Known returns, after a Try, for how long its source had known every change: this
// node knows them too by now. 0: this node may lack some of them, because there were
// several sources or tries, or the source kept something back.
func (c *CatchUp) Known() time.Duration { return c.known }

// pull joins the entries of a peer, page by page, and logs how it went.
func (c *CatchUp) pull(ctx context.Context, from string, p *place, progress func(int)) bool {
	r, begun, first := c.repair, time.Now(), p.at == nil
	last, err := c.entries(ctx, from, p, progress)
	if err == nil && p == &c.whole && last.up == 0 {
		// It was suspended, or is catching up itself: its presence was out of date.
		*p, err = place{}, errIncomplete
	}
	switch {
	case err == nil:
		p.done = true
		r.log.Info("synced", "peer", from, "entries", p.entries, "elapsed", time.Since(begun))
		switch {
		case p != &c.whole || !first: // the rest is no proof; the next eviction pass asks
		case last.whole:
			c.known = last.up
			r.evictOutlived(r.reg.Outlived(), last.up)
		default:
			r.EvictOutlived(ctx, []string{from})
		}
		return true
	case ctx.Err() == nil && c.warned.Due(sampleEvery):
		r.log.Warn("sync interrupted, retrying", "peer", from, "entries", p.entries, "err", err)
	}
	return false
}

// entries makes this node know all that a peer knows from p on, and moves p. It returns the
// last answer. A node that holds something compares first: what is equal does not travel,
// but for the ages of the leases, which are in no digest.
func (c *CatchUp) entries(ctx context.Context, from string, p *place, progress func(int)) (page, error) {
	if c.repair.reg.Len() == 0 {
		return c.pages(ctx, from, p, progress)
	}
	for failures := 0; failures < maxFailures; {
		differ, last, err := c.repair.askLeases(ctx, from, p, progress)
		switch {
		case ctx.Err() != nil || errors.Is(err, errSuspended) || errors.Is(err, errPage):
			return page{}, err
		case err != nil: // a peer of an earlier version, or the answer was lost
			failures++
			if last, err = c.page(ctx, from, p, nil, progress); err != nil || last.next == nil {
				return last, err
			}
			continue
		}
		next := last.next
		for some := range slices.Chunk(differ, max(1, c.repair.room()/leafDigits)) {
			for more := true; more; more = last.next != nil {
				if last, err = c.page(ctx, from, p, some, progress); err != nil {
					return page{}, err
				}
			}
		}
		if next == nil {
			return last, nil
		}
		p.at = next
	}
	return c.pages(ctx, from, p, progress)
}

// pages asks for one page after the other, from p on, and moves p. It returns the
// last one.
func (c *CatchUp) pages(ctx context.Context, from string, p *place, progress func(int)) (page, error) {
	for {
		if got, err := c.page(ctx, from, p, nil, progress); err != nil || got.next == nil {
			return got, err
		}
	}
}

// page asks for the page at p, of these leaves or of all, and moves p behind it.
func (c *CatchUp) page(
	ctx context.Context, from string, p *place, leaves []int, progress func(int),
) (page, error) {
	got, err := c.repair.askPage(ctx, from, request{Ask: askPage, Cursor: p.at, Leaves: leaves, Evicted: true})
	if err != nil {
		return page{}, err
	}
	p.entries += len(got.items)
	progress(len(got.items))
	if got.next == nil {
		return got, nil
	}
	if !got.next.behind(p.at) || len(leaves) > 0 && !slices.Contains(leaves, got.next.Leaf) {
		return page{}, fmt.Errorf("sync: peer %s makes no progress: %w", from, errPage)
	}
	p.at = got.next
	return got, nil
}
