package consumer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// laneIdle is how long a lane without work is kept.
const laneIdle = 5 * time.Minute

// batch returns a batch that registers one instance with version v.
func batch(v int64) []byte {
	it := item(register, registry.NewKey("ORDERS", "i-1"), alive(v, 0, "", 0))
	return eureka.AppendReplicationList(nil, eureka.ReplicationList{it})
}

// post delivers a batch of version v and returns where it will be answered.
func (n *node) post(from string, v int64) <-chan answer {
	req, answers := request(from, batch(v))
	n.Deliver(req)
	return answers
}

// hold delivers a batch whose answer blocks its lane until release is called.
func (n *node) hold(from string, v int64) (answers <-chan answer, release func()) {
	req, answers := request(from, batch(v))
	respond, free := req.Respond, make(chan struct{})
	req.Respond = func(body []byte) error {
		<-free
		return respond(body)
	}
	n.Deliver(req)
	synctest.Wait()
	return answers, func() { close(free) }
}

// outcome returns, in a bubble, what a sender has received so far.
func outcome(answers <-chan answer) string {
	synctest.Wait()
	var got []string
	for {
		select {
		case a := <-answers:
			switch {
			case a.code == http.StatusServiceUnavailable:
				got = append(got, "busy")
			case a.code != 0:
				got = append(got, fmt.Sprint(a.code))
			case string(a.body) == `{"responseList":[{"statusCode":200}]}`:
				got = append(got, "applied")
			default:
				got = append(got, string(a.body))
			}
		default:
			return strings.Join(got, ", ")
		}
	}
}

func check(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// The batches of one sender are applied and answered in the order in which they
// came. A batch in the wrong place would be 409: its version is older.
func TestLaneKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batches = 50
		n := newNode(t, consumer.Options{}.WithBounds(batches, 0, 0))
		_, release := n.hold("a", 1)
		var mu sync.Mutex
		var got, want []string
		for i := range batches {
			req, _ := request("a", batch(int64(i)+2))
			req.Respond = func(body []byte) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%d %s", i, body))
				return nil
			}
			n.Deliver(req)
			want = append(want, fmt.Sprintf(`%d {"responseList":[{"statusCode":200}]}`, i))
		}
		release()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(got, want) {
			t.Errorf("answers:\ngot  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	})
}

// As many batches of one sender wait as the queue holds. The next is refused at
// once, while the lane is still blocked. The lane then continues where it was.
func TestLaneIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name         string
		queue, waits int
	}{
		{"default", 0, 16},
		{"one", 1, 1},
		{"three", 3, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, consumer.Options{}.WithBounds(tt.queue, 0, 0))
				held, release := n.hold("a", 1)
				waiting := make([]<-chan answer, tt.waits)
				for i := range waiting {
					waiting[i] = n.post("a", int64(i)+2)
					check(t, fmt.Sprintf("batch %d while the lane is blocked", i), outcome(waiting[i]), "")
				}
				n.checkMetrics(t, fmt.Sprintf("queued_batches %d", tt.waits), "queued_batches")
				refused := n.post("a", 1000)
				// Without waiting: Deliver has refused it before it returned.
				if len(refused) != 1 {
					t.Fatal("the batch beyond the bound has no answer, want 503 at once")
				}
				check(t, "the batch beyond the bound", outcome(refused), "busy")
				check(t, "the blocked one", outcome(held), "")

				release()
				check(t, "the blocked one, released", outcome(held), "applied")
				for i := range waiting {
					check(t, fmt.Sprintf("batch %d", i), outcome(waiting[i]), "applied")
				}
				check(t, "a batch once there is room", outcome(n.post("a", 2000)), "applied")
				check(t, "the refused one, later", outcome(refused), "")
				n.checkMetrics(t, fmt.Sprintf(`
					batches_total{outcome="applied"} %d
					batches_total{outcome="busy"} 1
					queued_batches 0
					unanswered_batches_total 0`, tt.waits+2),
					"batches_total", "queued_batches", "unanswered_batches_total")
			})
		})
	}
}

// A sender whose lane is blocked and full costs no other sender anything.
func TestSendersDoNotHoldEachOtherBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, consumer.Options{}.WithBounds(1, 0, 0))
		held, release := n.hold("a", 1)
		waits := n.post("a", 2)
		check(t, "a, beyond its bound", outcome(n.post("a", 3)), "busy")
		for i := range 20 {
			check(t, "b", outcome(n.post("b", int64(i)+10)), "applied")
			check(t, "c", outcome(n.post("c", int64(i)+10)), "applied")
		}
		check(t, "a meanwhile", outcome(held)+outcome(waits), "")
		release()
		check(t, "a, released", outcome(held), "applied")
		if got := outcome(waits); !strings.Contains(got, `"statusCode":409`) {
			t.Errorf("a's older copy: got %q, want 409", got)
		}
	})
}

// As many senders have a lane as Lanes says. Those who have one keep it.
func TestLanesAreBounded(t *testing.T) {
	t.Run("two", func(t *testing.T) { synctest.Test(t, checkTwoLanes) })
	t.Run("default", func(t *testing.T) { synctest.Test(t, checkDefaultLanes) })
}

func checkTwoLanes(t *testing.T) {
	n := newNode(t, consumer.Options{}.WithBounds(0, 2, 0))
	check(t, "a", outcome(n.post("a", 1)), "applied")
	check(t, "b", outcome(n.post("b", 2)), "applied")
	check(t, "c, beyond the bound", outcome(n.post("c", 3)), "busy")
	check(t, "a again", outcome(n.post("a", 4)), "applied")
	check(t, "b again", outcome(n.post("b", 5)), "applied")
	n.checkMetrics(t, `
			batches_total{outcome="applied"} 4
			batches_total{outcome="busy"} 1`, "batches_total")
}

func checkDefaultLanes(t *testing.T) {
	n := newNode(t, consumer.Options{})
	for i := range 1024 {
		if answers := n.post(fmt.Sprintf("node-%d", i), int64(i)+1); len(answers) != 0 && (<-answers).code != 0 {
			t.Fatalf("sender %d is refused, want 1024 lanes", i)
		}
	}
	check(t, "the sender beyond", outcome(n.post("late", 5000)), "busy")
	n.checkMetrics(t, `
		batches_total{outcome="applied"} 1024
		batches_total{outcome="busy"} 1`, "batches_total")
}

// Batches that wait or are applied share a bound of bytes, of all senders. A
// larger batch is taken when it is alone.
func TestBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := len(batch(1))
		n := newNode(t, consumer.Options{}.WithBounds(0, 0, 3*size-1))
		held, release := n.hold("a", 1)
		waits := n.post("b", 2)
		check(t, "b's", outcome(waits), "applied") // Another lane, and its bytes are free again.
		waits = n.post("a", 3)
		n.checkMetrics(t, fmt.Sprintf("queued_batches 1\nqueued_bytes %d", 2*size), "queued_batches", "queued_bytes")
		check(t, "the third, of the same sender", outcome(n.post("a", 4)), "busy")
		check(t, "the third, of another", outcome(n.post("c", 4)), "busy")
		release()
		check(t, "the first", outcome(held), "applied")
		check(t, "the second", outcome(waits), "applied")
		n.checkMetrics(t, "queued_bytes 0", "queued_bytes")

		n = newNode(t, consumer.Options{}.WithBounds(0, 0, size/2))
		held, release = n.hold("a", 1)
		check(t, "one beside another above the bound", outcome(n.post("b", 2)), "busy")
		release()
		check(t, "one above the bound, alone", outcome(held), "applied")
	})
}

// A lane ends 5 minutes after its last batch and comes back with the next one.
func TestIdleLaneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, consumer.Options{}.WithBounds(0, 1, 0))
		check(t, "a", outcome(n.post("a", 1)), "applied")
		time.Sleep(laneIdle - time.Millisecond)
		check(t, "b, a's lane idle for 4:59.999", outcome(n.post("b", 2)), "busy")
		check(t, "a at 4:59.999", outcome(n.post("a", 3)), "applied")
		time.Sleep(laneIdle - time.Millisecond)
		check(t, "b, a's lane idle since its second batch", outcome(n.post("b", 4)), "busy")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		check(t, "b, a's lane idle for 5:00", outcome(n.post("b", 5)), "applied")
		check(t, "a, b has the lane", outcome(n.post("a", 6)), "busy")
		time.Sleep(laneIdle)
		synctest.Wait()
		check(t, "a again", outcome(n.post("a", 7)), "applied")
	})
}

// A bubble fails if a goroutine stays. Nobody calls Close here.
func TestIdleLaneLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newOpenNode(t, consumer.Options{})
		for i := range 10 {
			check(t, "batch", outcome(n.post(fmt.Sprintf("node-%d", i), int64(i)+1)), "applied")
		}
		time.Sleep(laneIdle)
		synctest.Wait()
	})
}

// A lane that is still applying is not idle, however long its answer takes.
func TestBlockedLaneIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, consumer.Options{}.WithBounds(0, 1, 0))
		held, release := n.hold("a", 1)
		waits := n.post("a", 2)
		time.Sleep(2 * laneIdle)
		check(t, "b, a's lane is blocked", outcome(n.post("b", 3)), "busy")
		release()
		check(t, "a", outcome(held), "applied")
		check(t, "a, waiting", outcome(waits), "applied")
		time.Sleep(laneIdle - time.Millisecond)
		check(t, "b, a's lane idle since the release", outcome(n.post("b", 4)), "busy")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		check(t, "b, a's lane has ended", outcome(n.post("b", 5)), "applied")
	})
}

// A batch that comes in the very moment in which its lane ends is applied.
func TestBatchMeetsTheEndOfItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, consumer.Options{})
		var waiting sync.WaitGroup
		var lost atomic.Int32
		for s := range 8 {
			waiting.Go(func() {
				for i := range 40 {
					answers := n.post(fmt.Sprintf("node-%d", s), int64(i)+1)
					time.Sleep(laneIdle) // The lane's timer was set in the same instant.
					if len(answers) != 1 || (<-answers).code != 0 {
						lost.Add(1)
					}
				}
			})
		}
		waiting.Wait()
		if got := lost.Load(); got != 0 {
			t.Errorf("%d batches refused or lost, want none", got)
		}
		n.checkMetrics(t, `batches_total{outcome="applied"} 320`, "batches_total")
	})
}

// Many senders at a time, each sending one batch after the other: in the end
// all are joined.
func TestManySenders(t *testing.T) {
	n := newNode(t, consumer.Options{})
	const senders, batches, keys = 8, 15, 5
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(s)))
			for i := range batches {
				it := item(register, registry.NewKey("ORDERS", "i-1"), with(alive(1+rnd.Int64N(1000), 0, "", 0), fmt.Sprint(s)))
				list := eureka.ReplicationList{it}
				for k := range keys {
					key := registry.NewKey("ORDERS", fmt.Sprintf("k-%d", k))
					list = append(list, item(register, key, registry.Entry{
						Record: live(instance(key.App, key.ID, eureka.StatusUp, start), int64(s*batches+i)+1),
					}))
				}
				results(t, n.ask(t, fmt.Sprintf("node-%d", s), eureka.AppendReplicationList(nil, list)), len(list))
			}
		})
	}
	sending.Wait()
	for k := range keys {
		e, _, _ := n.reg.Entry(registry.NewKey("ORDERS", fmt.Sprintf("k-%d", k)))
		if got, want := e.Record.Version, int64(senders*batches); got != want {
			t.Errorf("k-%d: version %d, want the greatest, %d", k, got, want)
		}
	}
}

// An answer or a refusal that could not be sent is counted; applied tasks stay,
// and the lane continues.
func TestUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, consumer.Options{}.WithBounds(0, 1, 0))
		deaf := func(from string, body []byte) *atomic.Int32 {
			var calls atomic.Int32
			n.Deliver(consumer.Request{
				From: from, Body: body,
				Respond: func([]byte) error { calls.Add(1); return errors.New("disconnected") },
				Fail:    func(int, string) error { calls.Add(1); return errors.New("disconnected") },
			})
			synctest.Wait()
			return &calls
		}
		for _, calls := range []*atomic.Int32{
			deaf("a", batch(1)),       // applied
			deaf("a", []byte("nope")), // malformed
			deaf("b", batch(2)),       // busy
		} {
			if got := calls.Load(); got != 1 {
				t.Errorf("%d calls, want one", got)
			}
		}
		if got, want := stored(n.reg, registry.NewKey("ORDERS", "i-1")), text(alive(1, 0, "", 0)); got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
		check(t, "the next batch", outcome(n.post("a", 3)), "applied")
		n.checkMetrics(t, `
			batches_total{outcome="applied"} 2
			batches_total{outcome="busy"} 1
			batches_total{outcome="malformed"} 1
			unanswered_batches_total 3`, "batches_total", "unanswered_batches_total")
	})
}
