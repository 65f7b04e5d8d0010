package tail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
)

func TestPairing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil, Options{})
		first := request("r1", item(eureka.ActionRegister, "a", 502), item(eureka.ActionHeartbeat, "b", 0))
		second := request("r2", item(eureka.ActionCancel, "c", 7))
		second.From, second.To = "node-3", "node-1"
		began := time.Now()
		l.send(first, second)
		if got := l.out.String(); got != "" {
			t.Fatalf("printed before the reply: %q", got)
		}
		time.Sleep(1300 * time.Microsecond)
		l.send(reply("r2", 200))
		if got, want := summary(records(t, l.out.String())), "c 200 ok"; got != want {
			t.Fatalf("after the first reply: got %q, want %q, without waiting for more", got, want)
		}
		time.Sleep(700 * time.Microsecond)
		l.send(reply("r1", 200, 404))
		l.end()

		recs := records(t, l.out.String())
		if got, want := summary(recs), "c 200 ok, a 200 ok, b 404 not_found"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		c, a, b := recs[0], recs[1], recs[2]
		if c.From != "node-3" || c.To != "node-1" || c.Batch != "batch-of-r2" || c.Action != "Cancel" || c.App != "DEMO" {
			t.Errorf("line of c: got %+v", c)
		}
		if c.Position != 1 || c.Of != 1 || a.Position != 1 || a.Of != 2 || b.Position != 2 || b.Of != 2 {
			t.Errorf("positions: got %d/%d, %d/%d, %d/%d", c.Position, c.Of, a.Position, a.Of, b.Position, b.Of)
		}
		if *c.WaitMS != 7 || *a.WaitMS != 502 || *b.WaitMS != 0 {
			t.Errorf("waits: got %d, %d, %d, want 7, 502, 0", *c.WaitMS, *a.WaitMS, *b.WaitMS)
		}
		if *c.RTTMS != 1.3 || *a.RTTMS != 2 {
			t.Errorf("round trips: got %v and %v ms, want 1.3 and 2", *c.RTTMS, *a.RTTMS)
		}
		if a.Bytes != len(first.Body) || c.Bytes != len(second.Body) {
			t.Errorf("bytes: got %d and %d, want %d and %d", a.Bytes, c.Bytes, len(first.Body), len(second.Body))
		}
		if !a.Time.Equal(began) {
			t.Errorf("time: got %v, want when the request was seen, %v", a.Time, began)
		}
		if want := (Counts{Batches: 2, Tasks: 3, Answered: 2}); l.counts != want || l.err != nil {
			t.Errorf("Run: got %+v, %v, want %+v", l.counts, l.err, want)
		}
	})
}

func TestTimeOfSource(t *testing.T) {
	seen := time.Date(2026, 3, 4, 18, 4, 5, 123_000_000, time.UTC)
	req, rep := request("r", item(eureka.ActionHeartbeat, "a", 1)), reply("r", 200)
	req.Time, rep.Time = seen, seen.Add(250*time.Microsecond)
	recs, _ := run(t, Options{}, req, rep)
	if len(recs) != 1 || !recs[0].Time.Equal(seen) || *recs[0].RTTMS != 0.25 {
		t.Errorf("got %+v, want time %v and a round trip of 0.25 ms", recs, seen)
	}

	rep.Time = seen.Add(-time.Second)
	recs, _ = run(t, Options{}, req, rep)
	if len(recs) != 1 || *recs[0].RTTMS != 0 {
		t.Errorf("a clock that was set back: got %+v, want a round trip of 0", recs)
	}
}

func TestReplies(t *testing.T) {
	two := request("r", item(eureka.ActionRegister, "a", 1), item(eureka.ActionRegister, "b", 1))
	refused := func(code, text string) Message {
		return Message{Kind: Reply, Subject: "r", ErrorCode: code, Error: text}
	}
	for _, tt := range []struct {
		name   string
		reply  Message
		want   string
		counts Counts
	}{
		{"all well", reply("r", 200, 204), "a 200 ok, b 204 ok", Counts{Answered: 1}},
		{"repairs", reply("r", 404, 409), "a 404 not_found, b 409 conflict", Counts{Answered: 1}},
		{"refusals", reply("r", 400, 401), "a 400 malformed, b 401 refused", Counts{Answered: 1}},
		{"busy and failed", reply("r", 503, 500), "a 503 busy, b 500 failed", Counts{Answered: 1}},
		{"odd codes", reply("r", 302, 0), "a 302 other, b - other", Counts{Answered: 1}},
		{"too few", reply("r", 200), "a 200 ok, b - missing", Counts{Answered: 1}},
		{"none at all", reply("r"), "a - missing, b - missing", Counts{Answered: 1}},
		{"too many", reply("r", 200, 200, 200, 200), "a 200 ok, b 200 ok", Counts{Answered: 1, Surplus: 2}},
		{
			"one can't be read",
			Message{Kind: Reply, Subject: "r", Body: []byte(`{"responseList":[{"statusCode":"x"},{"statusCode":200}]}`)},
			"a - unreadable, b 200 ok",
			Counts{Answered: 1},
		},
		{"busy as a whole", refused("503", "queue is full"), "a 503 busy, b 503 busy", Counts{Answered: 1}},
		{"malformed as a whole", refused("400", "no JSON"), "a 400 malformed, b 400 malformed", Counts{Answered: 1}},
		{"an error without a number", refused("E_ODD", "?"), "a - other, b - other", Counts{Answered: 1}},
		{"an error with a silly number", refused("-99999999999999999999", "?"), "a - other, b - other", Counts{Answered: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			recs, counts := run(t, Options{}, two, tt.reply)
			if got := summary(recs); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			tt.counts.Batches, tt.counts.Tasks = 1, 2
			if counts != tt.counts {
				t.Errorf("counts: got %+v, want %+v", counts, tt.counts)
			}
			for _, r := range recs {
				if r.Error != tt.reply.Error {
					t.Errorf("error: got %q, want %q", r.Error, tt.reply.Error)
				}
				if r.RTTMS == nil {
					t.Errorf("rtt_ms is null, want a number: there was a reply")
				}
			}
		})
	}
}

func TestEntities(t *testing.T) {
	info := &eureka.InstanceInfo{
		HostName: "h", App: "DEMO", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
	}
	dead := &eureka.State{RecordVersion: 2, Duration: 90_000}
	alive := &eureka.State{RecordVersion: 2, Live: true, Duration: 90_000}
	results := eureka.ReplicationListResponse{
		{StatusCode: 409, ResponseEntity: info, State: alive},
		{StatusCode: 409, State: dead},
		{StatusCode: 409, State: alive},
		{StatusCode: 409},
		{StatusCode: 200},
	}
	var items []eureka.Item
	for _, id := range []string{"copy", "dead", "too big", "none", "fine"} {
		items = append(items, item(eureka.ActionHeartbeat, id, 1))
	}
	recs, _ := run(t, Options{}, request("r", items...),
		Message{Kind: Reply, Subject: "r", Body: eureka.AppendReplicationListResponse(nil, results)})
	want := []string{"instance", "tombstone", "none", "none", ""}
	if len(recs) != len(want) {
		t.Fatalf("got %d lines, want %d", len(recs), len(want))
	}
	for i, r := range recs {
		if r.Entity != want[i] {
			t.Errorf("entity of %s: got %q, want %q", r.ID, r.Entity, want[i])
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want time.Duration
	}{
		{"default", Options{}, 5 * time.Second},
		{"option", Options{Timeout: 300 * time.Millisecond}, 300 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := start(t, nil, tt.opts)
				l.send(request("r1", item(eureka.ActionRegister, "a", 1), item(eureka.ActionRegister, "b", 1)))
				time.Sleep(tt.want / 2)
				l.send(request("r2", item(eureka.ActionRegister, "c", 1)))
				time.Sleep(tt.want/2 - time.Nanosecond)
				synctest.Wait()
				if got := l.out.String(); got != "" {
					t.Fatalf("printed before its time: %q", got)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				recs := records(t, l.out.String())
				if got, want := summary(recs), "a - timeout, b - timeout"; got != want {
					t.Fatalf("after %v: got %q, want %q", tt.want, got, want)
				}
				if recs[0].RTTMS != nil {
					t.Errorf("rtt_ms: got %v, want null", *recs[0].RTTMS)
				}
				l.send(reply("r1", 200, 200), reply("r2", 200)) // the first is late
				l.end()
				if got, want := summary(records(t, l.out.String())[2:]), "c 200 ok"; got != want {
					t.Errorf("then: got %q, want %q", got, want)
				}
				if want := (Counts{Batches: 2, Tasks: 3, Answered: 1, TimedOut: 1, Unmatched: 1}); l.counts != want {
					t.Errorf("counts: got %+v, want %+v", l.counts, want)
				}
			})
		})
	}
}

// blocking is a writer that a test holds up.
type blocking struct {
	io.Writer
	gate chan struct{} // closed: open
}

func (b *blocking) Write(p []byte) (int, error) {
	<-b.gate
	return b.Writer.Write(p)
}

// TestBlockedOutputIsNoTimeout blocks the output, as Ctrl-S does, for longer
// than the bound, while the replies arrive in time.
func TestBlockedOutputIsNoTimeout(t *testing.T) {
	for range 20 { // the order of a select is chance
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			l := start(t, func(w io.Writer) io.Writer { return &blocking{w, gate} }, Options{})
			l.send(request("r1", item(eureka.ActionRegister, "a", 1)), request("r2", item(eureka.ActionRegister, "b", 1)))
			l.send(reply("r2", 200)) // its line is held up
			l.send(reply("r1", 200))
			time.Sleep(DefaultTimeout + time.Second)
			close(gate)
			synctest.Wait()
			l.end()
			if got, want := summary(records(t, l.out.String())), "b 200 ok, a 200 ok"; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		})
	}
}

func TestWaitingIsBounded(t *testing.T) {
	big := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name string
		opts Options
		ids  []string
		want string // ends of ids, printed before any reply
	}{
		{"by batches, at the bound", Options{MaxWaiting: 3}, []string{"1", "2", "3"}, ""},
		{"by batches, beyond", Options{MaxWaiting: 3}, []string{"1", "2", "3", "4", "5"}, "1 - unanswered, 2 - unanswered"},
		{"by bytes, at the bound", Options{MaxWaitingBytes: 4000}, []string{big + "1", big + "2"}, ""},
		{"by bytes, beyond", Options{MaxWaitingBytes: 4000}, []string{big + "1", big + "2", big + "3"}, "1 - unanswered"},
		{"one may always wait", Options{MaxWaitingBytes: 1}, []string{"1", "2"}, "1 - unanswered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := start(t, nil, tt.opts)
				for i, id := range tt.ids {
					l.send(request(fmt.Sprint("r", i), item(eureka.ActionRegister, id, 1)))
				}
				got := strings.ReplaceAll(summary(records(t, l.out.String())), big, "")
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				l.end()
				if got, want := l.counts.Unanswered, uint64(len(tt.ids)); got != want {
					t.Errorf("Unanswered at the end: got %d, want %d", got, want)
				}
				if got := len(records(t, l.out.String())); got != len(tt.ids) {
					t.Errorf("lines at the end: got %d, want %d, one for each task", got, len(tt.ids))
				}
			})
		})
	}
}

func TestFilter(t *testing.T) {
	other := request("r3", item(eureka.ActionRegister, "c", 1))
	other.From, other.To = "node-3", "node-4"
	to := request("r2", item(eureka.ActionRegister, "b", 1))
	to.From, to.To = "node-3", "node-1"
	recs, counts := run(t, Options{Node: "node-1"},
		request("r1", item(eureka.ActionRegister, "a", 1)), to, other,
		reply("r1", 200), reply("r3", 200), reply("r2", 200))
	if got, want := summary(recs), "a 200 ok, b 200 ok"; got != want {
		t.Errorf("got %q, want %q: from node-1, and to it", got, want)
	}
	if want := (Counts{Batches: 2, Tasks: 2, Answered: 2, Filtered: 1, Unmatched: 1}); counts != want {
		t.Errorf("counts: got %+v, want %+v", counts, want)
	}
}

func TestNotPaired(t *testing.T) {
	one := request("r", item(eureka.ActionRegister, "a", 1))
	nowhere := request("", item(eureka.ActionRegister, "b", 1))
	without := item(eureka.ActionRegister, "plain", 1)
	without.State = nil
	for _, tt := range []struct {
		name     string
		messages []Message
		want     string
		counts   Counts
	}{
		{"a reply alone", []Message{reply("r", 200)}, "", Counts{Unmatched: 1}},
		{"a reply before its request", []Message{reply("r", 200), one}, "a 200 ok", Counts{Batches: 1, Tasks: 1, Answered: 1}},
		{"and another one after it", []Message{reply("r", 200), one, reply("r", 404)}, "a 200 ok", Counts{Batches: 1, Tasks: 1, Answered: 1, Unmatched: 1}},
		{"another's reply before", []Message{reply("q", 200), one}, "a - unanswered", Counts{Batches: 1, Tasks: 1, Unmatched: 1, Unanswered: 1}},
		{"two replies", []Message{one, reply("r", 200), reply("r", 404)}, "a 200 ok", Counts{Batches: 1, Tasks: 1, Answered: 1, Unmatched: 1}},
		{"seen twice", []Message{one, one, reply("r", 200)}, "a 200 ok", Counts{Batches: 1, Tasks: 1, Answered: 1, Duplicates: 1}},
		{"no reply expected", []Message{nowhere, nowhere}, "b - not_expected, b - not_expected", Counts{Batches: 2, Tasks: 2, NotExpected: 2}},
		{"an empty batch", []Message{request("r"), reply("r")}, "", Counts{Batches: 1, Unmatched: 1}},
		{"no member registryd", []Message{request("r", without), reply("r", 400)}, "plain 400 malformed", Counts{Batches: 1, Tasks: 1, Answered: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			recs, counts := run(t, Options{}, tt.messages...)
			if got := summary(recs); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if counts != tt.counts {
				t.Errorf("counts: got %+v, want %+v", counts, tt.counts)
			}
		})
	}
}

// TestEarlyReplies: the replies that are kept for later requests are bounded.
func TestEarlyReplies(t *testing.T) {
	one := request("r", item(eureka.ActionRegister, "a", 1))
	others := func(n, size int) []Message {
		out := make([]Message, n)
		for i := range out {
			out[i] = reply(fmt.Sprint("other-", i), 200)
			out[i].Body = append(out[i].Body, bytes.Repeat([]byte{' '}, size)...)
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		after []Message // the reply, before the request
		want  string
	}{
		{"as many as there may be", others(maxEarly-1, 0), "a 200 ok"},
		{"one more", others(maxEarly, 0), "a - unanswered"},
		{"as much as there may be", others(3, maxEarlyBytes/4), "a 200 ok"},
		{"more", others(4, maxEarlyBytes/4), "a - unanswered"},
		{"one that is too large itself", others(1, maxEarlyBytes), "a 200 ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			messages := append([]Message{reply("r", 200)}, tt.after...)
			recs, _ := run(t, Options{}, append(messages, one)...)
			if got := summary(recs); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name string
		age  time.Duration
		kept bool
	}{{"at the bound", maxEarlyAge, true}, {"beyond it", maxEarlyAge + 1, false}} {
		e, now := newEarly(), time.Now()
		e.keep(reply("r", 200), now)
		if _, ok := e.take("r", now.Add(tt.age)); ok != tt.kept {
			t.Errorf("%s: kept %t, want %t", tt.name, ok, tt.kept)
		}
		if _, again := e.take("r", now); again || e.bytes != 0 {
			t.Errorf("%s: taken twice %t, %d bytes left", tt.name, again, e.bytes)
		}
	}
}

func TestForeign(t *testing.T) {
	one := request("r", item(eureka.ActionRegister, "a", 1))
	// The answer of a stream over all subjects.
	stream := Message{Kind: Reply, Subject: "r", Body: []byte(`{"stream":"ALL","seq":17}`)}
	var log buffer
	opts := Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))}
	messages := []Message{{Kind: 9}, one, stream, reply("r", 200)}
	for range 98 {
		messages = append(messages, Message{Kind: Request, Reply: "q", Body: []byte("hello \xff" + strings.Repeat("x", 1000))})
	}
	recs, counts := run(t, opts, messages...)
	if got, want := summary(recs), "a 200 ok"; got != want {
		t.Errorf("got %q, want %q: a message that is no reply must settle nothing", got, want)
	}
	if want := (Counts{Batches: 1, Tasks: 1, Answered: 1, Foreign: 100}); counts != want {
		t.Errorf("counts: got %+v, want %+v", counts, want)
	}
	var counted []string
	for text := range strings.Lines(log.String()) {
		var entry struct {
			Count  int    `json:"count"`
			Sample string `json:"sample"`
		}
		if err := json.Unmarshal([]byte(text), &entry); err != nil {
			t.Fatal(err)
		}
		counted = append(counted, fmt.Sprint(entry.Count))
		if len(entry.Sample) > sampleLen+len("\uFFFD") {
			t.Errorf("a sample of %d bytes, want at most %d", len(entry.Sample), sampleLen)
		}
	}
	if got, want := strings.Join(counted, " "), "1 10 100"; got != want {
		t.Errorf("logged counts: got %s, want %s", got, want)
	}
}

// TestEnds covers each way in which Run ends with a batch that waits.
func TestEnds(t *testing.T) {
	lost := errors.New("connection lost")
	for _, tt := range []struct {
		name string
		end  func(*live)
		want error
	}{
		{"context", func(l *live) { l.stop() }, nil},
		{"source", func(l *live) { close(l.src.ch) }, nil},
		{"source fails", func(l *live) { l.src.err = lost; close(l.src.ch) }, lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := start(t, nil, Options{})
				l.send(request("r1", item(eureka.ActionRegister, "a", 1)), request("r2", item(eureka.ActionRegister, "b", 1)))
				tt.end(l)
				<-l.done
				l.stop()
				if !errors.Is(l.err, tt.want) || (tt.want == nil && l.err != nil) {
					t.Errorf("Run: got error %v, want %v", l.err, tt.want)
				}
				if got, want := summary(records(t, l.out.String())), "a - unanswered, b - unanswered"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if want := (Counts{Batches: 2, Tasks: 2, Unanswered: 2}); l.counts != want {
					t.Errorf("counts: got %+v, want %+v", l.counts, want)
				}
			})
		})
	}
}

// broken is a writer whose reader has gone.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestWriterFails(t *testing.T) {
	gone := errors.New("broken pipe")
	for _, tt := range []struct {
		name string
		end  func(*live)
	}{
		{"at a line", func(l *live) { l.send(reply("r", 200)) }},
		{"at a time-out", func(*live) { time.Sleep(DefaultTimeout) }},
		{"at the end", func(l *live) { close(l.src.ch) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := start(t, func(io.Writer) io.Writer { return broken{gone} }, Options{})
				l.send(request("r", item(eureka.ActionRegister, "a", 1)))
				tt.end(l)
				<-l.done // and the bubble sees that the source was stopped
				l.stop()
				if !errors.Is(l.err, gone) {
					t.Errorf("Run: got %v, want %v", l.err, gone)
				}
			})
		})
	}
}

func TestRunOnce(t *testing.T) {
	src := newSource()
	close(src.ch)
	tailer, err := New(src, io.Discard, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tailer.Run(t.Context()); err != nil {
		t.Errorf("first: %v", err)
	}
	if _, err := tailer.Run(t.Context()); !errors.Is(err, ErrRunning) {
		t.Errorf("second: got %v, want %v", err, ErrRunning)
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(newSource(), io.Discard, Options{Timeout: -1, MaxWaiting: -2, MaxWaitingBytes: -3})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"Timeout", "MaxWaiting is -2", "MaxWaitingBytes is -3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %s", err, want)
		}
	}
}
