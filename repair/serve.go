package repair

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Bounds of the answering side.
const (
	serveQueue   = 64 // requests that may wait; further ones are refused as busy
	serveWorkers = 2
	// answerBytes bounds an answer, unless one entry takes more. Over 2 Mbit/s it
	// takes half a second, of the two after which the asker gives up.
	answerBytes = 128 << 10
	// aroundPage bounds what a message holds beside the entries of a page: headers,
	// the list's own text, and the cursor without its names.
	aroundPage = 1024
	// escaped is how many bytes one byte of a text becomes at most in JSON.
	escaped = 6
	// leasesBytes bounds an answer with leases: some 4,000 of them.
	leasesBytes = 32 << 10
	// rowRoom bounds a version row without its names, leafRoom the leases of a leaf without
	// the ages, and ageRoom one of these.
	rowRoom  = 200
	leafRoom = 60
	ageRoom  = 16
	// itemRoom is the size of a usual item with its instance: the initial capacity
	// of the buffer.
	itemRoom = 1536
)

// Request is a request on this node's sync subject. It is answered once, by
// Respond or by Fail; Fail may follow a Respond that returned an error. The codes
// are those of HTTP.
type Request struct {
	From    string
	Body    []byte
	Respond func(body []byte) error
	Fail    func(code int, text string) error
}

// Handle takes a sync request for [Repair.Serve] to answer, or refuses it with
// 503 if too many wait. It does not block; any goroutine may call it.
func (r *Repair) Handle(req Request) {
	select {
	case <-r.ended:
	default:
		select {
		case r.requests <- req:
			select {
			case <-r.ended: // Serve may have looked for the last time
				r.refuseWaiting()
			default:
			}
			return
		default:
		}
	}
	r.refuse(req, http.StatusServiceUnavailable, "busy")
}

func (r *Repair) refuse(req Request, code int, text string) {
	r.metrics.requests.WithLabelValues("refused").Inc()
	if err := req.Fail(code, text); err != nil {
		r.log.Debug("sync refusal not sent", "peer", req.From, "err", err)
	}
}

// Serve answers sync requests until ctx ends, then refuses those that wait. It is
// called once.
func (r *Repair) Serve(ctx context.Context) {
	var workers sync.WaitGroup
	for range serveWorkers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case req := <-r.requests:
					r.answer(req)
				}
			}
		})
	}
	workers.Wait()
	close(r.ended)
	r.refuseWaiting()
}

// refuseWaiting refuses the requests that nobody answers any more.
func (r *Repair) refuseWaiting() {
	for {
		select {
		case req := <-r.requests:
			r.refuse(req, http.StatusServiceUnavailable, "stopping")
		default:
			return
		}
	}
}

func (r *Repair) answer(req Request) {
	body, err := r.serve(req.Body, min(r.room(), answerBytes))
	if err != nil {
		r.refuse(req, http.StatusBadRequest, err.Error())
		return
	}
	if err := req.Respond(body); err != nil {
		r.log.Debug("sync answer not sent", "peer", req.From, "err", err)
		r.refuse(req, http.StatusInternalServerError, "answer not sent: "+err.Error())
		return
	}
	r.metrics.requests.WithLabelValues("served").Inc()
	r.metrics.bytes.WithLabelValues("served").Add(float64(len(body)))
}

var errAsk = errors.New("ask: unknown")

// serve answers one sync request within room bytes, unless a single entry takes
// more.
func (r *Repair) serve(body []byte, room int) ([]byte, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if len(req.Keys) > maxKeys || len(req.Leaves) > maxLeaves || len(req.Groups) > registry.DigestGroups {
		return nil, fmt.Errorf("keys, leaves, groups: %d, %d, %d; at most %d, %d, %d",
			len(req.Keys), len(req.Leaves), len(req.Groups), maxKeys, maxLeaves, registry.DigestGroups)
	}
	from := cmp.Or(req.Cursor, new(cursor))
	switch req.Ask {
	case askSums:
		return json.Marshal(r.serveSums(req.Groups))
	case askVersions:
		return json.Marshal(r.serveVersions(req.Leaves, from, room))
	case askEntries, askUnknown, askAges:
		w := &pageWriter{repair: r, room: room, ask: req.Ask, evicted: req.Evicted}
		for _, k := range req.Keys {
			if key := registry.NewKey(k[0], k[1]); !w.add(key) {
				return w.page(&cursor{App: key.App, ID: key.ID}), nil // from this one on
			}
		}
		return w.page(nil), nil
	case askPage:
		return r.servePage(from, req.Leaves, req.Evicted, room), nil
	case askLeases:
		return json.Marshal(r.serveLeases(from.Leaf, min(room, leasesBytes)))
	default:
		return nil, fmt.Errorf("%w: %.40q", errAsk, req.Ask)
	}
}

func (r *Repair) serveSums(groups []int) reply {
	if len(groups) == 0 {
		return reply{Sums: [][]sum{sums(r.reg.GroupSums())}}
	}
	var out reply
	for _, g := range groups {
		out.Sums = append(out.Sums, sums(r.reg.LeafSums(g)))
	}
	return out
}

// serveVersions returns the rows of the leaves from a cursor on. The first row
// always fits.
func (r *Repair) serveVersions(leaves []int, from *cursor, room int) reply {
	var out reply
	after := from
	skip := 0
	if from.App != "" || from.ID != "" {
		skip = max(slices.Index(leaves, from.Leaf), 0)
	}
	for _, leaf := range leaves[skip:] {
		for _, v := range r.sortedLeaf(leaf) {
			if leaf == from.Leaf && from.passed(v.Key) {
				continue
			}
			room -= rowRoom + escaped*(len(v.Key.App)+len(v.Key.ID))
			if room < 0 && len(out.Versions) > 0 {
				out.Next = after
				return out
			}
			out.Versions = append(out.Versions, rowOf(v))
			after = &cursor{Leaf: leaf, App: v.Key.App, ID: v.Key.ID}
		}
	}
	return out
}

// servePage returns entries from a cursor on, of these leaves or, without any, of all, and
// where the next page begins.
func (r *Repair) servePage(from *cursor, leaves []int, evicted bool, room int) []byte {
	w := &pageWriter{repair: r, room: room, ask: askPage, evicted: evicted}
	after := *from
	for leaf := max(from.Leaf, 0); leaf < maxLeaves; leaf++ {
		if len(leaves) > 0 && !slices.Contains(leaves, leaf) {
			continue
		}
		for _, v := range r.sortedLeaf(leaf) {
			if leaf == from.Leaf && from.passed(v.Key) {
				continue
			}
			if !w.add(v.Key) {
				return w.page(&after)
			}
			after = cursor{Leaf: leaf, App: v.Key.App, ID: v.Key.ID}
		}
	}
	return w.page(nil)
}

// serveLeases returns the leases from a leaf on, and where the rest begins. The first leaf
// always fits, without its ages if need be.
func (r *Repair) serveLeases(from, room int) reply {
	var out reply
	for leaf := max(from, 0); leaf < maxLeaves; leaf++ {
		leases := sortedLeases(r.reg, leaf)
		if len(leases) == 0 {
			continue
		}
		row := leafLeases{Leaf: leaf, Sum: sumOf(leases)}
		room -= leafRoom
		if bare(leases) && (len(leases)*ageRoom <= room || len(out.Leases) > 0) {
			room -= len(leases) * ageRoom
			for i := range leases {
				row.Ages = append(row.Ages, leases[i].Age.Milliseconds())
			}
		}
		if room < 0 && len(out.Leases) > 0 {
			out.Next = &cursor{Leaf: leaf}
			break
		}
		out.Leases = append(out.Leases, row)
	}
	if up := r.opts.Up(); up > 0 {
		out.Up = up.Milliseconds()
		out.Whole = r.whole(out.Next, up)
	}
	return out
}

// whole reports whether an answer without a rest has told all that this node knows. What
// self-preservation keeps beyond its time is in no leaf.
func (r *Repair) whole(next *cursor, up time.Duration) bool {
	return next == nil && up > 0 && len(r.reg.Outlived()) == 0
}

// sortedLeases returns the leases of a leaf by key.
func sortedLeases(reg *registry.Registry, leaf int) []registry.Lease {
	leases := reg.LeafLeases(leaf)
	slices.SortFunc(leases, func(a, b registry.Lease) int { return compareKeys(a.Key, b.Key) })
	return leases
}

// bare reports whether all of the leases have no more to tell than their ages.
func bare(leases []registry.Lease) bool {
	return !slices.ContainsFunc(leases, func(l registry.Lease) bool { return !l.Bare })
}

// sumOf returns the sum of a leaf that holds these.
func sumOf(leases []registry.Lease) sum {
	var out uint64
	for i := range leases {
		out ^= leases[i].Sum()
	}
	return sum(out)
}

// sortedLeaf returns the versions of a leaf by key.
func (r *Repair) sortedLeaf(leaf int) []registry.Versions {
	versions := r.reg.LeafVersions(leaf)
	slices.SortFunc(versions, func(a, b registry.Versions) int { return compareKeys(a.Key, b.Key) })
	return versions
}

func compareKeys(a, b registry.Key) int {
	return cmp.Or(strings.Compare(a.App, b.App), strings.Compare(a.ID, b.ID))
}

// pageWriter collects the entries of a page.
type pageWriter struct {
	repair  *Repair
	room    int
	ask     string
	evicted bool // the asker takes evicted entries
	items   [][]byte
}

// add appends an entry, and reports whether there was room for it. The first one
// always fits. An entry that no message can hold is left out, because it would
// block the sync of all entries behind it.
func (w *pageWriter) add(key registry.Key) bool {
	body, ok := w.repair.item(key, w.ask, w.evicted)
	if !ok {
		return true
	}
	names := escaped * (len(key.App) + len(key.ID)) // in the cursor
	if len(body) > w.repair.transport.MaxPayload()-aroundPage-names {
		w.repair.omit(key, len(body))
		return true
	}
	if w.room -= len(body) + 1; w.room < 0 && len(w.items) > 0 {
		return false
	}
	w.items = append(w.items, body)
	return true
}

func (w *pageWriter) page(next *cursor) []byte {
	up := w.repair.opts.Up()
	if w.ask != askPage && w.ask != askAges {
		up = 0
	}
	whole := w.ask == askPage && w.repair.whole(next, up)
	return encodePage(w.items, next, up, whole)
}

// item renders an entry for what was asked: a Register, or the Cancel of a
// tombstone; for askAges a Heartbeat. An asker that takes evicted entries
// receives them, marked as such: a node that has just started gives every lease its
// whole term, and would otherwise list dead instances.
func (r *Repair) item(key registry.Key, ask string, takesEvicted bool) ([]byte, bool) {
	entry, evicted, ok := r.reg.Entry(key)
	if !ok || evicted && !takesEvicted && (ask == askPage || ask == askUnknown) {
		return nil, false
	}
	item := entry.Item(key, 0)
	item.State.Evicted = evicted && takesEvicted
	if ask == askAges {
		item.Action, item.InstanceInfo = eureka.ActionHeartbeat, nil
	}
	return eureka.AppendItem(make([]byte, 0, itemRoom), &item), true
}

// omit counts an entry that is larger than any message, and logs a sample.
func (r *Repair) omit(key registry.Key, size int) {
	r.metrics.entries.WithLabelValues("omitted").Inc()
	if r.omitted.Due(sampleEvery) {
		r.log.Warn("entry omitted from a sync answer, larger than a message",
			"app", key.App, "instance", key.ID, "bytes", size, "bound", r.transport.MaxPayload())
	}
}
