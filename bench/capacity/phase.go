package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/bench/process"
)

// kind is a kind of requests.
type kind uint8

const (
	heartbeat kind = iota
	delta
	change
	bare // to a handler of net/http that does nothing, in this process: what the machine adds
	kinds
)

func (k kind) String() string {
	return [kinds]string{"heartbeat", "delta", "change", "a bare handler"}[k]
}

// bareRate is how many requests a second the bare handler gets.
const bareRate = 100

// tally is what became of the requests of one kind.
type tally struct {
	times  []time.Duration // from when they were due
	errors int             // no answer, or another status than the right one
	shed   int             // 503 with Retry-After
	sample string          // of the errors
}

func (t *tally) add(o *tally) {
	t.times = append(t.times, o.times...)
	t.errors += o.errors
	t.shed += o.shed
	if t.sample == "" {
		t.sample = o.sample
	}
}

// percentile returns the time within which so many of a thousand were answered.
func (t *tally) percentile(n int) time.Duration {
	if len(t.times) == 0 {
		return 0
	}
	return t.times[min(len(t.times)*n/1000, len(t.times)-1)]
}

// outcome is what became of all requests of a phase.
type outcome [kinds]tally

// breaks returns how an outcome breaks the contract, or nil.
func (o *outcome) breaks(c contract) error {
	var errs []error
	for k := range kinds {
		if t := &o[k]; t.errors+t.shed > 0 {
			errs = append(errs, fmt.Errorf("%s: %d errors, %d shed: %s", k, t.errors, t.shed, t.sample))
		}
	}
	if got := o[heartbeat].percentile(990); got > c.p99 {
		errs = append(errs, fmt.Errorf("heartbeat: p99 %v, want %v at most", got, c.p99))
	}
	return errors.Join(errs...)
}

// due is a request and when it is due.
type due struct {
	kind    kind
	at      time.Time
	request process.Request
	want    int
}

// phase puts so many times the contract on the nodes, and prints what came of it.
func (c *nodes) phase(ctx context.Context, name string, lasts time.Duration, times float64) (outcome, error) {
	handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	}))
	defer handler.Close()
	asked := append(slices.Clone(c.servers), process.At(strings.TrimPrefix(handler.URL, "http://"), c.workers))
	queues := make([]chan due, len(asked))
	results := make([][]outcome, len(asked))
	var workers sync.WaitGroup
	for i, s := range asked {
		queues[i] = make(chan due, 1<<16)
		results[i] = make([]outcome, c.workers)
		for w := range c.workers {
			workers.Go(func() {
				for d := range queues[i] {
					results[i][w][d.kind].do(ctx, s, d)
				}
			})
		}
	}
	before, err := c.cpu()
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	lost := c.emit(ctx, queues, began, lasts, times)
	for _, q := range queues {
		close(q)
	}
	workers.Wait()
	took := time.Since(began)
	after, err := c.cpu()
	if err = errors.Join(err, ctx.Err()); err != nil {
		return outcome{}, err
	}
	var all outcome
	for _, of := range results {
		for w := range of {
			for k := range kinds {
				all[k].add(&of[w][k])
			}
		}
	}
	for k := range kinds {
		t := &all[k]
		t.errors += lost[k]
		slices.Sort(t.times)
		fmt.Printf("| %s: %s | %d | %.0f | %v | %v | %v | %d | %d |\n", name, k, len(t.times),
			float64(len(t.times))/took.Seconds(), short(t.percentile(500)), short(t.percentile(990)),
			short(t.percentile(1000)), t.errors, t.shed)
		if t.sample != "" {
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, t.sample)
		}
	}
	var usage []string
	for i, s := range c.servers {
		memory, err := s.Memory()
		if err != nil {
			return all, fmt.Errorf("node %d: %w", i+1, err)
		}
		usage = append(usage, fmt.Sprintf("%.0f %% of a core, %.0f MB",
			100*(after[i]-before[i]).Seconds()/took.Seconds(), memory))
	}
	fmt.Printf("| %s: nodes | %s | | | | | | |\n", name, strings.Join(usage, "; "))
	return all, nil
}

// emit hands each request to the queue of a node, or of the bare handler, the last one,
// when it is due. It returns how many of each kind found no room there.
func (c *nodes) emit(
	ctx context.Context, queues []chan due, began time.Time, lasts time.Duration, times float64,
) (lost [kinds]int) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in each run
	of := c.contract
	rates := [kinds]float64{of.renewals * times, of.deltas * times, of.changes * times, bareRate}
	var next [kinds]time.Time
	for k := range kinds {
		next[k] = began
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return lost
		}
		now := time.Now()
		if now.Sub(began) >= lasts {
			return lost
		}
		for k := range kinds {
			if rates[k] <= 0 {
				continue
			}
			for ; next[k].Before(now); next[k] = next[k].Add(time.Duration(float64(time.Second) / rates[k])) {
				d := due{kind: k, at: next[k], want: http.StatusOK}
				to := rnd.IntN(len(queues) - 1)
				switch i := rnd.IntN(c.fleet.Size); k {
				case heartbeat:
					d.request = c.fleet.Renew(n % c.fleet.Size) // each in turn
					n++
				case delta:
					d.request = process.List("/delta")
				case bare:
					d.request = process.List("")
					to = len(queues) - 1
				default:
					d.request, d.want = c.fleet.Register(i), http.StatusNoContent
				}
				select {
				case queues[to] <- d:
				default:
					lost[k]++
				}
			}
		}
	}
}

// do makes a request, and counts what comes of it.
func (t *tally) do(ctx context.Context, s *process.Server, d due) {
	code, header, err := s.Do(ctx, d.request)
	took := time.Since(d.at)
	switch {
	case err == nil && code == d.want:
	case err == nil && code == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
		t.shed++
	default:
		t.errors++
		if t.sample == "" {
			t.sample = fmt.Sprintf("%s %s: status %d, %v", d.request.Method, d.request.Path, code, err)
		}
	}
	t.times = append(t.times, took)
}

// cpu returns what each node has computed.
func (c *nodes) cpu() ([]time.Duration, error) {
	var out []time.Duration
	for i, s := range c.servers {
		used, err := s.CPU()
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i+1, err)
		}
		out = append(out, used)
	}
	return out, nil
}

func short(d time.Duration) time.Duration {
	if d > 100*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
