// Package client talks to Eureka servers: [Client] makes single calls, [Lease]
// keeps one instance registered for as long as it lives.
//
//	Lease ──register · heartbeat · cancel──▶ Client ──HTTP, JSON──▶ first server
//	                                           │  no connection, time-out, 5xx
//	                                           └───────────────────▶ next server
//
// It speaks Eureka's REST protocol in full JSON and behaves like Netflix's
// client where a server can notice: when it registers, what it sends, and when
// it turns to the next server.
package client
