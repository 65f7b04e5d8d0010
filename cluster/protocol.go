package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// What a sync request asks for. Requests are small JSON objects; entries travel
// as the items of a ReplicationList, as in batches.
const (
	askSums     = "sums"     // the digest's group sums; with Groups the leaf sums of these
	askVersions = "versions" // the versions of all entries in Leaves
	askEntries  = "entries"  // the entries of Keys
	askUnknown  = "unknown"  // the entries of Keys, which the asker doesn't know
	askAges     = "ages"     // the leases of Keys, as Heartbeat items
	askPage     = "page"     // all entries, from Cursor on
)

// Bounds of a sync request.
const (
	maxSyncKeys   = 5_000
	maxSyncLeaves = registry.DigestGroups * registry.DigestLeaves
)

// syncRequest is the body of a request on a peer's sync subject.
type syncRequest struct {
	Ask    string      `json:"ask"`
	Groups []int       `json:"groups,omitempty"`
	Leaves []int       `json:"leaves,omitempty"`
	Keys   [][2]string `json:"keys,omitempty"`
	Cursor *cursor     `json:"cursor,omitempty"`
	// Evicted: the asker takes what the answering node has evicted, marked so.
	Evicted bool `json:"evicted,omitempty"`
}

// cursor is a place in the order of all entries: by leaf, and in a leaf by key.
// It means the same on every node, so that another can go on where one stopped.
type cursor struct {
	Leaf int    `json:"leaf"`
	App  string `json:"app,omitempty"` // the last key sent of that leaf; none: "", ""
	ID   string `json:"id,omitempty"`
}

// syncReply is the body of an answer, but for entries.
type syncReply struct {
	// Sums are the group sums, or those of the leaves of each group asked for.
	Sums [][]sum `json:"sums,omitempty"`
	// Versions of the leaves asked for, as far as the reply's bound allows;
	// Done says of how many of these leaves.
	Versions []versionRow `json:"versions,omitempty"`
	Done     int          `json:"done,omitempty"`
}

// sum is written as hexadecimal text: JSON's numbers hold 53 bits in many tools.
type sum uint64

// MarshalText implements encoding.TextMarshaler.
func (s sum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(s)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *sum) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	*s = sum(n)
	return err
}

// versionRow is registry.Versions on the wire.
type versionRow struct {
	App  string        `json:"app"`
	ID   string        `json:"id"`
	RV   int64         `json:"rv"`
	Live bool          `json:"live"`
	RH   sum           `json:"rh"`
	OV   int64         `json:"ov,omitempty"`
	Set  bool          `json:"set,omitempty"`
	OS   eureka.Status `json:"os,omitempty"`
}

func rowOf(v registry.Versions) versionRow {
	return versionRow{v.Key.App, v.Key.ID, v.Record, v.Live, sum(v.Hash), v.Override, v.Set, v.OverrideStatus}
}

func (r *versionRow) versions() registry.Versions {
	return registry.Versions{
		Key: registry.NewKey(r.App, r.ID), Record: r.RV, Live: r.Live, Hash: uint64(r.RH),
		Override: r.OV, Set: r.Set, OverrideStatus: r.OS,
	}
}

func sums(in []uint64) []sum {
	out := make([]sum, len(in))
	for i, s := range in {
		out[i] = sum(s)
	}
	return out
}

var errAsk = errors.New("ask: unknown")

// serveSync answers one sync request within room bytes, unless a single entry
// takes more.
func (c *Cluster) serveSync(body []byte, room int) ([]byte, error) {
	var req syncRequest
	if err := c.opts.Codec.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if len(req.Keys) > maxSyncKeys || len(req.Leaves) > maxSyncLeaves || len(req.Groups) > registry.DigestGroups {
		return nil, fmt.Errorf("keys, leaves, groups: %d, %d, %d; at most %d, %d, %d",
			len(req.Keys), len(req.Leaves), len(req.Groups), maxSyncKeys, maxSyncLeaves, registry.DigestGroups)
	}
	switch req.Ask {
	case askSums:
		return c.opts.Codec.Marshal(c.syncSums(req.Groups))
	case askVersions:
		return c.opts.Codec.Marshal(c.syncVersions(req.Leaves, room))
	case askEntries, askUnknown, askAges:
		w := &pageWriter{cluster: c, room: room, ask: req.Ask, evicted: req.Evicted}
		for _, k := range req.Keys {
			if key := registry.NewKey(k[0], k[1]); !w.add(key) {
				return w.close(&cursor{App: key.App, ID: key.ID}), nil // from this one on
			}
		}
		return w.close(nil), nil
	case askPage:
		return c.syncPage(req.Cursor, req.Evicted, room), nil
	default:
		return nil, fmt.Errorf("%w: %.40q", errAsk, req.Ask)
	}
}

func (c *Cluster) syncSums(groups []int) syncReply {
	if len(groups) == 0 {
		return syncReply{Sums: [][]sum{sums(c.reg.GroupSums())}}
	}
	var out syncReply
	for _, g := range groups {
		out.Sums = append(out.Sums, sums(c.reg.LeafSums(g)))
	}
	return out
}

// aroundPage is what a message holds beside the entries of a page: headers, the
// list's own text, the cursor but for its names.
const aroundPage = 1024

// cursorRoom is what a cursor's names take at most, in bytes.
func cursorRoom(key registry.Key) int { return escaped * (len(key.App) + len(key.ID)) }

// escaped is how many bytes one byte of a text becomes at most in JSON.
const escaped = 6

// leftOutEvery is how far apart two lines about entries left out are at least.
const leftOutEvery = 10 * time.Second

// leftOut counts an entry that is too large for any message, and logs a sample.
func (c *Cluster) leftOut(key registry.Key, size int) {
	c.metrics.syncTooLarge.Inc()
	now, told := time.Since(c.since).Milliseconds()+1, c.leftOutTold.Load()
	if (told == 0 || now-told >= leftOutEvery.Milliseconds()) && c.leftOutTold.CompareAndSwap(told, now) {
		c.log.Warn("entry left out of a sync answer, it is larger than a message",
			"app", key.App, "instance", key.ID, "bytes", size, "bound", c.transport.MaxPayload())
	}
}

// rowRoom is what a version row takes at most, but for its names.
const rowRoom = 200

func (c *Cluster) syncVersions(leaves []int, room int) syncReply {
	var out syncReply
	for _, leaf := range leaves {
		size := 0
		versions := c.reg.LeafVersions(leaf)
		for _, v := range versions {
			size += rowRoom + 2*(len(v.Key.App)+len(v.Key.ID))
		}
		if room -= size; room < 0 && out.Done > 0 {
			return out
		}
		for _, v := range versions {
			out.Versions = append(out.Versions, rowOf(v))
		}
		out.Done++
	}
	return out
}

// syncPage returns entries from a cursor on, and where the next page begins.
func (c *Cluster) syncPage(from *cursor, evicted bool, room int) []byte {
	if from == nil {
		from = new(cursor)
	}
	w := &pageWriter{cluster: c, room: room, ask: askPage, evicted: evicted}
	after := *from
	for leaf := max(from.Leaf, 0); leaf < maxSyncLeaves; leaf++ {
		versions := c.reg.LeafVersions(leaf)
		slices.SortFunc(versions, func(a, b registry.Versions) int { return compareKeys(a.Key, b.Key) })
		for _, v := range versions {
			if leaf == from.Leaf && (from.App != "" || from.ID != "") &&
				compareKeys(v.Key, registry.Key{App: from.App, ID: from.ID}) <= 0 {
				continue
			}
			if !w.add(v.Key) {
				return w.close(&after)
			}
			after = cursor{Leaf: leaf, App: v.Key.App, ID: v.Key.ID}
		}
	}
	return w.close(nil)
}

func compareKeys(a, b registry.Key) int {
	if n := strings.Compare(a.App, b.App); n != 0 {
		return n
	}
	return strings.Compare(a.ID, b.ID)
}

// pageWriter puts entries into a reply, as a ReplicationList with the next
// cursor in front.
type pageWriter struct {
	cluster *Cluster
	room    int
	ask     string
	evicted bool // the asker takes evicted entries
	items   [][]byte
}

// add appends an entry; false: there is no room for it. The first one always
// finds room. One that no message can hold is left out: waiting for it would
// keep all others behind it from being synced.
func (w *pageWriter) add(key registry.Key) bool {
	body, ok := w.cluster.entryItem(key, w.ask, w.evicted)
	if !ok {
		return true
	}
	if len(body) > w.cluster.transport.MaxPayload()-aroundPage-cursorRoom(key) {
		w.cluster.leftOut(key, len(body))
		return true
	}
	if w.room -= len(body) + 1; w.room < 0 && len(w.items) > 0 {
		return false
	}
	w.items = append(w.items, body)
	return true
}

func (w *pageWriter) close(next *cursor) []byte {
	out := []byte(`{"next":`)
	if next == nil {
		out = append(out, "null"...)
	} else {
		text, err := json.Marshal(next)
		if err != nil {
			panic("cluster: cursor is not encodable: " + err.Error()) // plain data
		}
		out = append(out, text...)
	}
	if up := w.cluster.up(); (w.ask == askPage || w.ask == askAges) && up > 0 {
		out = strconv.AppendInt(append(out, `,"up":`...), up.Milliseconds(), 10)
	}
	list := eureka.JoinReplicationList(nil, w.items)
	return append(append(out, ','), list[1:]...)
}

// entryItem renders an entry for what was asked: a Register, or the Cancel of a
// tombstone; for askAges a Heartbeat. One that is evicted here goes, marked so, to
// an asker that takes that: else a node that has just started would list the dead,
// since it gives everybody a whole lease.
func (c *Cluster) entryItem(key registry.Key, ask string, takesEvicted bool) ([]byte, bool) {
	entry, evicted, ok := c.reg.Entry(key)
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

// page is a reply that holds entries.
type page struct {
	items eureka.ReplicationList
	next  *cursor // nil: there is no more
	up    time.Duration
}

// maxUp is as long as a peer is believed to have been up.
const maxUp = 10 * 365 * 24 * time.Hour

// up is for how long this node has heard of every change: since it was ready, or
// last stood still; 0: it is not so far yet.
func (c *Cluster) up() time.Duration {
	if c.state() != Ready {
		return 0
	}
	return c.reg.Up()
}

func decodePage(body []byte) (page, error) {
	var p page
	dec := json.NewDecoder(bytes.NewReader(body))
	for _, want := range []json.Token{json.Delim('{'), "next"} {
		if t, err := dec.Token(); err != nil || t != want {
			return p, fmt.Errorf("page: %v where %v is expected (%w)", t, want, errors.Join(err, errPage))
		}
	}
	if err := dec.Decode(&p.next); err != nil {
		return p, fmt.Errorf("page: next: %w", err)
	}
	if t, err := dec.Token(); err == nil && t == "up" { // left out where it is 0
		var ms int64
		if err := dec.Decode(&ms); err != nil {
			return p, fmt.Errorf("page: up: %w", err)
		}
		p.up = time.Duration(min(max(ms, 0), maxUp.Milliseconds())) * time.Millisecond
	}
	var err error
	p.items, err = eureka.DecodeReplicationList(body, eureka.ListOptions{NATS: true})
	return p, err
}

var errPage = errors.New("not a page of entries")
