package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Overview describes a node at a glance. It is the JSON of GET /status. Times are in
// seconds.
type Overview struct {
	Node    string         `json:"node"`
	Cluster string         `json:"cluster"`
	Version string         `json:"version"`
	URL     string         `json:"url"` // where clients reach it
	Started time.Time      `json:"started"`
	State   string         `json:"state"` // the body of /readyz
	Ready   bool           `json:"ready"`
	Broker  BrokerOverview `json:"broker"`
	Leases  LeasesOverview `json:"leases"`
	Peers   []PeerOverview `json:"peers"` // by name, never null

	Pipeline PipelineOverview `json:"pipeline"`

	// Instances is the number that readers see. Entries counts tombstones and evicted
	// instances too.
	Instances int `json:"instances"`
	Entries   int `json:"entries"`

	// Regions are the other regions that are shown here, in the order of the settings; left
	// out if there are none.
	Regions []RegionOverview `json:"regions,omitempty"`

	// Overdue are listed instances whose lease is over, the longest silent first, at
	// most 100.
	Overdue []OverdueInstance `json:"overdue"` // never null
}

// RegionOverview is what is held of another region.
type RegionOverview struct {
	Name      string  `json:"name"`
	URL       string  `json:"url"`
	Loaded    bool    `json:"loaded"`      // it was fetched at least once
	Age       float64 `json:"age_seconds"` // since the last success, or since the start
	Instances int     `json:"instances"`   // that readers may see
	Trouble   string  `json:"trouble,omitempty"`
}

// BrokerOverview is the connection to the broker.
type BrokerOverview struct {
	Connected bool    `json:"connected"`
	For       float64 `json:"for_seconds"`       // since Connected last changed
	Trouble   string  `json:"trouble,omitempty"` // why there is none
}

// OverdueInstance is an instance that has not renewed its lease in time.
type OverdueInstance struct {
	App    string  `json:"app"`
	ID     string  `json:"id"`
	Silent float64 `json:"silent_seconds"`
	Lease  int     `json:"lease_seconds"` // how long it may be silent
}

// LeasesOverview is the input and the state of self-preservation.
type LeasesOverview struct {
	Expected         int  `json:"expected"` // leases that are there, or were evicted in the last quarter of an hour
	Missing          int  `json:"missing"`  // of these: evicted, expired or silent
	SelfPreservation bool `json:"self_preservation"`

	// Since is when self-preservation began; left out while it is not on. Off reports that
	// it is switched off, Threshold is the share of the expected leases that ends it, and
	// Min is how many must be missing for it.
	Since     *time.Time `json:"since,omitempty"`
	Off       bool       `json:"off,omitempty"`
	Threshold float64    `json:"threshold"`
	Min       int        `json:"min"`
}

// PipelineOverview is what bounds the pipelines to all peers.
type PipelineOverview struct {
	Delay    float64 `json:"delay_seconds"` // how long a change waits for others
	Adaptive bool    `json:"adaptive"`      // not while nothing is in flight
	Batch    int     `json:"batch_tasks"`
	Queue    int     `json:"queue_actions"`     // of the acceptorQueue
	InFlight int     `json:"in_flight_batches"` // at a time, to a node
}

// Kinds of peers.
const (
	KindNode   = "node"   // of this cluster, over NATS
	KindEureka = "eureka" // a Java Eureka server, over HTTP
)

// PeerOverview is one peer and the pipeline to it. Counters count actions since
// the pipeline was started.
type PeerOverview struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"` // KindNode or KindEureka
	URL       string  `json:"url"`
	Version   string  `json:"version"`
	Status    string  `json:"status"` // reachable, unreachable or left
	Silent    float64 `json:"silent_seconds"`
	Skew      float64 `json:"skew_seconds"` // how far its clock is behind
	Divergent int64   `json:"divergent"`    // instances that stay different

	// The lengths of the three queues, and what else waits or is on its way.
	AcceptorQueue   int `json:"acceptor_queue"`
	ProcessingOrder int `json:"processing_order"`
	BatchWorkQueue  int `json:"batch_work_queue"` // batches
	Retrying        int `json:"retrying"`
	InFlight        int `json:"in_flight"`
	Batches         int `json:"batches_in_flight"`

	Oldest float64 `json:"oldest_seconds"` // age of the oldest slot that waits
	Lag    float64 `json:"lag_seconds"`    // of the oldest action that the peer has not acknowledged

	Accepted     uint64            `json:"accepted"`
	Acknowledged uint64            `json:"acknowledged"`
	Merged       uint64            `json:"merged"`
	Retried      uint64            `json:"retried"`
	Dropped      map[string]uint64 `json:"dropped"` // by reason

	SentBatches   uint64            `json:"sent_batches"`
	SentTasks     uint64            `json:"sent_tasks"`
	SentBytes     uint64            `json:"sent_bytes"`
	Failed        map[string]uint64 `json:"failed"`  // batches, by why
	Answers       map[string]uint64 `json:"answers"` // of tasks, by status code or "other"
	RoundTripLast float64           `json:"round_trip_last_seconds"`
	RoundTripMean float64           `json:"round_trip_mean_seconds"`

	// Waiting is why no batch is sent, "" if nothing holds batches back. WaitLeft is
	// for how much longer.
	Waiting  string  `json:"waiting"`
	WaitLeft float64 `json:"waiting_seconds"`
}

// Available reports whether replication reaches the peer.
func (p *PeerOverview) Available() bool { return p.Status == "reachable" && p.Waiting == "" }

// Pending returns the actions that wait for a batch.
func (p *PeerOverview) Pending() int { return p.AcceptorQueue + p.ProcessingOrder + p.Retrying }

// maxOverdue bounds Overview.Overdue.
const maxOverdue = 100

// overview answers with the node at a glance. Eureka's own status resource is
// another one.
func (h *Handler) overview(w http.ResponseWriter) int {
	o := h.opts.Node.Overview()
	if o.Peers == nil {
		o.Peers = []PeerOverview{}
	}
	o.Overdue = h.overdueInstances()
	body, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return h.notEncoded(w, "overview", err) // a number that is none
	}
	w.Header().Set("Cache-Control", "no-store")
	return document(w, http.StatusOK, eureka.JSON.ContentType(), append(body, '\n'))
}

// overdueInstances returns the value of Overview.Overdue.
func (h *Handler) overdueInstances() []OverdueInstance {
	overdue, _ := h.reg.Overdue(maxOverdue)
	out := make([]OverdueInstance, len(overdue))
	for n, o := range overdue {
		out[n] = OverdueInstance{
			App: o.Key.App, ID: o.Key.ID, Silent: o.Silent.Seconds(),
			Lease: int((o.Silent + o.Left).Round(time.Second).Seconds()),
		}
	}
	return out
}
