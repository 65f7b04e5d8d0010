// Package tail shows replication as it happens: it pairs the batches that nodes
// send each other with their replies, and prints a line for every task.
//
//	Source ──Message──▶ Tailer ──request──▶ waiting, by reply subject
//	                       │                    │ reply · time-out · bound · end
//	                       │                    ▼
//	                       └──────reply──▶ one line per task ──▶ io.Writer
//
// It only listens. No message that arrives can stop it: unreadable ones are counted,
// and a sample of them is logged.
package tail
