package broker_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func TestPublishSubscribe(t *testing.T) {
	server := natstest.TCP(t)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	heard := make(chan broker.Message, 10)
	sub, err := b.Subscribe(b.Subjects().AllPresence(), func(m broker.Message) { heard <- m })
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{a.Subjects().Presence("a"), a.Subjects().PresenceAsk()} {
		if err := a.Publish(subject, []byte("body")); err != nil {
			t.Fatal(err)
		}
		m := <-heard
		if m.Subject != subject || string(m.Body) != "body" || m.Reply != "" || m.Received.IsZero() {
			t.Errorf("heard %+v, want %q", m, subject)
		}
		if !m.Ours() || m.Get(broker.HeaderVersion) != "1" || m.Failed() != nil {
			t.Errorf("version %q, failed %v", m.Get(broker.HeaderVersion), m.Failed())
		}
	}
	sub.Unsubscribe()
	sub.Unsubscribe()
	if err := a.Publish(a.Subjects().Presence("a"), nil); err != nil {
		t.Fatal(err)
	}
	// A second subscription receives it, so the first one would have by then.
	other := make(chan broker.Message, 1)
	if _, err := b.Subscribe("other", func(m broker.Message) { other <- m }); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish("other", nil); err != nil {
		t.Fatal(err)
	}
	<-other
	if len(heard) != 0 {
		t.Errorf("heard %+v after Unsubscribe", <-heard)
	}
	if got := a.Count("published_messages_total", "sent"); got != 4 {
		t.Errorf("published %d, want 4", got)
	}
	if got := b.Count("received_messages_total", "accepted"); got != 3 {
		t.Errorf("received %d, want 3", got)
	}
}

// A handler gets no message of another protocol version, and of each node that sends such one line in the log tells.
func TestSubscribeVersions(t *testing.T) {
	server := natstest.TCP(t)
	var lines lockedBuffer
	a := natstest.Start(t, broker.Options{
		Node: "a", Access: broker.Access{Server: server}, Logger: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	heard := make(chan string, 10)
	if _, err := a.Subscribe(a.Subjects().AllPresence(), func(m broker.Message) { heard <- m.Subject }); err != nil {
		t.Fatal(err)
	}
	nc := stranger(t, server)
	for _, m := range []struct{ node, version string }{
		{"b", "2"}, {"c", ""}, {"b", "2"}, {"ask", "2"}, {"ask", ""}, {"d", "x"}, {"e", "1"},
	} {
		msg := &nats.Msg{Subject: a.Subjects().Presence(m.node), Header: nats.Header{}}
		if m.version != "" {
			msg.Header.Set(broker.HeaderVersion, m.version)
		}
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-heard; got != a.Subjects().Presence("e") || len(heard) > 0 {
		t.Errorf("heard %q first, want that of e alone", got)
	}
	for outcome, want := range map[string]int{"version": 4, "foreign": 2, "accepted": 1} {
		if got := a.Count("received_messages_total", outcome); got != want {
			t.Errorf("%d counted as %s, want %d", got, outcome, want)
		}
	}
	for _, peer := range []string{"b", "d", a.Subjects().PresenceAsk()} {
		if got := strings.Count(lines.String(), "peer="+peer+" "); got != 1 {
			t.Errorf("%d lines on %s, want 1:\n%s", got, peer, lines.String())
		}
	}
}

func TestUnsubscribeFromCallback(t *testing.T) {
	b := natstest.Node(t, natstest.TCP(t), "b")
	var sub atomic.Pointer[broker.Subscription]
	ready, done := make(chan struct{}), make(chan struct{})
	s, err := b.Subscribe("x", func(broker.Message) {
		<-ready
		sub.Load().Unsubscribe()
		close(done) // Panics if it is called again.
	})
	if err != nil {
		t.Fatal(err)
	}
	sub.Store(s)
	close(ready)
	for range 10 {
		if err := b.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
	}
	<-done
}

func TestBadSubjects(t *testing.T) {
	b := natstest.Node(t, natstest.TCP(t), "b")
	for _, subject := range []string{"", "a b", "a\r\nb"} {
		if err := b.Publish(subject, nil); err == nil {
			t.Errorf("published on %q", subject)
		}
		if _, err := b.Subscribe(subject, func(broker.Message) {}); err == nil {
			t.Errorf("subscribed to %q", subject)
		}
	}
	if mustBeUp := b.Connected(); !mustBeUp {
		t.Error("a bad subject cost the connection")
	}
}

func TestMessageFailed(t *testing.T) {
	server := natstest.TCP(t)
	w := watch(t, broker.WatchOptions{Access: broker.Access{URLs: []string{natstest.URL(server)}}})
	nc := stranger(t, server)
	tests := []struct {
		name   string
		header nats.Header
		want   *broker.RemoteError
		ours   bool
	}{
		{"plain", nil, nil, false},
		{"ours", nats.Header{"Registry-Version": {"1"}}, nil, true},
		{"busy", nats.Header{"Registry-Version": {"1"}, "Nats-Service-Error-Code": {"503"}, "Nats-Service-Error": {"full"}}, &broker.RemoteError{Code: 503, Text: "full"}, true},
		{"code is no number", nats.Header{"Nats-Service-Error-Code": {"x"}, "Nats-Service-Error": {"y"}}, &broker.RemoteError{Text: "y"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := nc.PublishMsg(&nats.Msg{Subject: "registry.test.reply.a.x", Reply: "back", Header: test.header}); err != nil {
				t.Fatal(err)
			}
			m := next(t, w)
			got := m.Failed()
			if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("failed: %+v, want %+v", got, test.want)
			}
			if m.Ours() != test.ours || m.Reply != "back" {
				t.Errorf("ours %v, reply %q", m.Ours(), m.Reply)
			}
		})
	}
}
