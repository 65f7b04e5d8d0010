package batcher_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/internal/script"
	"github.com/registryd/registryd/registry"
)

// TestScripts runs the scripts in testdata/pipeline through the real acceptor and
// batcher, in fake time. Slots are registry.Bits, spelled H, R, O and C. After
// each command stand what the peer was sent and answered since the last, with
// the time since the start, and then the state.
//
// Every command checks the law of conservation.
func TestScripts(t *testing.T) {
	script.Each(t, "../testdata/pipeline", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			p := &pipelineScript{t: t, began: time.Now(), answers: make(map[uint64]chan script.Command), stop: func() {}}
			defer func() { p.stop() }()
			script.Run(t, path, p.run)
		})
	})
}

type bitsBatch = acceptor.Batch[string, registry.Bits]

// event is something that the peer saw, or the loss of a slot.
type event struct {
	at    time.Duration
	batch uint64 // 0: a slot that was dropped
	text  string
}

type pipelineScript struct {
	t     *testing.T
	began time.Time
	acc   *acceptor.Acceptor[string, registry.Bits]
	b     *batcher.Batcher[string, registry.Bits]
	stop  context.CancelFunc // ends the pipeline and waits for it
	drain context.CancelFunc // begins its drain
	ended chan struct{}
	log   logs
	shown int // log lines

	mu      sync.Mutex
	events  []event
	peer    string                         // answers, holds, or the class of each failure
	delay   time.Duration                  // of each answer
	answers map[uint64]chan script.Command // of batches that the peer holds
}

func (p *pipelineScript) run(cmd script.Command) string {
	if p.b == nil {
		if p.start(cmd); cmd.Name == "pipeline" {
			return p.state()
		}
	}
	switch cmd.Name {
	case "offer": // offer KEY=BITS...
		for _, arg := range cmd.All() {
			p.acc.Offer(arg.Name, bits(cmd, arg.Value))
		}
	case "burst": // burst N [prefix=i] [bits=R]: that many keys
		n, err := strconv.Atoi(cmd.Word(0))
		if err != nil {
			cmd.Fatalf("%v", err)
		}
		for i := range n {
			p.acc.Offer(fmt.Sprint(cmd.Text("prefix", "i"), i+1), bits(cmd, cmd.Text("bits", "R")))
		}
	case "repeat": // repeat KEY BITS every=DURATION times=N
		for range cmd.Int("times", 1) {
			p.acc.Offer(cmd.Word(0), bits(cmd, cmd.Word(1)))
			time.Sleep(cmd.Duration("every", time.Second))
		}
	case "advance": // advance DURATION
		time.Sleep(cmd.WordDuration(0))
	case "peer": // peer answers|holds|CLASS [after=DURATION]
		p.mu.Lock()
		p.peer, p.delay = cmd.Word(0), cmd.Duration("after", 0)
		p.mu.Unlock()
	case "answer": // answer BATCH [CLASS] [KEY=again|bad]...: one that the peer holds
		p.answer(cmd)
	case "wake":
		p.b.Wake()
	case "drain":
		p.drain()
	case "close": // close REASON
		p.b.Close(acceptor.Reason(cmd.Word(0)))
	case "log":
		synctest.Wait()
		lines := p.log.all()
		out := strings.Join(lines[p.shown:], "\n")
		p.shown = len(lines)
		return strings.ReplaceAll(out, " component=batcher peer=p", "")
	default:
		cmd.Fatalf("unknown command")
	}
	return p.state()
}

func bits(cmd script.Command, text string) (b registry.Bits) {
	for _, c := range text {
		i := strings.IndexRune("HROC", c)
		if i < 0 {
			cmd.Fatalf("%q: not of H, R, O, C", text)
		}
		b |= 1 << i
	}
	return b
}

// start builds the pipeline, by the arguments of the first command if that is
// pipeline.
func (p *pipelineScript) start(cmd script.Command) {
	text, number := cmd.Text, cmd.Int
	if cmd.Name != "pipeline" {
		text = func(_, fallback string) string { return fallback }
		number = func(_ string, fallback int) int { return fallback }
	}
	mode, err := acceptor.ParseMode(text("mode", "fixed"))
	if err != nil {
		cmd.Fatalf("%v", err)
	}
	limit, bytes := number("limit", acceptor.DefaultLimit), number("bytes", 0)
	p.acc, err = acceptor.New(acceptor.Options[string, registry.Bits]{
		Mode: mode, QueueLen: number("ring", 0), Limit: func() int { return limit },
		Urgent: func(b registry.Bits) bool { return b != registry.Renewed },
		Merge:  registry.Bits.Merge,
		Render: func(key string, b registry.Bits, _ time.Duration) (acceptor.Task, acceptor.Reason) {
			if strings.HasPrefix(key, "gone") {
				return acceptor.Task{}, acceptor.Evicted
			}
			return body(key + "=" + b.String()), ""
		},
		OnDrop: func(key string, b registry.Bits, reason acceptor.Reason) {
			p.note(0, fmt.Sprintf("dropped %s=%v: %s", key, b, reason))
		},
	})
	if err != nil {
		cmd.Fatalf("%v", err)
	}
	p.b, err = batcher.New(p.acc, batcher.Options[string, registry.Bits]{
		Peer: "p", Size: number("size", 0), Bytes: func() int { return bytes }, InFlight: number("workers", 0),
		Send: p.send, Logger: slog.New(&p.log), Rand: func() float64 { return 0 },
	})
	if err != nil {
		cmd.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	p.drain, p.ended = cancel, make(chan struct{})
	go func() {
		defer close(p.ended)
		if err := p.b.Run(ctx); err != nil {
			p.t.Errorf("Run: %v", err)
		}
	}()
	p.stop = func() {
		cancel()
		p.b.Close(acceptor.Shutdown)
		<-p.ended
	}
}

func (p *pipelineScript) note(batch uint64, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event{time.Since(p.began), batch, text})
}

// send is the peer. It can't read a batch with a key that begins with bad.
func (p *pipelineScript) send(ctx context.Context, b bitsBatch) ([]acceptor.Outcome, error) {
	var tasks []string
	unreadable := false
	for _, item := range b.Items {
		tasks = append(tasks, string(item.Task.Body))
		unreadable = unreadable || strings.HasPrefix(item.Key, "bad")
	}
	if n := len(tasks); n > 10 {
		tasks = []string{tasks[0], tasks[1], "...", tasks[n-1], fmt.Sprintf("(%d)", n)}
	}
	p.note(b.Number, "sent "+strings.Join(tasks, " "))

	p.mu.Lock()
	peer, delay := p.peer, p.delay
	held := make(chan script.Command)
	if peer == "holds" {
		p.answers[b.Number] = held
	}
	p.mu.Unlock()
	var cmd script.Command
	if peer == "holds" {
		select {
		case cmd = <-held:
			peer = "answers"
			if len(cmd.Words) > 1 {
				peer = cmd.Words[1]
			}
		case <-ctx.Done():
		}
	}
	if delay > 0 {
		_ = slowly(ctx, delay) //nolint:errcheck // Asked again below.
	}
	switch {
	case ctx.Err() != nil:
		p.note(b.Number, ctx.Err().Error())
		return nil, ctx.Err()
	case peer != "" && peer != "answers":
		p.note(b.Number, peer)
		return nil, batcher.Class(peer)
	case unreadable:
		p.note(b.Number, "malformed")
		return nil, batcher.Malformed
	}
	text, outcomes := "ok", all(batch{Items: make([]acceptor.Item[string, string], len(b.Items))}, acceptor.Done())
	for _, arg := range cmd.Args {
		i := slices.IndexFunc(b.Items, func(item acceptor.Item[string, registry.Bits]) bool { return item.Key == arg.Name })
		switch arg.Value {
		case "again":
			outcomes[i] = acceptor.Retry()
		case "bad":
			outcomes[i] = acceptor.Drop(acceptor.Malformed)
		}
		text += fmt.Sprintf(", %s %s", arg.Name, arg.Value)
	}
	p.note(b.Number, text)
	return outcomes, nil
}

func (p *pipelineScript) answer(cmd script.Command) {
	number, err := strconv.ParseUint(cmd.Word(0), 10, 64)
	if err != nil {
		cmd.Fatalf("%v", err)
	}
	cmd.All()
	p.mu.Lock()
	held := p.answers[number]
	delete(p.answers, number)
	p.mu.Unlock()
	if held == nil {
		cmd.Fatalf("the peer does not hold batch %d", number)
	}
	held <- cmd
}

// state returns the events since the last command, and the state now. Batches
// leave by several goroutines: within one instant they stand in order.
func (p *pipelineScript) state() string {
	synctest.Wait()
	p.mu.Lock()
	events := p.events
	p.events = nil
	p.mu.Unlock()
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.batch, b.batch))
	})
	var out strings.Builder
	for _, e := range events {
		fmt.Fprintf(&out, "%v ", e.at)
		if e.batch > 0 {
			fmt.Fprintf(&out, "batch %d: ", e.batch)
		}
		fmt.Fprintln(&out, e.text)
	}

	s, bs := p.acc.Stats(), p.b.Stats()
	if s.Unaccounted() != 0 {
		p.t.Errorf("%d actions unaccounted for: %+v", s.Unaccounted(), s)
	}
	part := func(name string, n uint64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf(" %s=%d", name, n)
	}
	line := part("queue", uint64(s.AcceptorQueue)) + part("order", uint64(s.ProcessingOrder)) +
		part("retrying", uint64(s.Retrying)) + part("flying", uint64(s.InFlight)) + part("batches", uint64(bs.InFlight))
	if bs.Waiting != "" {
		line += fmt.Sprintf(" waiting=%s until=%v", bs.Waiting, bs.WaitUntil.Sub(p.began))
	}
	select {
	case <-p.ended:
		line += " ended"
	default:
	}
	line = cmp.Or(strings.TrimSpace(line), "empty") + " |" + part("offered", s.Offered) +
		part("acknowledged", s.Acknowledged) + part("merged", s.Merged) + part("retried", s.Retried)
	for _, reason := range acceptor.Reasons() {
		line += part(string(reason), s.Dropped[reason])
	}
	return out.String() + line
}
