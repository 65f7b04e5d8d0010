package api

import (
	"encoding/json"
	"strconv"
	"sync"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// changeKinds are the events after which readers may see another instance, or none.
var changeKinds = history.KindsOf(
	registry.EventRegistered, registry.EventKept, registry.EventMetadata, registry.EventOverrideSet,
	registry.EventOverrideRemoved, registry.EventCancelled, registry.EventEvicted, registry.EventJoined,
)

const (
	// changeSlots is how many encoded changes are kept, and maxChangeBytes their bytes.
	// Older ones are encoded again for who comes late.
	changeSlots    = 4096
	maxChangeBytes = 16 << 20
)

// changes keeps changes as they were encoded, so that each is encoded once for all who
// watch.
type changes struct {
	reg     *registry.Registry
	history *history.History
	node    func() string
	prefix  string // of ids

	mu    sync.Mutex // held while a change is encoded: all who want it wait for that
	slots []change   // by sequence number; made with the first one
	bytes int
}

type change struct {
	seq   uint64
	frame []byte // nil: a later event of the instance tells more
	body  int    // where the JSON begins in frame
}

// get returns an event as a server-sent event. It shows the instance as it is when that is
// made, at once or later. ok is false if a later event of the instance tells that: then
// there is nothing to send, and no reader sees an older state after a newer one.
func (c *changes) get(e *history.Event) (made change, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots == nil {
		c.slots = make([]change, changeSlots)
	}
	slot := &c.slots[e.Seq%changeSlots]
	if slot.seq == e.Seq {
		return *slot, slot.frame != nil
	}
	made = change{seq: e.Seq}
	latest, _ := c.history.Query(history.Filter{App: e.Key.App, ID: e.Key.ID, Kinds: changeKinds}, 0, 1)
	if len(latest) == 0 || latest[0].Seq <= e.Seq {
		made.frame, made.body = c.encode(e)
	}
	if c.bytes += len(made.frame) - len(slot.frame); c.bytes > maxChangeBytes {
		clear(c.slots)
		c.bytes = len(made.frame)
	}
	*slot = made
	return made, made.frame != nil
}

// Change returns an event as JSON, with the instance as it is now, as watchers get it. Unlike
// them it leaves no event out.
func (h *Handler) Change(e *history.Event) []byte {
	made, ok := h.changes.get(e)
	if !ok {
		made.frame, made.body = h.changes.encode(e)
	}
	return made.json()
}

// encode makes the frame of an event:
//
//	id: 7QX3F2AB.17
//	event: change
//	data: {"seq":17,"kind":"registered",…,"value":{…}}
//
// where value is the instance as lists have it, and missing if readers don't see it.
func (c *changes) encode(e *history.Event) (frame []byte, body int) {
	head, err := json.Marshal(newHistoryEvent(c.node(), e))
	if err != nil {
		head = []byte("{}") // a struct of texts and numbers: it never is
	}
	frame = append(c.appendID(make([]byte, 0, 2048), e.Seq), "event: change\ndata: "...)
	body = len(frame)
	frame = append(frame, head[:len(head)-1]...)
	if i, ok := c.reg.Listed(e.Key); ok {
		frame = append(frame, `,"value":`...)
		frame = eureka.Form{Format: eureka.JSON}.AppendInstance(frame, i)
	}
	return append(frame, "}\n\n"...), body
}

// appendID appends the line with an event's id.
func (c *changes) appendID(b []byte, seq uint64) []byte {
	b = append(append(b, "id: "...), c.prefix...)
	return append(strconv.AppendUint(append(b, '.'), seq, 10), '\n')
}

// json returns the JSON alone.
func (c *change) json() []byte { return c.frame[c.body : len(c.frame)-2] }
