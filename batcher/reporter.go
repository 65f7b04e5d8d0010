package batcher

import (
	"log/slog"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// logInterval is how far apart two warnings of one kind are at least.
const logInterval = 10 * time.Second

// reporter writes the log of one pipeline: when it begins to fail, now and then
// while it does, and when it has recovered. Single batches are at debug level.
type reporter struct {
	logger *slog.Logger

	mu       sync.Mutex
	since    time.Time // of the first failure that no success has followed; zero: none
	attempts int       // failed sends since then
	tasks    int       // items in them
	warned   time.Time // of the last warning about failures
	open     bool      // a warning has no line of recovery yet

	refused         int       // tasks dropped as malformed since the last warning about those
	malformedWarned time.Time // of the last warning about those
}

// failed tells of a send that failed.
func (r *reporter) failed(batch uint64, tasks int, elapsed time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.since.IsZero() {
		r.since, r.attempts, r.tasks = now, 0, 0
	}
	r.attempts++
	r.tasks += tasks
	args := []any{
		"batch", batch, "tasks", tasks, "attempt", r.attempts,
		"reason", string(classOf(err)), "elapsed", elapsed, "err", err,
	}
	if classOf(err) == Malformed || now.Sub(r.warned) < logInterval {
		r.logger.Debug("Batch failed", args...)
		return
	}
	r.warned, r.open = now, true
	r.logger.Warn("Batch failed, will be sent again", args...)
}

// succeeded tells of a send that was answered.
func (r *reporter) succeeded(batch uint64, tasks int, elapsed time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logger.Debug("Batch sent", "batch", batch, "tasks", tasks, "elapsed", elapsed)
	if r.open {
		r.open = false
		r.logger.Info("Batches arrive again", "batch", batch, "tasks", r.tasks,
			"attempt", r.attempts, "elapsed", time.Since(r.since))
	}
	r.since = time.Time{}
}

// malformed tells of a task that was dropped because the peer can't read it.
func (r *reporter) malformed(batch uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused++
	if now := time.Now(); now.Sub(r.malformedWarned) >= logInterval {
		r.malformedWarned = now
		r.logger.Warn("Task dropped", "batch", batch, "tasks", r.refused,
			"reason", string(Malformed), "err", err)
		r.refused = 0
	}
}

// ended tells how many tasks the end of the pipeline has cost.
func (r *reporter) ended(shutdown, gone uint64) {
	switch {
	case gone > 0:
		r.logger.Warn("Pipeline ended, tasks dropped", "tasks", shutdown+gone, "reason", string(acceptor.PeerGone))
	case shutdown > 0:
		r.logger.Warn("Pipeline ended, tasks dropped", "tasks", shutdown, "reason", string(acceptor.Shutdown))
	default:
		r.logger.Debug("Pipeline ended")
	}
}
