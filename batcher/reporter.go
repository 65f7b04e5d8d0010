package batcher

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// logInterval is how far apart two warnings of one pipeline are at least.
const logInterval = 10 * time.Second

// reporter writes the log of one pipeline: a line when it begins to fail, one
// every logInterval while it does, and one when it has recovered. The same lines
// report dropped tasks. Single batches are at debug level.
//
// A line is made under mu and written without it: a log that blocks must not
// block the other workers, nor those who offer.
type reporter struct {
	logger *slog.Logger

	mu       sync.Mutex
	warned   time.Time // of the last warning, of whatever kind
	since    time.Time // of the first failure that no success has followed; zero: none
	attempts int       // failed sends since then
	tasks    int       // items in them
	failure  Class     // of the last of them
	open     bool      // a warning since then has no line of recovery yet

	lost   int    // dropped tasks that no line has reported yet
	sample []any  // of one of them: reason, instance, error
	ending string // an instance whose task was dropped at the end
}

// line is a log line that was made and not yet written.
type line struct {
	level   slog.Level
	message string
	args    []any
}

// write writes lines. mu is not held.
func (r *reporter) write(lines ...line) {
	for _, l := range lines {
		//nolint:sloglint // Each line is made with a constant message.
		r.logger.Log(context.Background(), l.level, l.message, l.args...)
	}
}

// mayWarn reports whether a warning may be written now, and counts it as
// written. mu is held.
func (r *reporter) mayWarn() bool {
	now := time.Now()
	if !r.warned.IsZero() && now.Sub(r.warned) < logInterval {
		return false
	}
	r.warned = now
	r.open = r.open || !r.since.IsZero()
	return true
}

// unreported returns what a line adds about dropped tasks. mu is held.
func (r *reporter) unreported() []any {
	if r.lost == 0 {
		return nil
	}
	n := r.lost
	r.lost = 0
	return []any{"dropped", n}
}

// failed reports a send that failed. One that the peer can't read is no outage:
// it comes back as a dropped task.
func (r *reporter) failed(batch uint64, tasks int, elapsed time.Duration, class Class, err error) {
	r.write(r.failedLine(batch, tasks, elapsed, class, err))
}

func (r *reporter) failedLine(batch uint64, tasks int, elapsed time.Duration, class Class, err error) line {
	r.mu.Lock()
	defer r.mu.Unlock()
	if class != Malformed {
		if r.since.IsZero() {
			r.since, r.attempts, r.tasks = time.Now(), 0, 0
		}
		r.attempts++
		r.tasks += tasks
		r.failure = class
	}
	args := []any{
		"batch", batch, "tasks", tasks, "attempt", r.attempts,
		"reason", string(class), "elapsed", elapsed, "err", err,
	}
	if class == Malformed || !r.mayWarn() {
		return line{slog.LevelDebug, "batch failed", args}
	}
	return line{slog.LevelWarn, "batch failed, retrying", append(args, r.unreported()...)}
}

// succeeded reports a send that was answered.
func (r *reporter) succeeded(batch uint64, tasks int, elapsed time.Duration) {
	r.write(line{slog.LevelDebug, "batch sent", []any{"batch", batch, "tasks", tasks, "elapsed", elapsed}})
	r.write(r.succeededLines(batch)...)
}

func (r *reporter) succeededLines(batch uint64) (lines []line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.open:
		r.open = false
		args := []any{"batch", batch, "tasks", r.tasks, "attempt", r.attempts, "elapsed", time.Since(r.since)}
		lines = append(lines, line{slog.LevelInfo, "replication recovered", append(args, r.unreported()...)})
	case r.lost > 0 && r.mayWarn():
		lines = append(lines, r.lostLine())
	}
	r.since = time.Time{}
	return lines
}

// dropped reports a task that was dropped for good. err may be nil.
func (r *reporter) dropped(instance string, reason acceptor.Reason, err error) {
	r.write(r.droppedLines(instance, reason, err)...)
}

func (r *reporter) droppedLines(instance string, reason acceptor.Reason, err error) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason == acceptor.Shutdown || reason == acceptor.PeerGone {
		r.ending = instance // The last line has their number.
		return nil
	}
	r.lost++
	r.sample = []any{"reason", string(reason), "instance", instance}
	if err != nil {
		r.sample = append(r.sample, "err", err)
	}
	if !r.mayWarn() {
		return nil
	}
	return []line{r.lostLine()}
}

// lostLine has the number of dropped tasks and one of them, and the failure of
// batches if they fail. mu is held.
func (r *reporter) lostLine() line {
	args := append([]any{"tasks", r.lost}, r.sample...)
	if !r.since.IsZero() {
		args = append(args, "attempt", r.attempts, "failure", string(r.failure))
	}
	r.lost = 0
	return line{slog.LevelWarn, "tasks dropped", args}
}

// ended reports how many tasks were dropped because the pipeline ended.
func (r *reporter) ended(shutdown, gone uint64) { r.write(r.endedLines(shutdown, gone)...) }

func (r *reporter) endedLines(shutdown, gone uint64) (lines []line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason := acceptor.Shutdown
	if gone > 0 {
		reason = acceptor.PeerGone
	}
	if shutdown+gone == 0 {
		if r.lost > 0 {
			lines = append(lines, r.lostLine())
		}
		return append(lines, line{slog.LevelDebug, "pipeline ended", nil})
	}
	args := []any{"tasks", shutdown + gone, "reason", string(reason)}
	if r.ending != "" {
		args = append(args, "instance", r.ending)
	}
	return []line{{slog.LevelWarn, "pipeline ended, tasks dropped", append(args, r.unreported()...)}}
}
