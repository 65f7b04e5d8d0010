package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func TestRequest(t *testing.T) {
	server := natstest.TCP(t)
	tests := []struct {
		name   string
		access broker.Access
	}{
		{"in process", broker.Access{Server: server}},
		{"tcp", broker.Access{URLs: []string{natstest.URL(server)}}},
		{"tcp, host:port", broker.Access{URLs: []string{server.Address()}}},
		{"tcp, the first server is away", broker.Access{URLs: []string{"nats://" + natstest.FreeAddress(t), natstest.URL(server)}}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cluster := fmt.Sprintf("c%d", i)
			a := natstest.Start(t, broker.Options{Cluster: cluster, Node: "a", Access: test.access})
			b := natstest.Start(t, broker.Options{Cluster: cluster, Node: "b", Access: test.access})
			if !a.Connected() || !b.Connected() {
				t.Fatalf("connected: %v and %v, want both", a.Connected(), b.Connected())
			}
			got := make(chan *broker.Request, 1)
			serve(t, b, func(r *broker.Request) {
				got <- r
				echo(t)(r)
			})
			before := time.Now()
			if reply := mustAsk(t, a, "b", "hello"); reply != "a:hello" {
				t.Errorf("reply %q, want %q", reply, "a:hello")
			}
			r := <-got
			if r.From != "a" || r.Batch != batchID || string(r.Body) != "hello" {
				t.Errorf("request from %q, batch %q, body %q", r.From, r.Batch, r.Body)
			}
			if r.Received.Before(before) || r.Received.After(time.Now()) {
				t.Errorf("received at %v, want after %v and before now", r.Received, before)
			}
			if got := a.Count("requests_total", "answered"); got != 1 || a.Count("requests_total") != 1 {
				t.Errorf("%d requests answered, want 1", got)
			}
			eventually(t, "the answer is counted", func() bool { return b.Count("answers_total", "responded") == 1 })
			if got := b.Count("received_requests_total", "accepted"); got != 1 {
				t.Errorf("%d requests received, want 1", got)
			}
		})
	}
}

// What is on the wire is part of the design: any NATS tool may read it.
func TestRequestOnTheWire(t *testing.T) {
	server := natstest.TCP(t)
	nc := stranger(t, server)
	all, err := nc.SubscribeSync("registry.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	serve(t, b, func(r *broker.Request) {
		if err := r.Fail(broker.CodeBusy, "lane\r\nfull"); err != nil {
			t.Errorf("fail: %v", err)
		}
	})
	_, err = a.Request(t.Context(), a.Subjects().Batch("b", "a"),
		broker.Header{Batch: batchID}, []byte("{}"))
	wantError(t, err, broker.ErrBusy)

	request, err := all.NextMsgWithContext(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := all.NextMsgWithContext(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if request.Subject != "registry.test.peer.b.batch.a" || !strings.HasPrefix(request.Reply, "registry.test.reply.a.") {
		t.Errorf("request on %q, reply to %q", request.Subject, request.Reply)
	}
	if reply.Subject != request.Reply {
		t.Errorf("reply on %q, want %q", reply.Subject, request.Reply)
	}
	for _, want := range []struct {
		msg         *nats.Msg
		name, value string
	}{
		{request, "Registry-Batch", batchID},
		{request, "Registry-Version", "1"},
		{reply, "Registry-Batch", batchID},
		{reply, "Registry-Version", "1"},
		{reply, "Nats-Service-Error-Code", "503"},
		{reply, "Nats-Service-Error", "lane  full"},
	} {
		if got := want.msg.Header.Get(want.name); got != want.value {
			t.Errorf("%s on %s is %q, want %q", want.name, want.msg.Subject, got, want.value)
		}
	}
}

func TestRequestErrors(t *testing.T) {
	server := natstest.TCP(t)
	b := natstest.Node(t, server, "b")
	serve(t, b, func(r *broker.Request) {
		var err error
		switch string(r.Body) {
		case "400":
			err = r.Fail(broker.CodeMalformed, "no json")
		case "503":
			err = r.Fail(broker.CodeBusy, "lane full")
		case "500":
			err = r.Fail(500, strings.Repeat("x", 600))
		case "empty":
			err = r.Fail(500, "")
		case "silence":
		default:
			err = r.Respond(nil)
		}
		if err != nil {
			t.Errorf("answer %q: %v", r.Body, err)
		}
	})
	tests := []struct {
		name    string
		to      string
		body    string
		timeout time.Duration
		want    error
		text    string
		outcome string
	}{
		{"answered with nothing", "b", "", patience, nil, "", "answered"},
		{"malformed", "b", "400", patience, broker.ErrMalformed, "400 no json", "malformed"},
		{"busy", "b", "503", patience, broker.ErrBusy, "503 lane full", "busy"},
		{"other code", "b", "500", patience, broker.ErrRemote, "500 " + strings.Repeat("x", 512), "remote"},
		{"no text", "b", "empty", patience, broker.ErrRemote, "500 no reason given", "remote"},
		{"never answered", "b", "silence", 50 * time.Millisecond, broker.ErrTimeout, "", "timeout"},
		{"absent", "nobody", "", patience, broker.ErrAbsent, "", "absent"},
		{"no time left", "b", "", -time.Second, broker.ErrTimeout, "", "timeout"},
		{"too large", "b", strings.Repeat("x", 1<<20), patience, broker.ErrTooLarge, "at most 1048576", "too_large"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := natstest.Node(t, server, fmt.Sprintf("a%d", i))
			start := time.Now()
			_, err := ask(within(t, test.timeout), a, test.to, test.body)
			wantError(t, err, test.want)
			if test.text != "" && !strings.HasSuffix(err.Error(), test.text) {
				t.Errorf("error %q, want it to end in %q", err, test.text)
			}
			if !errors.Is(test.want, broker.ErrTimeout) && time.Since(start) > patience/2 {
				t.Errorf("took %s", time.Since(start))
			}
			if got, all := a.Count("requests_total", test.outcome), a.Count("requests_total"); got != 1 || all != 1 || a.Count("waiting_requests") != 0 {
				t.Errorf("%d of %d requests counted as %s, want 1 of 1", got, all, test.outcome)
			}
		})
	}
}

func TestRequestCancelled(t *testing.T) {
	server := natstest.TCP(t)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	late := make(chan *broker.Request, 1)
	reason := errors.New("peer gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	serve(t, b, func(r *broker.Request) {
		cancel(reason)
		late <- r
	})
	_, err := ask(ctx, a, "b", "")
	wantError(t, err, reason)
	if cancelled, waiting := a.Count("requests_total", "cancelled"), a.Count("waiting_requests"); cancelled != 1 || waiting != 0 {
		t.Errorf("%d cancelled, %d waiting, want 1 and none", cancelled, waiting)
	}
	if err := (<-late).Respond(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the late reply is counted", func() bool { return a.Count("ignored_replies_total", "late") == 1 })
}

func TestRequestBound(t *testing.T) {
	server := natstest.TCP(t)
	a := natstest.Start(t, broker.Options{Node: "a", Access: broker.Access{Server: server}, MaxRequests: 2})
	b := natstest.Node(t, server, "b")
	held := make(chan *broker.Request, 2)
	serve(t, b, func(r *broker.Request) { held <- r })
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			if _, err := ask(within(t, patience), a, "b", ""); err != nil {
				t.Errorf("request: %v", err)
			}
		})
	}
	first, second := <-held, <-held
	_, err := ask(t.Context(), a, "b", "")
	wantError(t, err, broker.ErrTooMany)
	for _, r := range []*broker.Request{first, second} {
		if err := r.Respond(nil); err != nil {
			t.Errorf("respond: %v", err)
		}
	}
	asking.Wait()
	if many, answered := a.Count("requests_total", "too_many"), a.Count("requests_total", "answered"); many != 1 || answered != 2 {
		t.Errorf("%d refused, %d answered, want 1 and 2", many, answered)
	}
}

// Many at once: each gets its own answer.
func TestRequestsInParallel(t *testing.T) {
	server := natstest.TCP(t)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	requests := make(chan *broker.Request, 100)
	serve(t, b, func(r *broker.Request) { requests <- r })
	var answering, asking sync.WaitGroup
	for range 4 {
		answering.Go(func() {
			for r := range requests {
				echo(t)(r)
			}
		})
	}
	for i := range 100 {
		asking.Go(func() {
			body := fmt.Sprint(i)
			if reply, err := ask(within(t, patience), a, "b", body); err != nil || reply != "a:"+body {
				t.Errorf("request %d: %q, %v", i, reply, err)
			}
		})
	}
	asking.Wait()
	close(requests)
	answering.Wait()
}

// A reply's version comes before anything else in it.
func TestReplyVersions(t *testing.T) {
	tests := []struct {
		name    string
		header  nats.Header
		want    error
		foreign int
	}{
		{"ours", nats.Header{"Registry-Version": {"1"}}, nil, 0},
		{"newer", nats.Header{"Registry-Version": {"2"}}, broker.ErrVersion, 0},
		{"newer and failed", nats.Header{"Registry-Version": {"2"}, "Nats-Service-Error-Code": {"400"}}, broker.ErrVersion, 0},
		{"no number", nats.Header{"Registry-Version": {"one"}}, broker.ErrVersion, 0},
		{"not ours", nil, broker.ErrTimeout, 1},
		{"not ours, failed", nats.Header{"Nats-Service-Error-Code": {"503"}}, broker.ErrTimeout, 1},
		{"code is no number", nats.Header{"Registry-Version": {"1"}, "Nats-Service-Error-Code": {"x"}}, broker.ErrRemote, 0},
		{"text without code", nats.Header{"Registry-Version": {"1"}, "Nats-Service-Error": {"bad"}}, broker.ErrRemote, 0},
	}
	server := natstest.TCP(t)
	nc := stranger(t, server)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := natstest.Node(t, server, fmt.Sprintf("a%d", i))
			sub, err := nc.Subscribe(a.Subjects().Batch("b", a.Node()), func(msg *nats.Msg) {
				if err := msg.RespondMsg(&nats.Msg{Header: test.header, Data: []byte("x")}); err != nil {
					t.Errorf("respond: %v", err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Unsubscribe() //nolint:errcheck // The stranger's own.
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			_, err = ask(within(t, 300*time.Millisecond), a, "b", "")
			wantError(t, err, test.want)
			if got := a.Count("ignored_replies_total", "foreign"); got != test.foreign {
				t.Errorf("foreign replies %d, want %d", got, test.foreign)
			}
		})
	}
}

// With anybody on registry.>, an absent peer is no "no responders" any more: the trap that makes presence decide.
func TestAbsentWithTailer(t *testing.T) {
	server := natstest.TCP(t)
	nc := stranger(t, server)
	if _, err := nc.SubscribeSync("registry.>"); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	a := natstest.Node(t, server, "a")
	_, err := ask(within(t, 100*time.Millisecond), a, "nobody", "")
	wantError(t, err, broker.ErrTimeout)
}

// A user's stream over registry.> acknowledges each request on our reply subject, before the peer can answer.
func TestForeignReplies(t *testing.T) {
	server := natstest.JetStream(t)
	nc := stranger(t, server)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SPY", Subjects: []string{"registry.>"}})
	if err != nil {
		t.Fatal(err)
	}
	var lines lockedBuffer
	a := natstest.Start(t, broker.Options{
		Node: "a", Access: broker.Access{Server: server}, Logger: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	b := natstest.Node(t, server, "b")
	serve(t, b, func(r *broker.Request) {
		// The stream's answer is there first.
		eventually(t, "the stream has answered", func() bool { return fmt.Sprint(a.Count("ignored_replies_total", "foreign")) == string(r.Body) })
		echo(t)(r)
	})
	for i := 1; i <= 3; i++ {
		body := fmt.Sprint(i)
		if reply := mustAsk(t, a, "b", body); reply != "a:"+body {
			t.Errorf("reply %q, want the peer's own %q", reply, "a:"+body)
		}
	}
	if foreign, answered := a.Count("ignored_replies_total", "foreign"), a.Count("requests_total", "answered"); foreign != 3 || answered != 3 {
		t.Errorf("%d foreign replies, %d answered, want 3 of each", foreign, answered)
	}
	if got := strings.Count(lines.String(), "foreign_reply"); got != 1 || !strings.Contains(lines.String(), "stream=SPY") {
		t.Errorf("%d lines name the foreign reply, want one that names the stream:\n%s", got, lines.String())
	}
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
