package consumer_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Close applies what waits, in order, refuses what comes, and returns when the
// lanes have ended: the bubble fails if one stays.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newOpenNode(t, consumer.Options{})
		held, release := n.hold("a", 1)
		waiting := []<-chan answer{n.post("a", 2), n.post("a", 3), n.post("a", 4)}
		other := n.post("b", 1)
		closed := make(chan struct{}, 2)
		for range 2 { // Closing again, and at the same time, is no harm.
			go func() {
				n.Close()
				closed <- struct{}{}
			}()
		}
		synctest.Wait()
		if len(closed) != 0 {
			t.Error("Close returned while batches wait")
		}
		check(t, "b's, before Close", outcome(other), "applied")
		check(t, "a batch that comes after Close", outcome(n.post("a", 6)), "busy")
		check(t, "one of a new sender", outcome(n.post("c", 7)), "busy")
		release()
		<-closed
		<-closed
		// Without synctest.Wait: Close has waited.
		for i, answers := range append([]<-chan answer{held}, waiting...) {
			if len(answers) != 1 {
				t.Errorf("batch %d has %d answers when Close returns, want 1", i, len(answers))
				continue
			}
			check(t, fmt.Sprintf("batch %d", i), outcome(answers), "applied")
		}
		n.Close()
		check(t, "a batch after the end", outcome(n.post("a", 8)), "busy")
		n.checkMetrics(t, `
			batches_total{outcome="applied"} 5
			batches_total{outcome="busy"} 3
			queued_batches 0`, "batches_total", "queued_batches")
	})
}

// A consumer that never got a batch has nothing to end.
func TestCloseUnused(t *testing.T) {
	n := newOpenNode(t, consumer.Options{})
	n.Close()
	if a := n.ask(t, "peer", batch(1)); a.code != http.StatusServiceUnavailable {
		t.Errorf("got %v, want busy", a)
	}
}

// A sender that delivers during Close gets exactly one answer, and tasks that
// were answered as applied are applied.
func TestDeliverWhileClosing(t *testing.T) {
	const senders, batches = 5, 40
	for round := range senders * batches / 10 {
		n := newOpenNode(t, consumer.Options{}.WithBounds(4, 3, 0))
		var once [senders * batches]atomic.Int32
		var applied, refused atomic.Int32
		var delivering sync.WaitGroup
		var count atomic.Int32
		middle := make(chan struct{})
		for s := range senders {
			delivering.Go(func() {
				for i := range batches {
					if int(count.Add(1)) == 1+round*10 {
						close(middle)
					}
					key := registry.NewKey("ORDERS", fmt.Sprintf("%d-%d", s, i))
					it := item(register, key, registry.Entry{Record: live(instance(key.App, key.ID, eureka.StatusUp, start), 1)})
					n.Deliver(consumer.Request{
						From: fmt.Sprintf("node-%d", s), Body: eureka.AppendReplicationList(nil, eureka.ReplicationList{it}),
						Respond: func([]byte) error {
							once[s*batches+i].Add(1)
							applied.Add(1)
							return nil
						},
						Fail: func(code int, _ string) error {
							once[s*batches+i].Add(1)
							refused.Add(1)
							if code != http.StatusServiceUnavailable {
								t.Errorf("refused %d, want %d", code, http.StatusServiceUnavailable)
							}
							return nil
						},
					})
				}
			})
		}
		<-middle
		n.Close()
		atClose := applied.Load()
		delivering.Wait()
		if got := applied.Load(); got != atClose {
			t.Errorf("round %d: %d batches applied after Close", round, got-atClose)
		}
		for i := range once {
			if got := once[i].Load(); got != 1 {
				t.Errorf("round %d: batch %d has %d answers, want 1", round, i, got)
			}
		}
		if got, want := n.reg.Len(), int(applied.Load()); got != want {
			t.Errorf("round %d: %d entries, want %d", round, got, want)
		}
	}
}
