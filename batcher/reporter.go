package batcher

import (
	"log/slog"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// logInterval is how far apart two warnings of one pipeline are at least.
const logInterval = 10 * time.Second

// reporter writes the log of one pipeline: a line when it begins to fail, one
// now and then while it does, and one when it has recovered. What is given up
// goes into the same lines. Single batches are at debug level.
type reporter struct {
	logger *slog.Logger

	mu       sync.Mutex
	warned   time.Time // of the last warning, of whatever kind
	since    time.Time // of the first failure that no success has followed; zero: none
	attempts int       // failed sends since then
	tasks    int       // items in them
	failure  Class     // of the last of them
	open     bool      // a warning since then has no line of recovery yet

	lost   int    // tasks given up that no line has told yet
	sample []any  // of one of them: reason, instance, error
	ending string // an instance whose task the end has cost
}

// mayWarn says whether a warning may be written now, and takes it for written.
// mu is held.
func (r *reporter) mayWarn() bool {
	now := time.Now()
	if !r.warned.IsZero() && now.Sub(r.warned) < logInterval {
		return false
	}
	r.warned = now
	r.open = r.open || !r.since.IsZero()
	return true
}

// untold returns what a line adds about tasks that were given up. mu is held.
func (r *reporter) untold() []any {
	if r.lost == 0 {
		return nil
	}
	n := r.lost
	r.lost = 0
	return []any{"dropped", n}
}

// failed tells of a send that failed. One that the peer can't read is no
// outage: it comes back as a task that is given up.
func (r *reporter) failed(batch uint64, tasks int, elapsed time.Duration, class Class, err error) {
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
		r.logger.Debug("Batch failed", args...)
		return
	}
	r.logger.Warn("Batch failed, will be sent again", append(args, r.untold()...)...)
}

// succeeded tells of a send that was answered.
func (r *reporter) succeeded(batch uint64, tasks int, elapsed time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logger.Debug("Batch sent", "batch", batch, "tasks", tasks, "elapsed", elapsed)
	switch {
	case r.open:
		r.open = false
		args := []any{"batch", batch, "tasks", r.tasks, "attempt", r.attempts, "elapsed", time.Since(r.since)}
		r.logger.Info("Batches arrive again", append(args, r.untold()...)...)
	case r.lost > 0 && r.mayWarn():
		r.warnLost()
	}
	r.since = time.Time{}
}

// dropped tells of a task that was given up for good. err may be nil.
func (r *reporter) dropped(instance string, reason acceptor.Reason, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason == acceptor.Shutdown || reason == acceptor.PeerGone {
		r.ending = instance // The last line tells how many there were.
		return
	}
	r.lost++
	r.sample = []any{"reason", string(reason), "instance", instance}
	if err != nil {
		r.sample = append(r.sample, "err", err)
	}
	if r.mayWarn() {
		r.warnLost()
	}
}

// warnLost tells how many tasks were given up, and shows one; and that batches
// fail, if they do. mu is held.
func (r *reporter) warnLost() {
	args := append([]any{"tasks", r.lost}, r.sample...)
	if !r.since.IsZero() {
		args = append(args, "attempt", r.attempts, "failure", string(r.failure))
	}
	r.logger.Warn("Tasks dropped", args...)
	r.lost = 0
}

// ended tells how many tasks the end of the pipeline has cost.
func (r *reporter) ended(shutdown, gone uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason := acceptor.Shutdown
	if gone > 0 {
		reason = acceptor.PeerGone
	}
	if shutdown+gone == 0 {
		if r.lost > 0 {
			r.warnLost()
		}
		r.logger.Debug("Pipeline ended")
		return
	}
	args := []any{"tasks", shutdown + gone, "reason", string(reason)}
	if r.ending != "" {
		args = append(args, "instance", r.ending)
	}
	r.logger.Warn("Pipeline ended, tasks dropped", append(args, r.untold()...)...)
}
