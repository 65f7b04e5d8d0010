// Package logqueue prevents a log whose reader is suspended from stopping the
// program.
//
//	slog handler ──Write──▶ queue, bounded in lines and bytes ──one goroutine──▶ stderr
//	                         │
//	                         └── full: dropped and counted
//
// Standard error may be a pipe that nobody reads, or a terminal in Ctrl-S: then
// a write blocks for as long as that lasts. Every handler of log/slog makes one
// Write per line, so the queue stands behind the handler: lines are formatted in
// the caller's goroutine, and their bytes are what is bounded.
package logqueue

import (
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The bounds of a queue.
const (
	maxLines = 10_000
	maxBytes = 4 << 20
	// closeWait is how long Close waits for the lines that are left.
	closeWait = time.Second
	// sampleBytes is how much of a dropped line its report shows.
	sampleBytes = 200
)

// Writer is an io.Writer that never blocks. Each Write is one line. Any
// goroutine may call its methods.
type Writer struct {
	out     io.Writer
	dropped prometheus.Counter
	report  func(n uint64, sample string)

	wake  chan struct{} // one slot: the goroutine has something to look at
	ended chan struct{} // closed when the goroutine has returned

	mu     sync.Mutex // guards what follows; no I/O is done under it
	lines  [][]byte
	held   int    // how many: lines, and those that are being written
	bytes  int    // of the lines held
	lost   uint64 // dropped since the last report
	sample string // the first of these
	closed bool
}

var (
	_ io.Writer            = (*Writer)(nil)
	_ prometheus.Collector = (*Writer)(nil)
)

// New returns a writer to out and starts the goroutine that writes. Close ends
// it. When out takes lines again after some were dropped, that goroutine calls
// report with their number and the beginning of the first of them; nil: there is
// no report. A report may write to the Writer.
func New(out io.Writer, report func(n uint64, sample string)) *Writer {
	if report == nil {
		report = func(uint64, string) {}
	}
	w := &Writer{
		out: out, report: report, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_log_dropped_lines_total",
			Help: "Log lines dropped because the reader of the log did not keep up.",
		}),
	}
	go w.run()
	return w
}

// OnDrop replaces report. A logger that writes to the Writer is made after it.
func (w *Writer) OnDrop(report func(n uint64, sample string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report = report
}

// Write takes a copy of a line. It always returns len(line) and nil: a line that
// finds the queue full, or closed, is dropped and counted.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.held >= maxLines || w.bytes+len(line) > maxBytes {
		w.dropped.Inc()
		if w.lost == 0 {
			w.sample = string(line[:min(len(line), sampleBytes)])
		}
		w.lost++
		return len(line), nil
	}
	w.lines = append(w.lines, append([]byte(nil), line...))
	w.held++
	w.bytes += len(line)
	w.signal()
	return len(line), nil
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // It will look anyway.
	}
}

// run writes until the queue is closed and empty.
func (w *Writer) run() {
	defer close(w.ended)
	for range w.wake {
		for {
			w.mu.Lock()
			lines := w.lines
			w.lines = nil
			lost, sample, report, closed := w.lost, w.sample, w.report, w.closed
			if len(lines) == 0 {
				w.lost, w.sample = 0, ""
			}
			w.mu.Unlock()
			if len(lines) == 0 {
				if lost > 0 && !closed {
					report(lost, sample)
					continue
				}
				if closed {
					return
				}
				break
			}
			for i, line := range lines {
				// There is nobody to report an error of the log to.
				_, _ = w.out.Write(line) //nolint:errcheck // See above.
				lines[i] = nil           // held no longer
				w.mu.Lock()
				w.held--
				w.bytes -= len(line)
				w.mu.Unlock()
			}
		}
	}
}

// Close writes what is left, for at most a second, and drops what comes later.
// It reports whether all was written. If not, out blocks: the goroutine is left
// behind in its Write, which nothing can end, and ends after it.
func (w *Writer) Close() bool {
	w.mu.Lock()
	w.closed = true
	w.signal()
	w.mu.Unlock()
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case <-w.ended:
		return true
	case <-late.C:
		return false
	}
}

// Describe implements prometheus.Collector.
func (w *Writer) Describe(ch chan<- *prometheus.Desc) { w.dropped.Describe(ch) }

// Collect implements prometheus.Collector.
func (w *Writer) Collect(ch chan<- prometheus.Metric) { w.dropped.Collect(ch) }
