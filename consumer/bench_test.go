package consumer_test

import (
	"fmt"
	"testing"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// batchSize is Eureka's.
const batchSize = 250

// benchBatch is a batch of 250 tasks of version v.
func benchBatch(action eureka.Action, v int64) []byte {
	list := make(eureka.ReplicationList, batchSize)
	for i := range list {
		key := heavyKey(i)
		info := instance(key.App, key.ID, eureka.StatusUp, start)
		info.Metadata = map[string]string{"zone": "eu-1a", "version": fmt.Sprint(v), "management.port": "8081"}
		list[i] = item(action, key, registry.Entry{Record: live(info, v)})
	}
	return eureka.AppendReplicationList(nil, list)
}

// ask delivers a batch and waits for its answer.
func ask(b *testing.B, n *node, answers chan []byte, body []byte) {
	b.Helper()
	n.Deliver(consumer.Request{
		From: "peer", Body: body,
		Respond: func(body []byte) error {
			answers <- body
			return nil
		},
		Fail: func(code int, text string) error {
			answers <- nil
			b.Errorf("refused: %d %s", code, text)
			return nil
		},
	})
	<-answers
}

func report(b *testing.B, size int) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportMetric(float64(batchSize)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// A batch of 250 registers, each with a new record: decoded, hashed, joined. The
// registry starts anew when the versions have run out.
func BenchmarkRegisters(b *testing.B) {
	bodies := make([][]byte, 64)
	for v := range bodies {
		bodies[v] = benchBatch(register, int64(v)+1)
	}
	answers := make(chan []byte, 1)
	n, next := newOpenNode(b, consumer.Options{}), 0
	b.ReportAllocs()
	for b.Loop() {
		if next == len(bodies) {
			b.StopTimer()
			n.Close()
			n, next = newOpenNode(b, consumer.Options{}), 0
			b.StartTimer()
		}
		ask(b, n, answers, bodies[next])
		next++
	}
	n.Close()
	report(b, len(bodies[0]))
}

// A batch of 250 heartbeats of instances that are in step.
func BenchmarkHeartbeats(b *testing.B) {
	n := newNode(b, consumer.Options{})
	answers := make(chan []byte, 1)
	ask(b, n, answers, benchBatch(register, 1))
	body := benchBatch(heartbeat, 1)
	b.ReportAllocs()
	for b.Loop() {
		ask(b, n, answers, body)
	}
	report(b, len(body))
}
