package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Workload is a kind of load.
type Workload struct {
	Name    string
	Clients int // 0: as many as there are
	// Next makes the n-th request of a client.
	Next func(f Fleet, rnd *rand.Rand, n int) Request
}

// Workloads returns those that are measured.
func Workloads() []Workload {
	return []Workload{
		{Name: "heartbeat", Next: func(f Fleet, rnd *rand.Rand, _ int) Request { return f.Renew(rnd.IntN(f.Size)) }},
		{Name: "register", Next: func(f Fleet, rnd *rand.Rand, _ int) Request { return f.Register(rnd.IntN(f.Size)) }},
		{Name: "mixed", Next: mixed},
		{Name: "full list unchanged", Clients: 1, Next: func(Fleet, *rand.Rand, int) Request { return List("") }},
		{Name: "change, full list", Clients: 1, Next: func(f Fleet, rnd *rand.Rand, n int) Request {
			if n%2 == 0 {
				return f.Register(rnd.IntN(f.Size))
			}
			return List("")
		}},
	}
}

// mixed is 90 % heartbeats, 5 % deltas, 3 % one application, 1 % registers, 1 % cancels.
func mixed(f Fleet, rnd *rand.Rand, _ int) Request {
	i := rnd.IntN(f.Size)
	switch n := rnd.IntN(100); {
	case n < 90:
		return f.Renew(i)
	case n < 95:
		return List("/delta")
	case n < 98:
		return List(fmt.Sprintf("/APP-%03d", i%f.Apps()))
	case n < 99:
		return f.Register(i)
	default:
		return f.Cancel(i)
	}
}

// Measured is what a workload cost.
type Measured struct {
	Rate     float64       // requests a second
	CPU      time.Duration // of the server, a request
	P50, P99 time.Duration // of a request
	Memory   float64       // of the server at its end, in megabytes
}

// deferred is how long after a workload the server's CPU still counts: it may have put
// work off.
const deferred = 2 * time.Second

// Measure puts a workload on the server for a while, by so many clients.
func (f Fleet) Measure(
	ctx context.Context, s *Server, w Workload, clients int, lasts time.Duration,
) (Measured, error) {
	if w.Clients > 0 {
		clients = w.Clients
	}
	before, err := s.CPU()
	if err != nil {
		return Measured{}, err
	}
	times := make([][]time.Duration, clients)
	errs := make([]error, clients)
	began := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 1)) //nolint:gosec // not negative
			for n := 0; time.Since(began) < lasts && ctx.Err() == nil; n++ {
				r, asked := w.Next(f, rnd, n), time.Now()
				code, _, err := s.Do(ctx, r)
				if err != nil || code >= http.StatusInternalServerError {
					errs[c] = fmt.Errorf("%s %s: status %d, %w", r.Method, r.Path, code, err)
					return
				}
				times[c] = append(times[c], time.Since(asked))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	select {
	case <-time.After(deferred):
	case <-ctx.Done():
		return Measured{}, ctx.Err()
	}
	after, err := s.CPU()
	memory, err2 := s.Memory()
	all := slices.Concat(times...)
	if err := errors.Join(errors.Join(errs...), err, err2); err != nil {
		return Measured{}, err
	}
	if len(all) == 0 {
		return Measured{}, errors.New("no request was answered")
	}
	slices.Sort(all)
	return Measured{
		Rate: float64(len(all)) / took.Seconds(), CPU: (after - before) / time.Duration(len(all)),
		P50: all[len(all)/2], P99: all[len(all)*99/100], Memory: memory,
	}, nil
}
