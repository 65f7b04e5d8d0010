package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/registryd/registryd/eureka"
)

// Versions is the body of GET /versions: for each entry, also tombstones and evicted
// ones, the versions that decide between the copies of two nodes. `registryd diff`
// compares those of all nodes.
type Versions struct {
	Node    string         `json:"node"`
	State   string         `json:"state"` // as in Overview
	Peers   []PeerAddress  `json:"peers"`
	Digest  string         `json:"digest"` // 16 hexadecimal digits
	Entries []EntryVersion `json:"entries"`
}

// PeerAddress is where a peer of a node is.
type PeerAddress struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// EntryVersion is one entry: the versions of its record and of its override.
type EntryVersion struct {
	App            string        `json:"app"`
	ID             string        `json:"id"`
	Record         int64         `json:"rv"`
	Live           bool          `json:"live"`
	Hash           string        `json:"rh"`
	Override       int64         `json:"ov,omitempty"`
	Set            bool          `json:"set,omitempty"`
	OverrideStatus eureka.Status `json:"os,omitempty"`

	// Status is what the client of a live instance registered, for people.
	Status eureka.Status `json:"status,omitempty"`
}

// versions answers `registryd diff`.
func (h *Handler) versions(w http.ResponseWriter) int {
	node := h.opts.Node.Overview()
	out := Versions{
		Node: node.Node, State: node.State, Digest: hex16(h.reg.Digest()),
		Peers: []PeerAddress{}, Entries: []EntryVersion{},
	}
	for _, p := range node.Peers {
		if p.Kind != KindEureka { // it has no versions
			out.Peers = append(out.Peers, PeerAddress{Name: p.Name, URL: p.URL})
		}
	}
	for v := range h.reg.AllVersions() {
		e := EntryVersion{
			App: v.Key.App, ID: v.Key.ID, Record: v.Record, Live: v.Live, Hash: hex16(v.Hash),
			Override: v.Override, Set: v.Set, OverrideStatus: v.OverrideStatus,
		}
		if entry, _, ok := h.reg.Entry(v.Key); ok && v.Live {
			e.Status = entry.Record.Base
		}
		out.Entries = append(out.Entries, e)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return h.notEncoded(w, "versions", err)
	}
	return h.sendList(w, eureka.JSON.ContentType(), body)
}

func hex16(n uint64) string { return fmt.Sprintf("%016x", n) }

// repair has the node compare itself with its peers now.
func (h *Handler) repair(w http.ResponseWriter) int {
	h.opts.Node.Repair()
	return text(w, http.StatusAccepted, "comparing with all peers")
}
