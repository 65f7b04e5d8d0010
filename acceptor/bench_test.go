package acceptor_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/registry"
)

type benchKey struct{ app, id string }

// benchmark runs an acceptor of bits, with Eureka's sizes and no delay, and
// returns it with 10,000 keys.
func benchmark(b *testing.B) (*acceptor.Acceptor[benchKey, registry.Bits], []benchKey) {
	b.Helper()
	task := acceptor.Task{Body: make([]byte, 1000)}
	a, err := acceptor.New(acceptor.Options[benchKey, registry.Bits]{
		Delay:  1,
		Merge:  registry.Bits.Merge,
		Render: func(benchKey, registry.Bits, time.Duration) (acceptor.Task, acceptor.Reason) { return task, "" },
	})
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]benchKey, 10_000)
	for i := range keys {
		keys[i] = benchKey{"ORDERS", fmt.Sprintf("host-%d.example.org:orders:8080", i)}
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) }) //nolint:errcheck // Nil, as TestEnd shows.
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if s := a.Stats(); s.Unaccounted() != 0 {
			b.Errorf("%d actions are unaccounted for: %+v", s.Unaccounted(), s)
		}
	})
	return a, keys
}

func BenchmarkOffer(b *testing.B) {
	a, keys := benchmark(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		a.Offer(keys[i%len(keys)], registry.Renewed)
		i++
	}
}

func BenchmarkOfferParallel(b *testing.B) {
	a, keys := benchmark(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			a.Offer(keys[i%len(keys)], registry.Renewed)
		}
	})
}

// One batch of 250, from the offers to the answer.
func BenchmarkBatch(b *testing.B) {
	const size = 250
	a, keys := benchmark(b)
	done := slices.Repeat([]acceptor.Outcome{acceptor.Done()}, size)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		for range size {
			a.Offer(keys[i%len(keys)], registry.Renewed)
			i++
		}
		for left := size; left > 0; {
			batch, err := a.Take(b.Context(), size, 0)
			if err != nil {
				b.Fatal(err)
			}
			left -= len(batch.Items)
			if err := a.Settle(batch, done[:len(batch.Items)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func BenchmarkStats(b *testing.B) {
	a, _ := benchmark(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = a.Stats()
	}
}
