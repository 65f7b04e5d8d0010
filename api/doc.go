// Package api is the HTTP side of a node: Eureka's REST under /eureka/ (Spring)
// and /eureka/v2/ (Netflix), health, readiness, metrics, and the way to a page for people.
//
//	client ──HTTP──▶ Server ──door──▶ Handler ──parsePath──▶ operation
//	                                                     │ writes: decode, Check, registry, answer at once
//	                                                     │ lists:  listCache ──▶ registry, at a new generation only;
//	                                                     │         a change encodes and compresses its own part anew
//	Java peer ──ReplicationList──▶ decode (strict) ──▶ Node.Apply
//	load balancer, page, tools ◀── Node (plugged in by node)
//
// The server listens before the node serves, and refuses writes until
// [Server.Open]: its client may have gone to another node while a request waited.
//
// Answers are Eureka's, to the status code. The deliberate differences are listed
// in docs/eureka-compatibility.md. Errors carry a short plain text, except that a
// 403, 404 or 503 under /eureka/ has no body: Netflix's client reads any body of a
// 404 as an instance, and never registers again.
//
// With logins (see access) each operation asks for a role, see the table of rights beside
// the routes. 401 and 403 have a text, but for heartbeats, of which that client reads the
// body whatever the code.
//
// A write never fails for its Accept header: only reads and batches answer 406.
package api
