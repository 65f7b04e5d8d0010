package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// The bounds of limit in GET /v1/history.
const (
	DefaultHistoryLimit = 100
	MaxHistoryLimit     = 1000
)

// History is the body of GET /v1/history: events of this node since its start, the newest
// first. Before, if it is not 0, asks for those before them.
type History struct {
	Node   string         `json:"node"`
	Events []HistoryEvent `json:"events"`
	Before uint64         `json:"before,omitempty"`
}

// HistoryEvent is one thing that happened to an instance, and the instance after it.
type HistoryEvent struct {
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"` // this node's clock
	Kind     string    `json:"kind"`
	App      string    `json:"app"`
	Instance string    `json:"instance"`
	// By is the way by which it came here: client, replication (a Java peer), batch, answer,
	// sync, snapshot, list (of a Java peer), node (this one did it). From is the address of
	// a client or a Java peer, or the name of a peer.
	By   string `json:"by"`
	From string `json:"from,omitempty"`
	// Login is who the client is, where the node has logins.
	Login string `json:"login,omitempty"`
	// Node is the node through which it came here, or that gave the answer.
	Node string `json:"node"`
	// Changed are the parts that are new: lease, record, override, cancel.
	Changed []string `json:"changed,omitempty"`
	// The versions of the record and of the override after it.
	Record   int64 `json:"rv,omitempty"`
	Override int64 `json:"ov,omitempty"`
	// Status is the one that readers see after it; none if they don't see the instance.
	Status     eureka.Status `json:"status,omitempty"`
	Overridden eureka.Status `json:"overriddenStatus,omitempty"`
	// Of a lease that is over: the time since the last renewal, and its length, in ms.
	Silent int64  `json:"silentMs,omitempty"`
	Lease  int64  `json:"leaseMs,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// newHistoryEvent spells an event of the node of this name.
func newHistoryEvent(node string, e *history.Event) HistoryEvent {
	out := HistoryEvent{
		Seq: e.Seq, Time: e.Time.UTC(), Kind: e.Kind.String(), App: e.Key.App, Instance: e.Key.ID,
		By: e.By.Way.String(), From: e.By.From, Login: e.By.Login, Node: node, Record: e.Record, Override: e.Override,
		Status: e.Status, Overridden: e.Overridden,
		Silent: e.Silent.Milliseconds(), Lease: e.Term.Milliseconds(), Detail: e.Detail,
	}
	switch e.By.Way {
	case registry.ByBatch, registry.ByAnswer, registry.BySync, registry.ByList:
		out.Node = e.By.From
	case registry.ByClient, registry.ByReplication, registry.BySnapshot, registry.ByNode:
	}
	for _, part := range []struct {
		bit  registry.Bits
		name string
	}{
		{registry.Renewed, "lease"},
		{registry.Registered, "record"},
		{registry.Overridden, "override"},
		{registry.Cancelled, "cancel"},
	} {
		if e.Changed&part.bit != 0 {
			out.Changed = append(out.Changed, part.name)
		}
	}
	return out
}

// history answers GET /v1/history?app=&instance=&kind=&before=&limit=.
func (h *Handler) history(w http.ResponseWriter, r *http.Request) int {
	if h.opts.History == nil {
		return empty(w, http.StatusNotFound)
	}
	q, err := parseHistoryQuery(r.URL.RawQuery)
	if err != nil {
		return text(w, http.StatusBadRequest, err.Error())
	}
	out := History{Node: h.opts.Node.Name(), Events: []HistoryEvent{}}
	events, more := h.opts.History.Query(q.filter, q.before, q.limit)
	for i := range events {
		out.Events = append(out.Events, newHistoryEvent(out.Node, &events[i]))
	}
	if more {
		out.Before = events[len(events)-1].Seq
	}
	body, err := json.Marshal(out)
	if err != nil {
		return h.notEncoded(w, "history", err)
	}
	return h.sendList(w, eureka.JSON.ContentType(), body)
}

type historyQuery struct {
	filter history.Filter
	before uint64
	limit  int
}

// parseHistoryQuery reads a query. kind may be given several times.
func parseHistoryQuery(query string) (historyQuery, error) {
	out := historyQuery{limit: DefaultHistoryLimit}
	given, err := parameters(query, "kind", "app", "instance", "kind", "before", "limit")
	if err != nil {
		return out, err
	}
	out.filter.App = eureka.Upper(single(given["app"]))
	out.filter.ID = single(given["instance"])
	for _, name := range given["kind"] {
		kind, ok := registry.ParseKind(name)
		if !ok {
			return out, fmt.Errorf("kind: %.40q is not one of %s", name, registry.KindNames())
		}
		out.filter.Kinds |= history.KindsOf(kind)
	}
	for _, value := range given["before"] {
		if out.before, err = strconv.ParseUint(value, 10, 64); err != nil {
			return out, fmt.Errorf("before: %.40q is not a sequence number", value)
		}
	}
	for _, value := range given["limit"] {
		out.limit, err = strconv.Atoi(value)
		if err != nil || out.limit < 1 || out.limit > MaxHistoryLimit {
			return out, fmt.Errorf("limit: %.40q is not in 1..%d", value, MaxHistoryLimit)
		}
	}
	if out.filter.ID != "" && out.filter.App == "" {
		return out, errors.New("instance: needs app")
	}
	return out, nil
}
