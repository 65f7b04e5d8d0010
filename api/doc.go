// Package api is the HTTP side of a node: Eureka's REST under /eureka/ (Spring)
// and /eureka/v2/ (Netflix), health, readiness, metrics and a page for people.
//
//	client ──HTTP──▶ Server ──door──▶ Handler ──parsePath──▶ operation
//	                                                     │ writes: decode, Check, registry, answer at once
//	                                                     │ lists:  listCache ──▶ registry, at a new generation only
//	Java peer ──ReplicationList──▶ decode (strict) ──▶ Node.Apply
//	load balancer, page, tools ◀── Node (plugged in by node)
//
// The server listens before the node serves, and refuses writes until
// [Server.Open]: a request that has waited may be older than what its client has
// done at another node since.
//
// Answers are Eureka's, to the status code. What differs on purpose: a status
// that is no status is refused before anything is changed; a body says what it
// is labelled as; single instances in XML tell their true status; compressed
// requests are taken. Errors carry a short plain text, but that a 403, 404 and
// 503 under /eureka/ has no body: Netflix's client takes whatever comes with a
// 404 for an instance, and never registers again.
//
// A write never fails for its Accept header: only reads and batches answer 406.
package api
