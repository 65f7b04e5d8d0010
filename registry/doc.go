// Package registry holds the instances: for each the record that its client
// registered, the override of its status, and its lease. It decides by Eureka's
// rules what a client's action does, merges what peers know by the join of
// docs/convergence.md, and evicts what has expired. It knows no network.
//
//	api ──Register, Renew, Cancel, SetStatus, …──▶ Registry ──Change──▶ Sink (cluster: to every peer)
//	                                                      └──Event, in order──▶ Recorder (history)
//	consumer ──Join (from NATS), or the same calls with isReplication──▶ Registry
//	api ◀──Instance, Application, Applications, Delta── Registry
//	cluster ◀──Entry, All── Registry
//	node ──Run──▶ Evictor ──Asker──▶ cluster
//
// All methods may be called from any goroutine. One lock guards the entries. A
// heartbeat takes it shared, for under a microsecond, and allocates nothing. A change
// holds it for some microseconds. What it stores is hashed before (draft.go), once more
// under the lock only where another change came between, or a rule changes the base of a
// registration; the digest hashes when it is read.
// A scan of 10,000 instances takes it shared for some milliseconds. No I/O, no log
// line and no call of a [Sink] happens under it. What readers get is never changed
// afterwards.
//
// The files: state.go (record, override, entry), update.go (what clients do), draft.go, join.go
// (what peers know), lease.go, evict.go, evictor.go and retire.go (how an instance
// ends), event.go (what is told of it), read.go and vips.go, delta.go, digest.go, hash.go and wire.go (how entries
// travel), bounds.go.
package registry
