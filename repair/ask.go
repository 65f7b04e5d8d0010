package repair

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const (
	// askTimeout is how long one request waits for its answer.
	askTimeout = 2 * time.Second
	// agesTimeout is how long a node waits for the ages of leases that it is
	// about to evict. It continues without those that have not arrived.
	agesTimeout = time.Second
	// fetchKeys is how many keys one request asks for, and keyRoom what each
	// takes beside its names, in bytes.
	fetchKeys = 500
	keyRoom   = 8
	// leafDigits is what the number of a leaf takes in a request, in bytes.
	leafDigits = 5
	// maxFailures is how many requests of one purpose may fail before the rest is
	// given up: each request to a peer that is gone costs two seconds.
	maxFailures = 3
)

// errSuspended means that the process was suspended while it waited for an answer:
// the ages in it are greater than stated.
var errSuspended = errors.New("process was suspended")

// ask sends a sync request to a peer and returns its answer.
func (r *Repair) ask(ctx context.Context, to string, req request) ([]byte, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	asked := time.Now()
	reply, err := r.transport.Sync(ctx, to, body)
	switch {
	case parent.Err() != nil:
		return nil, parent.Err()
	case time.Since(asked) > 2*askTimeout || r.opts.Suspended():
		return nil, errSuspended
	case err != nil:
		return nil, fmt.Errorf("sync %s with peer %s: %w", req.Ask, to, err)
	}
	r.metrics.bytes.WithLabelValues("asked").Add(float64(len(body) + len(reply)))
	return reply, nil
}

// askReply is ask for an answer without entries.
func (r *Repair) askReply(ctx context.Context, to string, req request) (reply, error) {
	var out reply
	body, err := r.ask(ctx, to, req)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	return out, err
}

// askPage is ask for an answer with entries, which it joins. Their ages count from when
// it asked: the answer was made since. Else a lease would look younger by the way of
// each answer, and nodes that ask each other would keep the dead without end.
func (r *Repair) askPage(ctx context.Context, to string, req request) (page, error) {
	asked := time.Now()
	body, err := r.ask(ctx, to, req)
	if err != nil {
		return page{}, err
	}
	took := time.Since(asked)
	p, err := decodePage(body)
	if err != nil {
		return page{}, fmt.Errorf("sync %s: answer of peer %s: %w", req.Ask, to, err)
	}
	for i := range p.items {
		r.metrics.entries.WithLabelValues(r.join(to, &p.items[i], took)).Inc()
	}
	return p, nil
}

// askLeases asks a peer for its leases from p on, and joins those in the leaves that are
// equal here. It returns the leaves that are not, and the answer as a page without entries.
func (r *Repair) askLeases(
	ctx context.Context, from string, p *place, progress func(int),
) (differ []int, last page, err error) {
	first := cmp.Or(p.at, new(cursor)).Leaf
	asked := time.Now()
	got, err := r.askReply(ctx, from, request{Ask: askLeases, Cursor: &cursor{Leaf: first}})
	if err != nil {
		return nil, page{}, err
	}
	took, end := time.Since(asked), maxLeaves
	if got.Next != nil {
		end = got.Next.Leaf
	}
	if end <= first || end > maxLeaves || got.Next != nil && end == maxLeaves {
		return nil, page{}, fmt.Errorf("sync %s: peer %s makes no progress: %w", askLeases, from, errPage)
	}
	joined := 0
	for _, row := range got.Leases {
		if row.Leaf < first || row.Leaf >= end {
			return nil, page{}, fmt.Errorf("sync %s: leaf %d of peer %s: %w", askLeases, row.Leaf, from, errPage)
		}
		first = row.Leaf + 1
		if r.joinLeases(from, row, took) {
			joined += len(row.Ages)
		} else {
			differ = append(differ, row.Leaf)
		}
	}
	r.metrics.entries.WithLabelValues("renewed").Add(float64(joined))
	p.entries += joined
	progress(joined)
	if got.Next != nil {
		got.Next = &cursor{Leaf: end} // a leaf is whole, or not there
	}
	return differ, page{next: got.Next, up: millis(got.Up), whole: got.Whole}, nil
}

// joinLeases joins the ages of a leaf that took so long, if it is the same here. It reports
// whether it is.
func (r *Repair) joinLeases(from string, row leafLeases, took time.Duration) bool {
	ours := sortedLeases(r.reg, row.Leaf)
	if len(ours) != len(row.Ages) || sumOf(ours) != row.Sum {
		return false
	}
	by := registry.Origin{Way: registry.BySync, From: from}
	for i := range ours {
		entry := ours[i].Entry()
		entry.Age = millis(row.Ages[i]) + took
		r.reg.Join(ours[i].Key, entry, 0, by)
	}
	return true
}

// join joins an entry of a peer's answer that took so long, and returns the outcome for
// the metric.
func (r *Repair) join(from string, item *eureka.Item, took time.Duration) string {
	key := registry.NewKey(item.AppName, item.ID)
	entry, carried, err := registry.FromItem(item)
	if err != nil {
		r.log.Debug("sync entry not understood", "peer", from, "err", err)
		return "malformed"
	}
	entry.Age += took
	by := registry.Origin{Way: registry.BySync, From: from}
	if out, _ := r.reg.Join(key, entry, carried, by); out == registry.Refused {
		r.log.Debug("sync entry refused", "peer", from, "err", r.reg.Refuses(key, &entry))
		return "refused"
	}
	return "joined"
}

// fetch asks for the entries, or the ages, of keys and joins them. If an answer
// has no room for all of them, it asks again for the rest. A request that fails
// does not prevent the others.
func (r *Repair) fetch(ctx context.Context, from string, keys []registry.Key, what string) error {
	return r.fetchEach(ctx, from, keys, what, func(*page) {})
}

// fetchEach is fetch, and calls look with each answer as well.
func (r *Repair) fetchEach(ctx context.Context, from string, keys []registry.Key, what string, look func(*page)) error {
	var errs []error
	for len(keys) > 0 && ctx.Err() == nil && len(errs) < maxFailures {
		req, room := request{Ask: what, Evicted: true}, r.room()
		for _, k := range keys[:min(fetchKeys, len(keys))] {
			if room -= keyRoom + escaped*(len(k.App)+len(k.ID)); room < 0 && len(req.Keys) > 0 {
				break
			}
			req.Keys = append(req.Keys, [2]string{k.App, k.ID})
		}
		done := len(req.Keys)
		p, err := r.askPage(ctx, from, req)
		if err != nil {
			errs = append(errs, err)
			keys = keys[done:]
			continue
		}
		look(&p)
		if p.next != nil { // no room from this key on
			done = slices.Index(req.Keys, [2]string{p.next.App, p.next.ID})
			if done < 1 {
				err := fmt.Errorf("sync %s: peer %s makes no progress: %w", what, from, errPage)
				return errors.Join(append(errs, err)...)
			}
		}
		keys = keys[done:]
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// AskAges asks the peers for the leases of these instances and joins the answers. A
// node does so before it evicts, because clients may renew at another node now. It
// returns within a second.
func (r *Repair) AskAges(ctx context.Context, peers []string, keys []registry.Key) {
	if len(keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, agesTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, peer := range peers {
		asked.Go(func() {
			if err := r.fetch(ctx, peer, keys, askAges); err != nil {
				r.log.Debug("lease ages not received", "peer", peer, "instances", len(keys), "err", err)
			}
		})
	}
	asked.Wait()
}

// EvictOutlived evicts instances that are present although they are retired. Every
// node may have forgotten their cancels, so no peer can report their end. Such an
// instance is evicted if one of the complete peers has known every change since the
// last renewal and does not know it. A node calls it with each eviction pass. It returns
// within a second.
func (r *Repair) EvictOutlived(ctx context.Context, complete []string) {
	keys := r.reg.Outlived()
	if len(keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, agesTimeout)
	defer cancel()
	for _, name := range complete {
		known, up := make(map[registry.Key]bool), time.Duration(math.MaxInt64)
		err := r.fetchEach(ctx, name, keys, askAges, func(p *page) {
			up = min(up, p.up)
			for i := range p.items {
				known[registry.NewKey(p.items[i].AppName, p.items[i].ID)] = true
			}
		})
		if err != nil {
			r.log.Debug("outlived instances not compared", "peer", name, "err", err)
			continue
		}
		unknown := slices.DeleteFunc(slices.Clone(keys), func(k registry.Key) bool { return known[k] })
		r.evictOutlived(unknown, up)
	}
}

func (r *Repair) evictOutlived(keys []registry.Key, up time.Duration) {
	if n := r.reg.EvictOutlived(keys, up); n > 0 {
		r.log.Info("evicted instances unknown to peers", "evicted", n)
	}
}
