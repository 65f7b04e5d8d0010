package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// overviewPath is where a node tells how it is. It is beside Eureka's REST, whose
// own status resource stays as Eureka has it.
const overviewPath = "/status"

// Overview is a node at a glance: the JSON of GET /status. Times are in seconds.
type Overview struct {
	Node    string         `json:"node"`
	Cluster string         `json:"cluster"`
	Version string         `json:"version"`
	URL     string         `json:"url"` // where clients reach it
	Started time.Time      `json:"started"`
	State   string         `json:"state"` // the body of /readyz
	Ready   bool           `json:"ready"`
	Leases  LeasesOverview `json:"leases"`
	Peers   []PeerOverview `json:"peers"` // by name, never null

	// Instances are what readers see; Entries are all that is known, with
	// tombstones and evicted ones.
	Instances int `json:"instances"`
	Entries   int `json:"entries"`
}

// LeasesOverview is what self-preservation goes by.
type LeasesOverview struct {
	Expected         int  `json:"expected"` // leases that are there, or were evicted in the last quarter of an hour
	Missing          int  `json:"missing"`  // of these: evicted, expired or silent
	SelfPreservation bool `json:"self_preservation"`
}

// PeerOverview is one peer and the pipeline to it. Counters count actions since
// the pipeline was started.
type PeerOverview struct {
	Name      string  `json:"name"`
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
	Failed        map[string]uint64 `json:"failed"` // batches, by why
	RoundTripLast float64           `json:"round_trip_last_seconds"`
	RoundTripMean float64           `json:"round_trip_mean_seconds"`

	// Waiting says why no batch is sent, "" if nothing holds them back, and
	// WaitLeft for how long.
	Waiting  string  `json:"waiting"`
	WaitLeft float64 `json:"waiting_seconds"`
}

// WithOverview returns a handler that answers GET /status with what get returns,
// and everything else with next. get is called from many goroutines.
func WithOverview(next http.Handler, get func() Overview) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != overviewPath {
			next.ServeHTTP(w, r)
			return
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			w.Header().Set("Allow", "GET,HEAD,OPTIONS")
			empty(w, http.StatusOK)
			return
		default:
			w.Header().Set("Allow", "GET,HEAD,OPTIONS")
			text(w, http.StatusMethodNotAllowed, "method not allowed")
			return
		}
		o := get()
		if o.Peers == nil {
			o.Peers = []PeerOverview{}
		}
		body, err := json.MarshalIndent(o, "", "  ")
		if err != nil {
			text(w, http.StatusInternalServerError, "status not written") // A number that is none.
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		document(w, http.StatusOK, "application/json", append(body, '\n'))
	})
}
