package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/registry"
)

const (
	// drainAsk begins a question on the sync subject that is not for repair: how far a drain
	// is. A node that does not know it refuses it.
	drainAsk = `{"ask":"drained",`
	// drainTimeout bounds the answer.
	drainTimeout = 2 * time.Second
)

// drainQuestion is what a node asks.
type drainQuestion struct {
	Ask string `json:"ask"` // always drained, and first
	App string `json:"app"`
	ID  string `json:"id"`
}

// DrainPeers implements api.Node. It asks all peers at the same time.
func (s status) DrainPeers(ctx context.Context, key registry.Key) []api.DrainNode {
	body, err := json.Marshal(drainQuestion{Ask: "drained", App: key.App, ID: key.ID})
	if err != nil {
		return nil // it is two texts
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	peers := s.n.cluster.Peers()
	out := make([]api.DrainNode, len(peers))
	var asking sync.WaitGroup
	for i := range peers {
		out[i] = api.DrainNode{Node: peers[i].Name, Foreign: peers[i].Foreign, Clients: []api.DrainClient{}}
		if !peers[i].Foreign {
			asking.Go(func() { out[i] = s.n.askDrained(ctx, peers[i].Name, body) })
		}
	}
	asking.Wait()
	slices.SortFunc(out, func(a, b api.DrainNode) int { return strings.Compare(a.Node, b.Node) })
	return out
}

func (n *Node) askDrained(ctx context.Context, peer string, body []byte) api.DrainNode {
	out := api.DrainNode{Node: peer, Clients: []api.DrainClient{}}
	reply, err := n.link.Sync(ctx, peer, body)
	if err == nil {
		err = json.Unmarshal(reply, &out)
	}
	if errors.Is(err, broker.ErrMalformed) {
		err = errors.New("it runs a version that can't drain")
	}
	if err != nil {
		return api.DrainNode{Node: peer, Error: err.Error(), Clients: []api.DrainClient{}}
	}
	out.Node, out.Foreign = peer, false
	return out
}

// answerDrained answers a peer's question how far a drain is here. It reports whether the
// request is one.
func (n *Node) answerDrained(r *broker.Request) bool {
	if !bytes.HasPrefix(r.Body, []byte(drainAsk)) {
		return false
	}
	var q drainQuestion
	handler := n.handler.Load()
	if err := json.Unmarshal(r.Body, &q); err != nil || handler == nil {
		r.Fail(http.StatusServiceUnavailable, "not serving yet") //nolint:errcheck // it asks again
		return true
	}
	body, err := json.Marshal(handler.Drained(registry.NewKey(q.App, q.ID)))
	if err != nil {
		r.Fail(http.StatusInternalServerError, "not encoded") //nolint:errcheck // the same
		return true
	}
	r.Respond(body) //nolint:errcheck // the same
	return true
}
