package broker_test

import (
	"testing"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func BenchmarkRequest(b *testing.B) {
	server := natstest.TCP(b)
	for _, bench := range []struct {
		name   string
		access broker.Access
		size   int
	}{
		{"in process, 1 KiB", broker.Access{Server: server}, 1 << 10},
		{"in process, 256 KiB", broker.Access{Server: server}, 256 << 10},
		{"tcp, 256 KiB", broker.Access{URLs: []string{natstest.URL(server)}}, 256 << 10},
	} {
		b.Run(bench.name, func(b *testing.B) {
			from := natstest.Start(b, broker.Options{Node: "a", Access: bench.access})
			to := natstest.Start(b, broker.Options{Node: "b", Access: bench.access})
			answer := make([]byte, bench.size/2)
			serve(b, to, func(r *broker.Request) {
				if err := r.Respond(answer); err != nil {
					b.Errorf("respond: %v", err)
				}
			})
			body := make([]byte, bench.size)
			subject := from.Subjects().Batch("b", "a")
			b.ReportAllocs()
			b.SetBytes(int64(bench.size))
			for b.Loop() {
				if _, err := from.Request(b.Context(), subject, broker.Header{Batch: batchID}, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
