package repair

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// What a sync request asks for.
const (
	askSums     = "sums"     // the digest's group sums; with Groups the leaf sums of these
	askVersions = "versions" // the versions of all entries in Leaves, from Cursor on
	askEntries  = "entries"  // the entries of Keys
	askUnknown  = "unknown"  // the entries of Keys, which the asker does not know
	askAges     = "ages"     // the leases of Keys, as Heartbeat items
	askPage     = "page"     // all entries, or those in Leaves, from Cursor on
	askLeases   = "leases"   // the sums of all leaves and the ages in them, from Cursor's leaf on
)

// Bounds of a sync request.
const (
	maxKeys   = 5_000
	maxLeaves = registry.DigestGroups * registry.DigestLeaves
)

// request is the body of a request on a peer's sync subject.
type request struct {
	Ask    string      `json:"ask"`
	Groups []int       `json:"groups,omitempty"`
	Leaves []int       `json:"leaves,omitempty"`
	Keys   [][2]string `json:"keys,omitempty"`
	Cursor *cursor     `json:"cursor,omitempty"`
	// Evicted: the asker takes entries that the answering node has evicted, marked
	// as such.
	Evicted bool `json:"evicted,omitempty"`
}

// cursor is a place in the order of all entries: by leaf, and within a leaf by
// key. It means the same on every node, so another node can continue where one
// stopped.
type cursor struct {
	Leaf int    `json:"leaf"`
	App  string `json:"app,omitempty"` // the last key sent of that leaf; none: "", ""
	ID   string `json:"id,omitempty"`
}

func (c *cursor) key() registry.Key { return registry.Key{App: c.App, ID: c.ID} }

// passed reports whether the key, of the cursor's leaf, was sent before.
func (c *cursor) passed(key registry.Key) bool { return compareKeys(key, c.key()) <= 0 }

// behind reports whether c is a place behind o in the order of all entries. A nil o
// is the beginning.
func (c *cursor) behind(o *cursor) bool {
	o = cmp.Or(o, new(cursor))
	return c.Leaf < maxLeaves && cmp.Or(cmp.Compare(c.Leaf, o.Leaf), compareKeys(c.key(), o.key())) > 0
}

// reply is the body of an answer that holds no entries.
type reply struct {
	// Sums are the group sums, or those of the leaves of each group asked for.
	Sums [][]sum `json:"sums,omitempty"`
	// Versions are those of the leaves asked for, in the order of the request
	// and within a leaf by key, as far as the answer's bound allows. Next is
	// where the rest begins; nil: there is no rest.
	Versions []versionRow `json:"versions,omitempty"`
	// Leases are those of the leaves that hold something, in ascending order. Next is as
	// for Versions; Up and Whole as in a page.
	Leases []leafLeases `json:"leases,omitempty"`
	Next   *cursor      `json:"next,omitempty"`
	Up     int64        `json:"up,omitempty"` // ms
	Whole  bool         `json:"whole,omitempty"`
}

// leafLeases is the ages of the leases in a leaf, in ms, by key. Who holds the same
// entries, which Sum tells, knows whose they are. Without ages the entries have more to
// tell than these.
type leafLeases struct {
	Leaf int     `json:"leaf"`
	Sum  sum     `json:"sum"`
	Ages []int64 `json:"ages,omitempty"`
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

// page is an answer with entries: a ReplicationList with three more members.
type page struct {
	items eureka.ReplicationList
	next  *cursor       // where the rest begins; nil: there is no rest
	up    time.Duration // how long the answering node has known every change
	whole bool          // of the last page: all that the node knows was on the pages
}

// maxUp bounds a peer's claimed up time.
const maxUp = 10 * 365 * 24 * time.Hour

var errPage = errors.New("not a page of entries")

// encodePage writes a page of rendered items.
func encodePage(items [][]byte, next *cursor, up time.Duration, whole bool) []byte {
	out := []byte(`{`)
	if next != nil {
		text, err := json.Marshal(next)
		if err != nil {
			panic("repair: cursor is not encodable: " + err.Error()) // plain data
		}
		out = append(append(append(out, `"next":`...), text...), ',')
	}
	if up > 0 {
		out = append(strconv.AppendInt(append(out, `"up":`...), up.Milliseconds(), 10), ',')
	}
	if whole {
		out = append(out, `"whole":true,`...)
	}
	return append(out, eureka.JoinReplicationList(nil, items)[1:]...)
}

// decodePage reads a page. Its members may come in any order.
func decodePage(body []byte) (page, error) {
	var p page
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != jsontext.KindBeginObject {
		return p, errors.Join(errPage, err)
	}
	for dec.PeekKind() == jsontext.KindString {
		token, err := dec.ReadToken()
		if err != nil {
			return p, errors.Join(errPage, err)
		}
		name := token.String() // the token is void after the next read
		switch name {
		case "next":
			err = decodeMember(dec, &p.next)
		case "up":
			var ms int64
			err = decodeMember(dec, &ms)
			p.up = millis(ms)
		case "whole":
			err = decodeMember(dec, &p.whole)
		default:
			err = dec.SkipValue()
		}
		if err != nil {
			return p, fmt.Errorf("page: %.40s: %w", name, err)
		}
	}
	var err error
	p.items, err = eureka.DecodeReplicationList(body, eureka.ListOptions{NATS: true})
	return p, err
}

// millis returns a time that a peer claims in ms, within bounds.
func millis(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), maxUp.Milliseconds())) * time.Millisecond
}

func decodeMember(dec *jsontext.Decoder, into any) error {
	text, err := dec.ReadValue()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
