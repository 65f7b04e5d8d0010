package tail

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Defaults of [Options].
const (
	DefaultTimeout         = 5 * time.Second
	DefaultMaxWaiting      = 10_000
	DefaultMaxWaitingBytes = 64 << 20
)

const (
	queueLen  = 1024     // messages between the Source and the Tailer
	outBuffer = 64 << 10 // bytes of output gathered while more is waiting
	sampleLen = 80       // bytes of a message that a log line shows
)

// ErrRunning is returned by the second call of [Tailer.Run].
var ErrRunning = errors.New("tail: has been run already")

// Options of a [Tailer]. A zero field means its default.
type Options struct {
	// JSON prints an object per line instead of a line for people.
	JSON bool
	// Color marks results in lines for people, for a terminal.
	Color bool
	// Node limits the output to batches from or to this node. "": all.
	Node string
	// Filter limits the output to some tasks.
	Filter Filter
	// Timeout is how long a request may wait for its reply before its tasks
	// are printed as timed out. Default 5 s, more than the 2 s of the sender.
	Timeout time.Duration
	// MaxWaiting bounds the batches that wait for their reply. MaxWaitingBytes
	// bounds the memory that they take, estimated. The oldest batch makes room, and
	// is printed as unanswered. Defaults 10,000 and 64 MiB; one batch may always
	// wait.
	MaxWaiting      int
	MaxWaitingBytes int
	// Logger gets samples of unreadable messages: the 1st, the 10th, the 100th ….
	// Default: none.
	Logger *slog.Logger
}

// withDefaults fills in defaults and reports every fault.
func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("tail: Timeout is %v, want more than 0", o.Timeout))
	}
	if o.MaxWaiting < 0 {
		errs = append(errs, fmt.Errorf("tail: MaxWaiting is %d, want more than 0", o.MaxWaiting))
	}
	if o.MaxWaitingBytes < 0 {
		errs = append(errs, fmt.Errorf("tail: MaxWaitingBytes is %d, want more than 0", o.MaxWaitingBytes))
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, DefaultMaxWaiting)
	o.MaxWaitingBytes = cmp.Or(o.MaxWaitingBytes, DefaultMaxWaitingBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(errs...)
}

// Counts counts what a [Tailer] has seen. Every batch that passed the filter is
// in exactly one of Answered, TimedOut, Unanswered and NotExpected, unless it
// was empty.
type Counts struct {
	Batches     uint64 // requests that could be read and passed the filter
	Tasks       uint64 // their tasks: one line each
	Answered    uint64 // batches with a reply, errors for a whole batch included
	TimedOut    uint64 // batches without a reply within Options.Timeout
	Unanswered  uint64 // batches that had to make room, or waited at the end
	NotExpected uint64 // batches that named no subject for a reply

	Hidden     uint64 // tasks that Options.Filter left out, which are in Tasks too
	Filtered   uint64 // requests that neither came from Options.Node nor went there
	Unmatched  uint64 // replies to requests that were not seen, were filtered, or are no batch
	Foreign    uint64 // messages that can't be read
	Duplicates uint64 // requests whose reply subject was awaited already
	Surplus    uint64 // results beyond the tasks of their batch
}

// Tailer prints a line for each replicated task. See [Tailer.Run].
type Tailer struct {
	source Source
	opts   Options
	log    *slog.Logger

	started atomic.Bool

	// Owned by the goroutine of Run.
	out     *bufio.Writer
	line    *liner
	waiting *waiting
	early   *early
	counts  Counts
}

// New returns a Tailer that reads from source and prints to w. It starts no
// goroutine. An error names each option that is out of bounds.
func New(source Source, w io.Writer, opts Options) (*Tailer, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Tailer{
		source:  source,
		opts:    opts,
		log:     opts.Logger.With("component", "tail"),
		out:     bufio.NewWriterSize(w, outBuffer),
		line:    newLiner(opts.JSON, opts.Color),
		waiting: newWaiting(),
		early:   newEarly(),
	}, nil
}

// Run prints until ctx or the source ends. It then prints the batches that still
// wait as unanswered, and returns its counts. Its error is nil after either of these
// ends, else that of the source or of the writer. A writer that blocks delays it,
// also at the end. It may be called once.
//
// Lines are in the order in which results came; the tasks of a batch stay
// together, in their order.
func (t *Tailer) Run(ctx context.Context) (Counts, error) {
	if t.started.Swap(true) {
		return Counts{}, ErrRunning
	}

	var source sync.WaitGroup
	defer source.Wait()
	watchCtx, stop := context.WithCancel(ctx)
	defer stop() // before the wait
	in := make(chan Message, queueLen)
	ended := make(chan error, 1)
	source.Go(func() {
		ended <- t.source.Watch(watchCtx, func(m Message) {
			select {
			case in <- m:
			case <-watchCtx.Done():
			}
		})
	})

	err := t.loop(ctx, in, ended)
	return t.counts, err
}

// loop handles messages until the source has ended, by itself or with ctx, or the
// writer fails.
func (t *Tailer) loop(ctx context.Context, in <-chan Message, ended <-chan error) error {
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for {
		if b := t.waiting.oldest(); b != nil {
			timer.Reset(time.Until(b.deadline))
		} else {
			timer.Stop()
		}
		var err error
		select {
		case m := <-in:
			err = t.handle(m)
		case <-timer.C:
			// A reply may have arrived already: blocked output must not look like
			// peers that don't answer.
			if err = t.handleQueued(in); err == nil {
				err = t.expire(time.Now())
			}
		case err = <-ended:
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("tail: watch replication: %w", err)
			} else {
				err = nil
			}
			return errors.Join(err, t.finish(in))
		}
		if err == nil && len(in) == 0 {
			err = t.flush()
		}
		if err != nil {
			return err
		}
	}
}

// finish prints the batches that still wait once the source has ended.
func (t *Tailer) finish(in <-chan Message) error {
	if err := t.handleQueued(in); err != nil {
		return err
	}
	for b := t.waiting.oldest(); b != nil; b = t.waiting.oldest() {
		t.counts.Unanswered++
		if err := t.settle(b, outcome{result: resultUnanswered}); err != nil {
			return err
		}
	}
	return t.flush()
}

// handleQueued handles the messages that have been queued by now, at most
// [queueLen].
func (t *Tailer) handleQueued(in <-chan Message) error {
	for range len(in) {
		if err := t.handle(<-in); err != nil {
			return err
		}
	}
	return nil
}

// handle takes one message. It returns the writer's error; an unreadable message is
// no error.
func (t *Tailer) handle(m Message) error {
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	switch m.Kind {
	case Request:
		return t.request(m)
	case Reply:
		return t.reply(m)
	default:
		t.foreign(m, fmt.Errorf("kind is %d, want a request or a reply", m.Kind))
		return nil
	}
}

func (t *Tailer) request(m Message) error {
	if t.opts.Node != "" && m.From != t.opts.Node && m.To != t.opts.Node {
		t.counts.Filtered++
		return nil
	}
	if m.Reply != "" && t.waiting.has(m.Reply) {
		t.counts.Duplicates++
		return nil
	}
	items, err := eureka.DecodeReplicationList(m.Body, eureka.ListOptions{NATS: true})
	if err != nil {
		t.foreign(m, err)
		return nil
	}
	t.counts.Batches++
	t.counts.Tasks += uint64(len(items))
	if len(items) == 0 {
		return nil
	}
	b := &batch{
		id: m.Batch, from: m.From, to: m.To, reply: m.Reply,
		seen: m.Time, deadline: time.Now().Add(t.opts.Timeout),
		bytes: len(m.Body), tasks: tasksOf(items),
	}
	if m.Reply == "" {
		t.counts.NotExpected++
		return t.settle(b, outcome{result: resultNotExpected})
	}
	b.countCost()
	t.waiting.add(b)
	if first, ok := t.early.take(b.reply, time.Now()); ok {
		t.counts.Unmatched--
		return t.reply(first)
	}
	for t.waiting.len() > t.opts.MaxWaiting ||
		t.waiting.bytes > t.opts.MaxWaitingBytes && t.waiting.len() > 1 {
		t.counts.Unanswered++
		if err := t.settle(t.waiting.oldest(), outcome{result: resultUnanswered}); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tailer) reply(m Message) error {
	b := t.waiting.get(m.Subject)
	if b == nil {
		t.counts.Unmatched++
		t.early.keep(m, time.Now())
		return nil
	}
	rtt := max(m.Time.Sub(b.seen), 0)
	if m.ErrorCode != "" {
		t.counts.Answered++
		status := errorStatus(m.ErrorCode)
		return t.settle(b, outcome{
			status: status, result: resultOf(status), detail: m.Error, rtt: rtt, replied: true,
		})
	}
	results, err := eureka.DecodeReplicationListResponse(m.Body, 0)
	if err != nil {
		// Not a node's reply, but for example that of a stream that also listens. The
		// sender doesn't accept it either, and continues to wait.
		t.foreign(m, err)
		return nil
	}
	t.counts.Answered++
	t.counts.Surplus += uint64(max(len(results)-len(b.tasks), 0))
	t.waiting.remove(b)
	for i := range b.tasks {
		o := outcome{result: resultMissing, rtt: rtt, replied: true}
		if i < len(results) {
			o.read(&results[i])
		}
		if err := t.print(b, i, o); err != nil {
			return err
		}
	}
	return nil
}

// expire prints the batches whose time is over at now.
func (t *Tailer) expire(now time.Time) error {
	for b := t.waiting.oldest(); b != nil && !b.deadline.After(now); b = t.waiting.oldest() {
		t.counts.TimedOut++
		if err := t.settle(b, outcome{result: resultTimeout}); err != nil {
			return err
		}
	}
	return nil
}

// settle prints one outcome for all tasks of a batch, which no longer waits.
func (t *Tailer) settle(b *batch, o outcome) error {
	t.waiting.remove(b)
	for i := range b.tasks {
		if err := t.print(b, i, o); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tailer) print(b *batch, i int, o outcome) error {
	if !t.opts.Filter.shows(&b.tasks[i], &o) {
		t.counts.Hidden++
		return nil
	}
	if _, err := t.out.Write(t.line.render(b, i, o)); err != nil {
		return fmt.Errorf("tail: write: %w", err)
	}
	return nil
}

func (t *Tailer) flush() error {
	if err := t.out.Flush(); err != nil {
		return fmt.Errorf("tail: write: %w", err)
	}
	return nil
}

// foreign counts a message that can't be read, and logs a sample at each power
// of ten.
func (t *Tailer) foreign(m Message, err error) {
	t.counts.Foreign++
	n := t.counts.Foreign
	for n%10 == 0 {
		n /= 10
	}
	if n == 1 {
		t.log.Warn("unreadable message", "subject", cut(m.Subject), "bytes", len(m.Body),
			"sample", cut(string(m.Body[:min(len(m.Body), sampleLen)])), "count", t.counts.Foreign, "err", err)
	}
}

// cut shortens a text for a log line.
func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), sampleLen)], "\uFFFD")
}
