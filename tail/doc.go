// Package tail shows replication as it happens: it pairs the batches that nodes
// send each other with their replies, and prints a line for every task.
//
//	Source ──Message──▶ Tailer ──request──▶ waiting, by reply subject
//	                       │                    │ reply · time-out · bound · end
//	                       │                    ▼
//	                       └──────reply──▶ one line per task ──▶ io.Writer
//
// It only listens. What it sees was written by others, so nothing that arrives
// can stop it: what it can't read is counted, and a sample of it is logged.
package tail
