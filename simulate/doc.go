// Package simulate runs whole clusters against faults, in fake time. It has no
// code of its own but its tests: the real registry, cluster, consumer and
// pipelines of three or four nodes, over an in-memory bus.
//
//	seed ──▶ plan (weather, partitions, crashes, suspensions, operators)
//	          │
//	clients ──▶ proc: registry ◀──▶ cluster, consumer ◀──bus──▶ the other procs
//	          │
//	          ▼
//	        check: nodes equal, what lives is listed, what ended is not
//
// Five minutes of faults are followed by four of quiet; then the promises of
// docs/convergence.md must hold. Some seeds have more: outages of over eight
// minutes, leases from 1 s to 1 h, brokers that are absent at the start or go away,
// nodes that are deaf or mute, suspended machines, lost pages, small messages,
// versions from the far future, restarts in order. Leases, digests and lists are
// watched in the quiet too, and the first list and each 404 of a node that starts.
//
//	make simulate SEEDS=100000          many seeds, and how many a second
//	make simulate SEED=42               one seed, with all that happened
//	make simulate RULE='no tombstones'  some seeds with that rule broken, SEED=3 one of them
//
// To see that the checks notice, each rule of docs/convergence.md can be broken by
// name, in the clusters that bring it out: some from outside, in what crosses
// the bus or in what a node is wired to, the others in the registry's code, for
// which these tests are built once more. An unknown name, as RULE=list, lists all.
//
// What is excused is counted by its reason, and printed: the kinds of faults that
// docs/convergence.md says no such registry can help.
//
// A seed decides all that happens to a message by the link and the time, whom a
// node asks first, what it evicts first, and how long a pipeline waits. Every message
// and every event has an instant of its own, to the nanosecond: their order, and what
// a node knows when one of them comes, are the same in each run. What has no order is
// what the goroutines of one node do at one instant: which of two batches that failed
// is sent first, how the items that are handed over after a comparison are shared out
// among batches, in which order a node names instances, and how often it announces
// itself when it resumes.
//
// Entries cross the bus in their real form; presence and digests don't, since
// their JSON took half of the time.
package simulate
