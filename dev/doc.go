// Package dev runs a whole cluster in one process, for trying out and for
// demonstrations: nodes on neighbouring ports, one embedded broker, and demo
// instances that register and heartbeat over HTTP as real clients do.
//
//	demo instances ──HTTP──▶ node-1, node-2, node-3 ──▶ one embedded broker
package dev
