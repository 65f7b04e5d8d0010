// Package registry holds the instances: for each the record that its client
// registered, the override of its status, and its lease. It decides by Eureka's
// rules what a client's action does, merges what peers know by CONVERGENCE.md's
// join, and evicts what has expired. It knows no network.
//
//	api ──Register, Renew, Cancel, SetStatus, …──▶ Registry ──Change──▶ Sink (cluster: to every peer)
//	consumer ──Join (from NATS), or the same calls with isReplication──▶ Registry
//	api ◀──Instance, Application, Applications, Delta── Registry
//	cluster ◀──Entry, All── Registry
//
// All methods may be called from any goroutine. One lock guards the entries and
// is held for map work only; a heartbeat takes it shared and allocates nothing.
// What readers get is never changed afterwards.
package registry
