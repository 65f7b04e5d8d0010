// Package batcher is stage 3 of the replication pipeline to one peer: the
// batchWorkQueue, the workers that send what is in it, and the traffic shaper
// that holds batches back while the peer can't take them.
//
//	acceptor.Take ◀── dispatcher        asks when a worker is idle and no wait is in force
//	      │ batch         │
//	      └──────────────▶▼
//	3 batchWorkQueue      at most as many batches as there are idle workers
//	                      │
//	                      ▼
//	               workers ── Send ──▶  the peer, by whatever carries it
//	                      │   ◀── an outcome per task, or an error
//	                      ▼
//	acceptor.Settle       done, retry, drop; failures go to the traffic shaper
//
// A batch that failed as a whole is retried as a whole, whatever the error:
// an error is a reason to wait, never to discard. (Eureka drops a batch that
// was answered with 400, 401 or 500.) The one exception is a task that the peer
// can't read: the batch is halved until the task is alone, and that one is
// dropped as malformed.
//
// [Batcher.Run] runs the acceptor too: the two are one pipeline with one owner.
//
//	acc, err := acceptor.New(…)
//	b, err := batcher.New(acc, …)
//	go b.Run(ctx)        // ends with ctx, after a bounded drain
//	acc.Offer(key, slot) // at any time, from anywhere
//	b.Wake()             // the peer was heard again
//	b.Close(acceptor.PeerGone)
package batcher
