// Package node is one whole registryd node: it wires the parts, starts them in
// order and stops them in the other. The command, the dev cluster and the tests
// of other Go programs embed it.
//
//	client ──HTTP──▶ api ──▶ registry ──Changed──▶ cluster ──▶ acceptor ──▶ batcher
//	                            ▲                                              │
//	                            │ Join                                         ▼
//	                         consumer ◀──────────── broker ◀──── Request ── broker
//
// Nothing else in the project sees all parts; what a part needs of another it
// declares as an interface or plain functions, and this package plugs them.
package node
