package broker_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

// stock is a NATS server whose options can be changed while it runs.
type stock struct {
	server *natsserver.Server
	port   int
}

func startStock(t *testing.T, change func(*natsserver.Options)) *stock {
	t.Helper()
	s := &stock{port: natsserver.RANDOM_PORT}
	server, err := natsserver.NewServer(s.options(change))
	if err != nil {
		t.Fatal(err)
	}
	s.server = server
	server.Start()
	t.Cleanup(func() {
		server.Shutdown()
		server.WaitForShutdown()
	})
	if !server.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	s.port = s.options(change).Port
	return s
}

func (s *stock) options(change func(*natsserver.Options)) *natsserver.Options {
	o := &natsserver.Options{Host: "127.0.0.1", Port: s.port, NoSigs: true, NoLog: true}
	change(o)
	return o
}

func (s *stock) reload(t *testing.T, change func(*natsserver.Options)) {
	t.Helper()
	if err := s.server.ReloadOptions(s.options(change)); err != nil {
		t.Fatal(err)
	}
}

// users are a, from whom subjects are taken, and b.
func users(subscribe, publish []string) func(*natsserver.Options) {
	return func(o *natsserver.Options) {
		o.Users = []*natsserver.User{
			{Username: "a", Password: "p", Permissions: &natsserver.Permissions{
				Subscribe: &natsserver.SubjectPermission{Allow: []string{">"}, Deny: subscribe},
				Publish:   &natsserver.SubjectPermission{Allow: []string{">"}, Deny: publish},
			}},
			{Username: "b", Password: "p"},
		}
	}
}

func (s *stock) access(user string) broker.Access {
	return broker.Access{URLs: []string{fmt.Sprintf("nats://%s:p@%s", user, s.server.Addr())}}
}

// What a reload of the broker takes away is named, and asked for until it is given back; then it works.
func TestDenied(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	s := startStock(t, users(nil, nil))
	a := natstest.Start(t, broker.Options{Node: "a", Access: s.access("a")})
	b := natstest.Start(t, broker.Options{Node: "b", Access: s.access("b")})
	serve(t, a, echo(t))
	serve(t, b, echo(t))
	heard := make(chan string, 1000)
	if _, err := a.Subscribe(a.Subjects().AllPresence(), func(m broker.Message) { heard <- m.Subject }); err != nil {
		t.Fatal(err)
	}
	mustAsk(t, b, "a", "before")
	since := a.State().Since

	batches, replies, presence := a.Subjects().Batch("a", "*"), a.Subjects().ReplyPrefix("a")+".>", a.Subjects().AllPresence()
	own := a.Subjects().Presence("a")
	s.reload(t, users([]string{batches, replies, presence, "$SRV.PING"}, []string{own}))
	want := []broker.Denial{
		{Op: broker.OpPublish, Subject: own, Kind: broker.DeniedPermission},
		{Op: broker.OpSubscribe, Subject: "$SRV.PING", Kind: broker.DeniedPermission},
		{Op: broker.OpSubscribe, Subject: batches, Kind: broker.DeniedPermission},
		{Op: broker.OpSubscribe, Subject: presence, Kind: broker.DeniedPermission},
		{Op: broker.OpSubscribe, Subject: replies, Kind: broker.DeniedPermission},
	}
	announce := func() {
		if err := a.Publish(own, nil); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all refusals are known", func() bool {
		announce()
		return slices.Equal(a.Denied(), want)
	})
	if b.Denied() != nil {
		t.Errorf("b: %v, want nothing", b.Denied())
	}
	_, err := ask(within(t, time.Second), b, "a", "x")
	wantError(t, err, broker.ErrAbsent)
	// They stay on the list while they last, though the broker is asked again and again.
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		announce()
		if got := a.Denied(); !slices.Equal(got, want) {
			t.Fatalf("denied: %v, want %v", got, want)
		}
	}

	s.reload(t, users(nil, nil))
	given := time.Now()
	eventually(t, "nothing is denied", func() bool {
		announce()
		return a.Denied() == nil
	})
	if took := time.Since(given); took > 8*time.Second {
		t.Errorf("whole again after %s", took)
	}
	mustAsk(t, b, "a", "after")
	mustAsk(t, a, "b", "after")
	for len(heard) > 0 {
		<-heard
	}
	announce()
	if got := <-heard; got != own {
		t.Errorf("heard %q, want its own presence", got)
	}
	if a.State().Since != since {
		t.Error("it took another connection")
	}
}

// What nobody publishes again is probed for, so that a permission given back is noticed. Nobody sees the probes.
func TestDeniedPublishIsProbed(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	s := startStock(t, users(nil, nil))
	a := natstest.Start(t, broker.Options{Node: "a", Access: s.access("a")})
	b := natstest.Start(t, broker.Options{Node: "b", Access: s.access("b")})
	var handled, asked atomic.Int32
	serve(t, b, func(r *broker.Request) { handled.Add(1) })
	if _, err := b.Subscribe(b.Subjects().PresenceAsk(), func(broker.Message) { asked.Add(1) }); err != nil {
		t.Fatal(err)
	}
	w, err := broker.Watch(t.Context(), broker.WatchOptions{Access: s.access("b"), Cluster: "default"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		//nolint:usetesting // A clean-up outlives the test's context.
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	batch, question := a.Subjects().Batch("b", "a"), a.Subjects().PresenceAsk()
	s.reload(t, users(nil, []string{batch, question}))
	for _, subject := range []string{batch, question} {
		if err := a.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are refused", func() bool { return len(a.Denied()) == 2 })
	s.reload(t, users(nil, nil))
	eventually(t, "nothing is denied", func() bool { return a.Denied() == nil })
	if handled.Load() != 0 || asked.Load() != 0 || w.Stats().Received != 0 {
		t.Errorf("%d requests, %d questions, %d batches seen, want none", handled.Load(), asked.Load(), w.Stats().Received)
	}
}

// A broker with too few subscriptions for a node says so, but not which it has refused.
func TestDeniedLimit(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	limit := func(n int) func(*natsserver.Options) { return func(o *natsserver.Options) { o.MaxSubs = n } }
	s := startStock(t, limit(2))
	access := broker.Access{URLs: []string{"nats://" + s.server.Addr().String()}}
	a := natstest.Start(t, broker.Options{Node: "a", Access: access})
	heard := make(chan string, 10)
	var subs []*broker.Subscription
	for _, subject := range []string{"first", "second"} { // Beside the replies.
		sub, err := a.Subscribe(subject, func(m broker.Message) { heard <- m.Subject })
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	want := []broker.Denial{{Op: broker.OpSubscribe, Subject: "second", Kind: broker.DeniedLimit}}
	eventually(t, "the refused subscription is known", func() bool { return slices.Equal(a.Denied(), want) })
	subs[0].Unsubscribe()
	eventually(t, "it takes the place of another", func() bool { return a.Denied() == nil })
	if err := a.Publish("second", nil); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "second" {
		t.Errorf("heard on %q", got)
	}
}
