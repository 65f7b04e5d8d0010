package batcher_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
)

// A pipeline whose slots count renewals, and whose peer prints what it gets.
func Example() {
	acc, err := acceptor.New(acceptor.Options[string, int]{
		Merge: func(older, newer int) int { return older + newer },
		Render: func(key string, renewals int, _ time.Duration) (acceptor.Task, acceptor.Reason) {
			task := fmt.Sprintf("%s renewed %d times", key, renewals)
			return acceptor.Task{Body: []byte(task)}, ""
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := batcher.New(acc, batcher.Options[string, int]{
		Peer: "node-2",
		Send: func(_ context.Context, batch acceptor.Batch[string, int]) ([]acceptor.Outcome, error) {
			outcomes := make([]acceptor.Outcome, len(batch.Items))
			for i, item := range batch.Items {
				fmt.Println(string(item.Task.Body))
				outcomes[i] = acceptor.Done()
			}
			return outcomes, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			fmt.Println(err)
		}
	})
	acc.Offer("ORDERS/a", 1)
	acc.Offer("ORDERS/b", 1)
	acc.Offer("ORDERS/a", 1)
	cancel() // The drain sends what is pending, without the delay.
	wg.Wait()
	s := acc.Stats()
	fmt.Printf("%d accepted, %d acknowledged, %d merged", s.Offered, s.Acknowledged, s.Merged)
	// Output:
	// ORDERS/a renewed 2 times
	// ORDERS/b renewed 1 times
	// 3 accepted, 2 acknowledged, 1 merged
}
