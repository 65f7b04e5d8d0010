// Package node is one whole registryd node: it wires the parts, starts them in
// order and stops them in reverse. The command, the dev cluster and the tests
// of other Go programs embed it.
//
//	client ──HTTP──▶ api ──▶ registry ──Changed──▶ cluster ──▶ acceptor ──▶ batcher
//	                            ▲                                              │
//	                            │ Join                                         ▼
//	                         consumer ◀──────────── broker ◀──── Request ── broker
//
// Nothing else in the project sees all parts. A part declares what it needs from
// another as an interface or as functions, and this package connects them.
package node
