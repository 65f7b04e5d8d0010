// Package simulate runs whole clusters against faults, in fake time. It has no
// code of its own but its tests: the real registry, cluster, consumer and
// pipelines of three or four nodes, over an in-memory bus.
//
//	seed ──▶ plan (weather, partitions, crashes, standstills, operators)
//	          │
//	clients ──▶ proc: registry ◀──▶ cluster, consumer ◀──bus──▶ the other procs
//	          │
//	          ▼
//	        check: nodes equal, what lives is listed, what ended is not
//
// Five minutes of faults are followed by four of quiet; then the promises of
// CONVERGENCE.md must hold. Each of its rules can be broken by name, to see that
// the checks notice.
//
//	make simulate SEEDS=100000    many seeds, and how many a second
//	make simulate SEED=42         one seed, with all that happened
//
// A seed decides all that happens to a message by the link and the time, so it
// replays; but who is asked first for a sync, and the jitter of a pipeline's
// waits, are not its own: about one run in twenty differs somewhere.
package simulate
