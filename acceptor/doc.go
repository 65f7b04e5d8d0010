// Package acceptor holds stages 1 and 2 of the replication pipeline to one
// peer: the acceptorQueue, which takes every action and never makes its caller
// wait, and the processingOrder, which holds one slot per instance until a
// batch is cut.
//
//	Offer(key, slot)     any goroutine
//	   │
//	   ▼
//	1 acceptorQueue      a ring; full: a map key → slot beside it
//	   │ drained by Run, after what Settle gave back
//	   ▼
//	2 processingOrder    one slot per key, ordered by its first unsent action
//	   │ head ≥ Delay old: rendered, at most n slots and so many bytes
//	   ▼
//	Take(ctx, n, bytes)  one batch ──▶ stage 3, package batcher
//	   ▲
//	   └── Settle(batch, outcomes): done, retry, drop
//
// The package knows nothing of instances: the caller says what a slot is, how
// two slots merge and how a slot becomes a task. A slot holds no data. Its task
// is made when the batch is cut, so what is sent is the newest there is, and a
// retry can't undo anything newer.
//
// The age of a slot counts from its first unsent action. In Eureka
// (AcceptorExecutor.appendTaskHolder, 1.10 and 2.0) a newer task takes the
// place of the pending one together with its age, so that a client that renews
// faster than the batching delay holds back the whole queue
// (Netflix/eureka#1509). And Eureka's task ids are per action and instance, so
// that actions on one instance overtake each other; here a key has one slot.
//
// Nothing leaves uncounted. At any moment, in actions:
//
//	offered = acknowledged + merged + dropped by reason + pending + in flight
package acceptor
