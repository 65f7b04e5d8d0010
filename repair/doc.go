// Package repair keeps the registries of a cluster's nodes equal where batches
// could not: it pulls what the peers know when a node starts or resumes after
// a suspension, and compares two registries by their digests while they run.
//
//	this node                                          a peer
//	CatchUp  ── {"ask":"page"} ──────────────────────▶ Handle ─▶ Serve
//	Peer.Run ── {"ask":"sums"|"versions"|"entries"} ─▶    │
//	AskAges  ── {"ask":"ages"} ──────────────────────▶    ▼
//	   ▲                                               registry
//	   └──── entries, joined into the registry ◀──────────┘
//
// Both ends of the sync protocol are here. Requests are small JSON objects.
// Entries travel as the items of a ReplicationList, as they do in batches, and
// each answer is cut by bytes. Entries of which this node has a later version
// than a peer do not travel here: they go into that peer's pipeline.
//
// The caller provides the transport, decides which peers there are, and owns the
// goroutines in which Serve, CatchUp and Peer.Run run.
package repair
