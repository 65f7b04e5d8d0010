package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
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

// versions answers `registryd diff`. The entries are sent as they are read, so that an
// answer takes no more memory here than is sent at once.
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
	text, err := json.Marshal(out)
	if err != nil {
		return h.notEncoded(w, "versions", err)
	}
	head, tail, ok := bytes.Cut(text, []byte(noEntries))
	if !ok {
		return h.notEncoded(w, "versions", errors.New("no place for the entries"))
	}
	if !h.sending.take(sendBuffer) {
		return h.refuseSending(w)
	}
	defer h.sending.give(sendBuffer)
	w.Header().Set("Content-Type", eureka.JSON.ContentType())
	w.WriteHeader(http.StatusOK)
	to := h.bufferedWriter(w)
	defer h.giveWriter(to)
	to.Write(head)                               //nolint:errcheck // the first error is that of the last write
	to.WriteString(noEntries[:len(noEntries)-1]) //nolint:errcheck // the same
	if h.writeEntries(to) == nil {
		to.WriteByte(']') //nolint:errcheck // the same
		to.Write(tail)    //nolint:errcheck // the same
		to.Flush()        //nolint:errcheck // the client is gone: there is nobody to tell
	}
	return http.StatusOK
}

// noEntries is how a body of GET /versions has its entries where there are none.
const noEntries = `"entries":[]`

func (h *Handler) writeEntries(to *bufio.Writer) error {
	first := true
	for v := range h.reg.AllVersions() {
		e := EntryVersion{
			App: v.Key.App, ID: v.Key.ID, Record: v.Record, Live: v.Live, Hash: hex16(v.Hash),
			Override: v.Override, Set: v.Set, OverrideStatus: v.OverrideStatus,
		}
		if entry, _, ok := h.reg.Entry(v.Key); ok && v.Live {
			e.Status = entry.Record.Base
		}
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if !first {
			to.WriteByte(',') //nolint:errcheck // the next write has the same error
		}
		first = false
		if _, err := to.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func hex16(n uint64) string { return fmt.Sprintf("%016x", n) }

// repair has the node compare itself with its peers now.
func (h *Handler) repair(w http.ResponseWriter) int {
	h.opts.Node.Repair()
	return text(w, http.StatusAccepted, "comparing with all peers")
}
