// Package bridge makes a Java Eureka server a peer of this node. The peer has a
// pipeline like any other, whose last step is Eureka's own:
//
//	cluster ── slot ──▶ Render: Java's items, in order ──▶ batch ──▶ Send
//	                                                                  │
//	            POST {url}peerreplication/batch/                      ▼
//	cluster ◀── Offer (404 → Register, 409 → theirs is adopted) ◀── a result per item
//
//	GET {url}apps ──▶ compare (each 30 s, and after an outage) ──▶ Offer    what Java lacks
//	                                                           └─▶ registry what we lack
//
// The other direction needs nothing of this package: the Java server lists this node
// as its peer, and posts to it.
//
// A Java server drops what it could not send for 30 s, and a batch that was answered
// with 400, 401 or 500. Nothing in it repairs that. So this package keeps what it
// could not send, and compares the two lists: docs/convergence.md, "Java peers".
package bridge
