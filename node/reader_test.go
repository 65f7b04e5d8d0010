package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

// listing is a node's list, by instance.
type listing map[string]listed

type listed struct {
	status, override eureka.Status
	generation       string
	dirty            int64 // its lastDirtyTimestamp
	duration         int   // of its lease, in seconds
}

// list reads a node's list.
func list(ctx context.Context, c *client.Client) (listing, error) {
	all, err := c.Applications(ctx)
	if err != nil {
		return nil, err
	}
	out := listing{}
	for _, app := range all.Applications {
		for _, i := range app.Instances {
			if _, twice := out[i.ID()]; twice {
				return nil, fmt.Errorf("%s is listed twice", i.ID())
			}
			out[i.ID()] = listed{i.Status, i.OverriddenStatus, i.Metadata["generation"], i.LastDirtyTimestamp, i.LeaseInfo.DurationInSecs}
		}
	}
	return out, nil
}

// reader continually reads a node's list, also while the node is down, and
// checks each list that is served.
type reader struct {
	address string
	client  *client.Client
	check   func(listing) error
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	lists   int      // answered 200
	refused int      // answered otherwise
	wrong   int      // lists that failed the check
	faults  []string // what the first of them were
}

// maxFaults bounds how many wrong lists of a reader are shown.
const maxFaults = 3

// startReader reads the list of the server at an address, until stop. check is
// called from one goroutine.
func startReader(tb testing.TB, address string, check func(listing) error) *reader {
	tb.Helper()
	c, err := client.New(client.Options{URLs: []string{"http://" + address + "/eureka/"}, Timeout: patience})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	r := &reader{address: address, client: c, check: check, end: cancel}
	r.running.Go(func() { r.run(ctx) })
	tb.Cleanup(func() {
		cancel()
		r.running.Wait()
		c.Close()
	})
	return r
}

func (r *reader) run(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		got, err := list(ctx, r.client)
		refused := errors.As(err, new(*client.StatusError))
		if err == nil {
			err = r.check(got)
		} else if refused || !strings.Contains(err.Error(), "decode answer") && !strings.Contains(err.Error(), "listed twice") {
			err = nil // it is not there, or not ready
		}
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		switch {
		case err != nil:
			if r.wrong++; len(r.faults) < maxFaults {
				r.faults = append(r.faults, fmt.Sprintf("list %d, after %v: %v", r.lists+1, time.Since(began), err))
			}
			r.lists++
		case refused:
			r.refused++
		case got != nil:
			r.lists++
		}
		r.mu.Unlock()
	}
}

// waitFor waits until so many more lists were served.
func (r *reader) waitFor(tb testing.TB, lists int) {
	tb.Helper()
	count := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.lists
	}
	before := count()
	eventually(tb, r.address+" serves lists", func() error {
		if got := count() - before; got < lists {
			return fmt.Errorf("%d of %d", got, lists)
		}
		return nil
	})
}

// stop ends the reading and reports the lists that were wrong.
func (r *reader) stop(tb testing.TB) {
	tb.Helper()
	r.end()
	r.running.Wait()
	tb.Logf("%s: %d lists, %d refusals", r.address, r.lists, r.refused)
	if r.wrong > 0 {
		tb.Errorf("%s: %d of %d lists are wrong, such as %.2000s", r.address, r.wrong, r.lists, strings.Join(r.faults, "\n"))
	}
}
