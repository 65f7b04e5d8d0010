package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func TestBubbleRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.Bubble(t)
		if got := server.Address(); got != "" {
			t.Errorf("address %q, want none", got)
		}
		a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
		answer := make(chan *broker.Request, 10)
		serve(t, b, func(r *broker.Request) { answer <- r })
		go func() {
			r := <-answer
			time.Sleep(1999 * time.Millisecond) // Fake time.
			echo(t)(r)
		}()
		start := time.Now()
		reply, err := ask(t.Context(), a, "b", "x") // The default time-out is 2 s.
		if err != nil || reply != "a:x" || time.Since(start) != 1999*time.Millisecond {
			t.Errorf("got %q, %v after %s, want an answer after 1.999s", reply, err, time.Since(start))
		}

		start = time.Now()
		_, err = ask(t.Context(), a, "b", "x")
		wantError(t, err, broker.ErrTimeout)
		if got := time.Since(start); got != 2*time.Second {
			t.Errorf("timed out after %s, want 2s", got)
		}

		start = time.Now()
		_, err = ask(within(t, 700*time.Millisecond), a, "b", "x")
		wantError(t, err, broker.ErrTimeout)
		if got := time.Since(start); got != 700*time.Millisecond {
			t.Errorf("timed out after %s, want 700ms", got)
		}

		start = time.Now()
		_, err = ask(t.Context(), a, "nobody", "x")
		wantError(t, err, broker.ErrAbsent)
		if got := time.Since(start); got != 0 {
			t.Errorf("absent after %s, want at once", got)
		}
	})
}

func TestBubbleServerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.Bubble(t)
		a := natstest.Node(t, server, "a")
		server.Shutdown()
		synctest.Wait()
		if a.Connected() {
			t.Error("connected to a server that is gone")
		}
		_, err := ask(t.Context(), a, "b", "")
		wantError(t, err, broker.ErrDisconnected)
		time.Sleep(time.Hour) // Fake time: it tries on, and blocks nothing.
		if failed := a.Count("connect_attempts_total", "failed"); a.Count("disconnects_total") != 1 || failed < 1800 || failed > 3700 {
			t.Errorf("%d attempts failed, want one each one to two seconds", failed)
		}
	})
}

// Three nodes, ten fake minutes of presence: the price of a simulated cluster.
func TestBubblePresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.Bubble(t)
		const nodes, seconds = 3, 600
		brokers := make([]*broker.Broker, nodes)
		for i := range brokers {
			brokers[i] = natstest.Node(t, server, fmt.Sprintf("n%d", i))
			if _, err := brokers[i].Subscribe(brokers[i].Subjects().AllPresence(), func(broker.Message) {}); err != nil {
				t.Fatal(err)
			}
		}
		for range seconds {
			for _, b := range brokers {
				if err := b.Publish(b.Subjects().Presence(b.Node()), nil); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second) // Fake time.
		}
		for _, b := range brokers {
			if got := b.Count("received_messages_total", "accepted"); got != nodes*seconds || !b.Connected() {
				t.Errorf("%s received %d of %d, connected %v", b.Node(), got, nodes*seconds, b.Connected())
			}
		}
	})
}
