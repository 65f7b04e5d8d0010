package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// State is what a node says of itself.
type State string

// The states of a node, as presence and /readyz tell them.
const (
	Syncing State = "syncing" // it has started and may know less than its peers
	Ready   State = "ready"
	Leaving State = "leaving" // it is shutting down: an orderly goodbye
)

// presence is what a node publishes once a second, and when it is asked.
type presence struct {
	Node        string    `json:"node"`
	Incarnation uuid.UUID `json:"incarnation"` // UUIDv7, new at every start
	URL         string    `json:"url"`         // where its clients reach it
	Version     string    `json:"version"`     // of the program
	Time        int64     `json:"time"`        // the sender's clock, ms since 1970
	Digest      sum       `json:"digest"`      // the root of the sender's digest
	State       State     `json:"state"`
}

// maxPresence bounds the bytes of a presence message.
const maxPresence = 4096

var errNoIncarnation = errors.New("incarnation: missing")

func (c *Cluster) decodePresence(body []byte) (presence, error) {
	var p presence
	if len(body) > maxPresence {
		return p, fmt.Errorf("%d bytes, at most %d", len(body), maxPresence)
	}
	if err := c.opts.Codec.Unmarshal(body, &p); err != nil {
		return p, err
	}
	if p.Incarnation == uuid.Nil {
		return p, errNoIncarnation
	}
	return p, nil
}

// announcement returns this node's presence.
func (c *Cluster) announcement(state State) []byte {
	body, err := c.opts.Codec.Marshal(presence{
		Node: c.opts.Node, Incarnation: c.incarnation, URL: c.opts.URL, Version: c.opts.Version,
		Time: time.Now().UnixMilli(), Digest: sum(c.reg.Digest()), State: state,
	})
	if err != nil {
		panic("cluster: presence is not encodable: " + err.Error()) // plain data
	}
	return body
}
