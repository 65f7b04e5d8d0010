// Package cluster replicates one node's changes to its peers, and keeps the
// membership.
//
//	registry ── Changed ─▶ fan-out ─┬▶ peer b: acceptorQueue ▶ processingOrder ▶ batchWorkQueue ─▶ Transport
//	                                └▶ peer c: …                                                      │
//	registry ◀── Join ── results, newer copies ◀──────────────────────────────────────────────────────┘
//
//	Transport ── presence ─▶ Run ─▶ membership.Members ─▶ events ─▶ pipelines, catch-ups, log
//	                                                    └▶ view  ─▶ MayRead, MayWrite, MayEvict, Peers
//
// [Cluster.Run] owns the members and is the only goroutine that changes them. It
// publishes a view after each step, which any goroutine reads without a lock. Run
// does no I/O: announcements, catch-ups and pipelines have goroutines of their
// own, which Run starts and waits for. When Run has not ticked for five seconds, the
// process was suspended, and the gates close by themselves.
//
// Package repair delivers what batches missed.
package cluster
