// Package regions holds the instances of other regions, as Eureka's remote regions do
// (RemoteRegionRegistry). Each region is fetched from one server there, and answers to
// readers here show its instances beside the local ones:
//
//	server of the region ──apps, apps/delta──▶ fetcher, a goroutine per region
//	                                              │ a snapshot, never changed afterwards
//	                                              ▼
//	api ◀── Applications, Delta, VIP, … ── Set ◀── registry (local instances go first)
//
// These instances are read only. They are not in the registry: nothing replicates them,
// evicts them, counts their leases or writes them into a snapshot. The last data stay when
// a region can't be reached.
//
// The files: options.go, set.go (which regions an answer shows), region.go (what is held
// of one), fetcher.go, answers.go (lists of both), metrics.go.
package regions
