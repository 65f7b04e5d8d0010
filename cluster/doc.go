// Package cluster knows the peers and keeps them current.
//
//	registry ──Changed──▶ fan-out: isReplication? return
//	                        │ else for each peer but the node itself
//	                        ▼
//	           one pipeline per peer: acceptor ──▶ batcher ──▶ Transport.Request
//	                        ▲                                     │
//	                        │ 404: register it there       ReplicationListResponse
//	                        └──────────── results ◀───────────────┘
//	                                        │ 409 with a newer copy
//	                                        ▼
//	                                     registry.Join
//
//	Transport ──presence──▶ members: who is there, since when, how far away
//
// Peers come from presence; nothing is configured. A peer's pipeline is started
// when the peer is first heard and starts with every entry, so that a late
// joiner becomes whole; it is closed when the peer has been silent for five
// minutes.
package cluster
