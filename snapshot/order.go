package snapshot

import (
	"iter"
	"runtime"
	"sync"
)

// ahead is how many inputs of each core [inOrder] takes before their results are taken.
const ahead = 2

// inOrder has do make a result of each input, on all cores, and take take them in the order
// of the inputs, on the caller's goroutine. So few inputs and results are in memory at a time.
// The first error of take ends it.
func inOrder[In, Out any](inputs iter.Seq[In], do func(In) Out, take func(Out) error) error {
	type job struct {
		in  In
		out chan Out
	}
	cores := runtime.GOMAXPROCS(0)
	jobs, order, ended := make(chan job), make(chan chan Out, ahead*cores), make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer close(ended)
	for range cores {
		running.Go(func() {
			for j := range jobs {
				j.out <- do(j.in)
			}
		})
	}
	running.Go(func() {
		defer close(order)
		defer close(jobs)
		for in := range inputs {
			j := job{in, make(chan Out, 1)}
			select {
			case order <- j.out:
				jobs <- j // somebody takes it
			case <-ended:
				return
			}
		}
	})
	for out := range order {
		if err := take(<-out); err != nil {
			return err
		}
	}
	return nil
}
