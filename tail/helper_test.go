package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
)

// source delivers what a test sends, until the test closes it.
type source struct {
	ch  chan Message
	err error // returned once ch is closed
}

func newSource() *source { return &source{ch: make(chan Message)} }

func (s *source) Watch(ctx context.Context, deliver func(Message)) error {
	for {
		select {
		case m, ok := <-s.ch:
			if !ok {
				return s.err
			}
			deliver(m)
		case <-ctx.Done():
			return nil
		}
	}
}

// buffer is a writer that a test may read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// record is a JSON line as a reader of the output sees it.
type record struct {
	Time     time.Time `json:"time"`
	Batch    string    `json:"batch"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Position int       `json:"position"`
	Of       int       `json:"of"`
	Action   string    `json:"action"`
	App      string    `json:"app"`
	ID       string    `json:"id"`
	WaitMS   *int64    `json:"wait_ms"`
	RTTMS    *float64  `json:"rtt_ms"`
	Status   *int      `json:"status"`
	Result   string    `json:"result"`
	Entity   string    `json:"entity"`
	Error    string    `json:"error"`
	Bytes    int       `json:"bytes"`
}

// records parses JSON lines.
func records(t *testing.T, out string) []record {
	t.Helper()
	var recs []record
	for text := range strings.Lines(out) {
		var r record
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		recs = append(recs, r)
	}
	return recs
}

// summary is what most tests compare: instance, status and result of each line.
func summary(recs []record) string {
	var parts []string
	for _, r := range recs {
		status := "-"
		if r.Status != nil {
			status = fmt.Sprint(*r.Status)
		}
		parts = append(parts, r.ID+" "+status+" "+r.Result)
	}
	return strings.Join(parts, ", ")
}

// item returns a task as a sender on NATS writes it.
func item(action eureka.Action, id string, wait int64) eureka.Item {
	return eureka.Item{
		Action: action, AppName: "DEMO", ID: id, LastDirtyTimestamp: eureka.NoTimestamp,
		State: &eureka.State{RecordVersion: 1, Live: true, Duration: 90_000, Wait: wait},
	}
}

// request returns a batch of node-1 for node-2 that waits for its reply on reply.
func request(reply string, items ...eureka.Item) Message {
	return Message{
		Kind: Request, Subject: "registry.default.peer.node-2.batch.node-1", Reply: reply,
		From: "node-1", To: "node-2", Batch: "batch-of-" + reply,
		Body: eureka.AppendReplicationList(nil, items),
	}
}

// reply returns the answer on subject with these status codes.
func reply(subject string, codes ...int) Message {
	var l eureka.ReplicationListResponse
	for _, code := range codes {
		l = append(l, eureka.Result{StatusCode: code})
	}
	return Message{Kind: Reply, Subject: subject, Body: eureka.AppendReplicationListResponse(nil, l)}
}

// run lets a Tailer see messages and end, and returns what it printed.
func run(t *testing.T, opts Options, messages ...Message) ([]record, Counts) {
	t.Helper()
	opts.JSON = true
	out, counts := runText(t, opts, messages...)
	return records(t, out), counts
}

func runText(t *testing.T, opts Options, messages ...Message) (string, Counts) {
	t.Helper()
	src := newSource()
	var out buffer
	tailer, err := New(src, &out, opts)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(src.ch)
		for _, m := range messages {
			src.ch <- m
		}
	}()
	counts, err := tailer.Run(t.Context())
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return out.String(), counts
}

// live is a Tailer that runs in a bubble.
type live struct {
	src    *source
	out    buffer
	stop   context.CancelFunc
	counts Counts
	err    error
	done   chan struct{}
}

func start(t *testing.T, w func(io.Writer) io.Writer, opts Options) *live {
	t.Helper()
	l := &live{src: newSource(), done: make(chan struct{})}
	out := io.Writer(&l.out)
	if w != nil {
		out = w(out)
	}
	opts.JSON = true
	tailer, err := New(l.src, out, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	go func() {
		defer close(l.done)
		l.counts, l.err = tailer.Run(ctx)
	}()
	return l
}

func (l *live) send(messages ...Message) {
	for _, m := range messages {
		l.src.ch <- m
	}
	synctest.Wait()
}

func (l *live) end() {
	l.stop()
	<-l.done
}
