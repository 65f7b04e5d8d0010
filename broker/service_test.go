package broker_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

// What `nats micro ls` and `nats micro stats registryd` ask for.
func TestMicroService(t *testing.T) {
	server := natstest.TCP(t)
	a := natstest.Node(t, server, "a")
	b := natstest.Start(t, broker.Options{Node: "b", Version: "1.2.3-rc.1+x", Access: broker.Access{Server: server}})
	handlers := broker.Handlers{Batch: echo(t), Sync: func(r *broker.Request) {
		if err := r.Respond([]byte("synced")); err != nil {
			t.Errorf("respond: %v", err)
		}
	}}
	if _, err := b.Serve(handlers); err != nil {
		t.Fatal(err)
	}
	mustAsk(t, a, "b", "x")
	reply, err := a.Request(t.Context(), a.Subjects().Sync("b", "a"), broker.Header{}, nil)
	if err != nil || string(reply) != "synced" {
		t.Errorf("sync: %q, %v", reply, err)
	}
	nc := stranger(t, server, nats.CustomInboxPrefix(a.Subjects().ReplyPrefix("a")))
	msg := &nats.Msg{Subject: a.Subjects().Batch("b", "a")} // Without a version: refused.
	if _, err := nc.RequestMsgWithContext(within(t, patience), msg); err != nil {
		t.Fatal(err)
	}

	var info micro.Info
	askMicro(t, nc, "$SRV.INFO", &info)
	if info.Name != "registryd" || info.Version != "1.2.3-rc.1+x" || info.Metadata["node"] != "b" || len(info.Endpoints) != 2 {
		t.Errorf("info: %+v", info)
	}
	got := map[string]micro.EndpointStats{}
	eventually(t, "three requests are in the statistics", func() bool { // They are counted after the answer.
		var stats micro.Stats
		askMicro(t, nc, "$SRV.STATS.registryd", &stats)
		requests := 0
		for _, endpoint := range stats.Endpoints {
			got[endpoint.Name] = *endpoint
			requests += endpoint.NumRequests
		}
		return requests == 3
	})
	batch, sync := got["batch"], got["sync"]
	if batch.Subject != "registry.test.peer.b.batch.*" || batch.NumRequests != 2 || batch.NumErrors != 1 || batch.QueueGroup != "" {
		t.Errorf("batch endpoint: %+v", batch)
	}
	if sync.Subject != "registry.test.peer.b.sync.*" || sync.NumRequests != 1 || sync.QueueGroup != "" {
		t.Errorf("sync endpoint: %+v", sync)
	}
}

// Any version of the program is one that micro services take.
func TestMicroVersion(t *testing.T) {
	server := natstest.TCP(t)
	nc := stranger(t, server)
	for version, want := range map[string]string{
		"": "0.0.0-x", "v1.2.3": "1.2.3", "1.2.3-rc.1+x": "1.2.3-rc.1+x", "(devel)": "0.0.0-xdevel", "v1.02.3": "0.0.0-xv1023",
		"v0.0.0-20261014143641-f0251eb4aa3e+dirty": "0.0.0-20261014143641-f0251eb4aa3e+dirty",
	} {
		b := natstest.Start(t, broker.Options{Node: "b", Version: version, Access: broker.Access{Server: server}})
		service := serve(t, b, echo(t))
		var info micro.Info
		askMicro(t, nc, "$SRV.INFO.registryd", &info)
		if info.Version != want {
			t.Errorf("version %q shows as %q, want %q", version, info.Version, want)
		}
		if err := service.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func askMicro(t *testing.T, nc *nats.Conn, subject string, into any) {
	t.Helper()
	reply, err := nc.RequestWithContext(within(t, patience), subject, nil)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := json.Unmarshal(reply.Data, into); err != nil {
		t.Fatalf("%s answered %q: %v", subject, reply.Data, err)
	}
}

func TestServeRefuses(t *testing.T) {
	server := natstest.TCP(t)
	b := natstest.Node(t, server, "b")
	serve(t, b, func(r *broker.Request) { t.Errorf("a handler got %+v", r) })
	nc := stranger(t, server, nats.CustomInboxPrefix("registry.test.reply.a"))
	ours := nats.Header{"Registry-Version": {"1"}, "Registry-Batch": {batchID}}
	tests := []struct {
		name    string
		subject string
		header  nats.Header
		text    string
	}{
		{"no version", "registry.test.peer.b.batch.a", nil, `Registry-Version is "", want 1`},
		{"newer version", "registry.test.peer.b.batch.a", nats.Header{"Registry-Version": {"2"}}, `Registry-Version is "2", want 1`},
		{"long batch id", "registry.test.peer.b.batch.a", nats.Header{"Registry-Version": {"1"}, "Registry-Batch": {strings.Repeat("b", 129)}}, "129 bytes"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply, err := nc.RequestMsgWithContext(within(t, patience), &nats.Msg{Subject: test.subject, Header: test.header})
			if err != nil {
				t.Fatal(err)
			}
			if got := reply.Header.Get("Nats-Service-Error-Code"); got != "400" {
				t.Errorf("code %q, want 400", got)
			}
			if got := reply.Header.Get("Nats-Service-Error"); !strings.Contains(got, test.text) {
				t.Errorf("text %q, want %q in it", got, test.text)
			}
			if got := reply.Header.Get("Registry-Version"); got != "1" {
				t.Errorf("the refusal's version is %q, want 1", got)
			}
			if got := b.Count("received_requests_total", "malformed"); got != i+1 {
				t.Errorf("rejected %d, want %d", got, i+1)
			}
		})
	}
	// Nobody is answered who did not ask by its own name, whatever a stranger writes.
	unasked, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	unanswerable := []struct{ sender, reply string }{
		{"a", ""},
		{"a", "elsewhere"},
		{"a", "registry.test.reply.c.token"},
		{"a", "registry.other.reply.a.token"},
		{"a", "registry.test.reply.a"},
		{"a", "registry.test.presence.b"},
		{"a:b", "registry.test.reply.a.token"},
		{"ask", "registry.test.reply.ask.token"},
	}
	for _, u := range unanswerable {
		for _, header := range []nats.Header{ours, nil} {
			msg := &nats.Msg{Subject: "registry.test.peer.b.batch." + u.sender, Reply: u.reply, Header: header}
			if err := nc.PublishMsg(msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := 2 * len(unanswerable)
	eventually(t, "the unanswerable ones are counted", func() bool { return b.Count("received_requests_total", "unanswerable") == want })
	if err := b.Publish("done", nil); err != nil { // Comes after all that b has said before.
		t.Fatal(err)
	}
	for {
		msg, err := unasked.NextMsgWithContext(within(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject == "done" {
			return
		}
		if msg.Header.Get("Nats-Service-Error-Code") != "" {
			t.Errorf("answered on %q", msg.Subject)
		}
	}
}

// Two nodes of one name have to find each other out; with NATS's default queue group they would share the batches.
func TestTwoOfOneName(t *testing.T) {
	server := natstest.TCP(t)
	a := natstest.Node(t, server, "a")
	var mu sync.Mutex
	got := map[string]int{}
	for _, twin := range []string{"first", "second"} {
		serve(t, natstest.Node(t, server, "b"), func(r *broker.Request) {
			mu.Lock()
			got[twin]++
			mu.Unlock()
			if err := r.Respond(nil); err != nil {
				t.Errorf("respond: %v", err)
			}
		})
	}
	const requests = 20
	for range requests {
		mustAsk(t, a, "b", "x")
	}
	eventually(t, "both got all", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return got["first"] == requests && got["second"] == requests
	})
	eventually(t, "the second replies are counted late", func() bool { return a.Count("ignored_replies_total", "late") == requests })
}

func TestAnswerOnce(t *testing.T) {
	server := natstest.TCP(t)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	again := make(chan error, 2)
	serve(t, b, func(r *broker.Request) {
		if err := r.Respond([]byte("first")); err != nil {
			t.Errorf("respond: %v", err)
		}
		again <- r.Respond([]byte("second"))
		again <- r.Fail(500, "third")
	})
	if got := mustAsk(t, a, "b", ""); got != "first" {
		t.Errorf("reply %q, want %q", got, "first")
	}
	wantError(t, <-again, broker.ErrAnswered)
	wantError(t, <-again, broker.ErrAnswered)
	if responded, failed := b.Count("answers_total", "responded"), b.Count("answers_total", "failed"); responded != 1 || failed != 0 {
		t.Errorf("%d responded, %d failed, want 1 and none", responded, failed)
	}
}

func TestServiceStop(t *testing.T) {
	server := natstest.TCP(t)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	running, finish := make(chan struct{}), make(chan struct{})
	service := serve(t, b, func(r *broker.Request) {
		close(running) // Panics if a second one gets in.
		<-finish
		echo(t)(r)
	})
	arrived := make(chan struct{}, 2)
	spy, err := b.Subscribe(a.Subjects().AllBatches(), func(broker.Message) { arrived <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() {
		_, err := ask(within(t, patience), a, "b", "")
		first <- err
	}()
	<-running
	second := make(chan error, 1)
	go func() {
		_, err := ask(within(t, patience), a, "b", "")
		second <- err
	}()
	// Both are at b. The NATS server hands a message to one subscription after the other, on the sender's goroutine, so
	// only once the sender has been there and back has the endpoint got them too.
	<-arrived
	<-arrived
	spy.Unsubscribe()
	if _, err := a.Subscribe("there.and.back", func(broker.Message) {}); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantError(t, service.Stop(ctx), context.DeadlineExceeded) // The handler runs still.
	close(finish)
	if err := service.Stop(within(t, patience)); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("the request that was being handled: %v", err)
	}
	wantError(t, <-second, broker.ErrBusy)
	_, err = ask(within(t, patience), a, "b", "")
	wantError(t, err, broker.ErrAbsent)
	if accepted, stopping := b.Count("received_requests_total", "accepted"), b.Count("received_requests_total", "stopping"); accepted != 1 || stopping != 1 {
		t.Errorf("%d accepted, %d refused, want 1 of each", accepted, stopping)
	}

	serve(t, b, echo(t)) // It may begin again.
	if got := mustAsk(t, a, "b", "x"); got != "a:x" {
		t.Errorf("reply %q", got)
	}
}

// Stopping a service inside a bubble uses the NATS client's pooled timers; two bubbles in a row must not share them.
func TestBubbleServiceStop(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			server := natstest.Bubble(t)
			a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
			service := serve(t, b, echo(t))
			mustAsk(t, a, "b", "x")
			if err := service.Stop(within(t, patience)); err != nil {
				t.Errorf("stop: %v", err)
			}
			_, err := ask(t.Context(), a, "b", "x")
			wantError(t, err, broker.ErrAbsent)
		})
	}
}

// Close waits for what is still going on, and for nothing else.
func TestBubbleCloseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.Bubble(t)
		b := natstest.Node(t, server, "b")
		if _, err := b.Serve(broker.Handlers{Batch: echo(t), Sync: echo(t)}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Subscribe(b.Subjects().AllPresence(), func(broker.Message) {}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("close took %s of fake time, want none", took)
		}
	})
}
