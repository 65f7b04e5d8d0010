//go:build faults

package faults_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serveWithin is how soon after its start a node serves all that its snapshot
// holds.
const serveWithin = 2 * time.Second

// TestWholeClusterRestart kills every node and every broker at once. From its
// snapshot each node serves all instances soon after its start; no client ever
// reads a smaller list; and instances whose clients don't come back expire.
func TestWholeClusterRestart(t *testing.T) {
	const size, nth = 10_000, 50
	l := newLab(t, labOptions{Data: true})
	f := startFleet(l, fleetOptions{
		Size: size, Kinds: []kind{steady}, Renewal: 15 * time.Second, Duration: 30 * time.Second, Ramp: 15 * time.Second,
	})
	f.settle("the start")
	for _, n := range l.nodes {
		l.waitMetric(n, "registryd_snapshot_entries", func(v float64) bool { return v >= size })
	}
	for _, n := range l.nodes {
		n.setReady(false)
	}
	for _, n := range l.nodes {
		n.kill()
	}
	for _, s := range l.brokers {
		s.kill()
	}
	gone := f.vanish(nth)
	pause(downTime)

	// The nodes first: a broker that is not there must not delay them.
	started := time.Now()
	for _, n := range l.nodes {
		n.start()
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	complete := make([]atomic.Int64, labSize)
	for k, n := range l.nodes {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				total, err := l.listed(n)
				switch {
				case err != nil: // not listening yet, or 403
				case total < size && time.Since(started) < f.opts.Duration:
					l.violate("%v after the start %s served a list of %d, want %d", time.Since(started), n.name, total, size)
				default:
					complete[k].CompareAndSwap(0, int64(time.Since(started)))
				}
			}
		})
	}
	for _, s := range l.brokers {
		s.start()
	}
	l.waitBrokers()
	l.united()
	for k, n := range l.nodes {
		eventually(t, n.name+" serves a list", func() error {
			if complete[k].Load() == 0 {
				return errors.New("none yet")
			}
			return nil
		})
		took := time.Duration(complete[k].Load())
		t.Logf("%s served all %d instances %v after its start", n.name, size, took.Round(time.Millisecond))
		if took > serveWithin {
			t.Errorf("%s served all instances %v after its start, want at most %v", n.name, took, serveWithin)
		}
	}
	f.settle("the restart")
	close(stop)
	readers.Wait()
	f.settleExpired("the restart")
	for _, n := range l.nodes {
		total, err := l.listed(n)
		if err != nil || total != size-gone {
			t.Errorf("%s lists %d (%v), want %d: %d clients did not come back", n.name, total, err, size-gone, gone)
		}
	}
}

var hashCode = regexp.MustCompile(`"apps__hashcode":"(?:([A-Z_]+_\d+_)*)"`)

// listed returns how many instances a node's list holds, by its hash code.
func (l *lab) listed(n *node) (int, error) {
	code, body, err := l.get(n, "/eureka/apps")
	if err != nil {
		return 0, err
	}
	if code != http.StatusOK {
		return 0, fmt.Errorf("list of %s: %d", n.name, code)
	}
	found := hashCode.FindSubmatch(body)
	if found == nil {
		return 0, fmt.Errorf("list of %s: no hash code", n.name)
	}
	total := 0
	for _, digits := range regexp.MustCompile(`\d+`).FindAll(found[0], -1) {
		count, err := strconv.Atoi(string(digits))
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}

// balancer sends each request to the next node that can be connected to. It
// does not read the answers: they go to the client unchanged.
type balancer struct {
	lab  *lab
	next atomic.Uint64
}

func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	var errs []error
	for range labSize {
		n := b.lab.nodes[int(b.next.Add(1)%labSize)]
		sent := req.Clone(req.Context())
		sent.URL.Host = n.address()
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			sent.Body = body
		}
		res, err := b.lab.http.Transport.RoundTrip(sent)
		if err == nil {
			return res, nil
		}
		if req.Context().Err() != nil {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, io.EOF)...)
}

// TestNoStorm restarts one node under 5,000 clients whose every request a
// balancer sends to another node. The node without entries must not make them
// register again.
func TestNoStorm(t *testing.T) {
	const size = 5_000
	l := newLab(t, labOptions{})
	f := startFleet(l, fleetOptions{
		Size: size, Kinds: []kind{steady}, Renewal: 10 * time.Second, Duration: 30 * time.Second, Ramp: 10 * time.Second,
		HTTP: &http.Client{Transport: &balancer{lab: l}},
	})
	f.settle("the start")
	for i, n := range l.nodes {
		registered, notFound := f.registered.Load(), f.notFound.Load()
		n.kill()
		pause(downTime)
		n.start()
		l.waitReady(n)
		beats := f.renewed.Load()
		eventually(t, "two heartbeats of each client", func() error {
			if got := f.renewed.Load() - beats; got < 2*size {
				return fmt.Errorf("%d heartbeats", got)
			}
			return nil
		})
		again := f.registered.Load() - registered
		t.Logf("after the restart of n%d: %d of %d clients registered again, %d answers were 404", i+1, again, size, f.notFound.Load()-notFound)
		if again > size/100 {
			t.Errorf("after the restart of n%d %d of %d clients registered again, want less than 1 %%", i+1, again, size)
		}
		f.settle("the restart")
	}
}
