package bench_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/registry"
)

// link is a node and one peer, with NATS over TCP between them: all stages of the
// pipeline, both codecs and both registries.
type link struct {
	*rig
	peer     *registry.Registry
	from, to *broker.Broker
	changed  chan struct{} // one slot: the peer has joined a change
}

// Record implements registry.Recorder, for the peer.
func (l *link) Record([]registry.Event) {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// peerName is that of the first peer of a rig.
const peerName = "peer-00"

func newLink(b *testing.B, mode acceptor.Mode) *link {
	b.Helper()
	access := broker.Access{URLs: []string{natstest.URL(natstest.TCP(b))}}
	l := &link{
		rig:     &rig{},
		from:    natstest.Start(b, broker.Options{Node: "measured", Access: access}),
		to:      natstest.Start(b, broker.Options{Node: peerName, Access: access}),
		changed: make(chan struct{}, 1),
	}
	var err error
	if l.peer, err = registry.New(registry.Options{Recorder: l}); err != nil {
		b.Fatal(err)
	}
	taker, err := consumer.New(l.peer, consumer.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(taker.Close)
	serving(b, l.to, func(r *broker.Request) {
		taker.Deliver(consumer.Request{From: r.From, Batch: r.Batch, Body: r.Body, Respond: r.Respond, Fail: r.Fail})
	})
	l.send = func(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
		return l.from.Request(ctx, l.from.Subjects().Batch(to, l.from.Node()), broker.Header{Batch: batch}, body)
	}
	l.run(b, 1, cluster.Options{BatchMode: mode})
	return l
}

func serving(b *testing.B, at *broker.Broker, handler broker.Handler) {
	b.Helper()
	if _, err := at.Serve(broker.Handlers{Batch: handler}); err != nil {
		b.Fatal(err)
	}
}

// settled waits until the peer has acknowledged all that was offered.
func (l *link) settled(b *testing.B) {
	b.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		s := l.cluster.Peers()[0].Acceptor
		if s.Pending()+s.InFlight == 0 {
			return
		}
		if time.Since(began) > time.Minute {
			b.Fatalf("not acknowledged: %+v", s)
		}
	}
}

// floodSize is how many instances change at once.
const floodSize = 20_000

// keysOf returns the keys of the instances that fill made.
func keysOf(n int) []registry.Key {
	keys := make([]registry.Key, n)
	for i := range keys {
		keys[i] = registry.NewKey(fmt.Sprintf("APP-%03d", i/20), fmt.Sprintf("host-%06d.example.com:app:8080", i))
	}
	return keys
}

// BenchmarkFlood registers 20,000 instances at once, then renews them, and shows how long
// it takes until the peer has acknowledged all: 500 ms of it are the window. x-raw is the
// share of what NATS alone does with as many requests of as many bytes, four at a time.
// The CPU is that of all, both nodes and NATS, for each instance.
func BenchmarkFlood(b *testing.B) {
	var registers, renewals, shares, registerCPU, renewCPU []float64
	for range b.N {
		l := newLink(b, acceptor.Fixed)
		var mu sync.Mutex
		var bodies [][]byte
		send := l.send
		began, used := time.Now(), cpu(b)
		l.fill(floodSize)
		l.settled(b)
		registerCPU = append(registerCPU, (cpu(b)-used).Seconds()*1e6/floodSize)
		registers = append(registers, time.Since(began).Seconds()*1000)
		l.send = func(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
			mu.Lock()
			bodies = append(bodies, slices.Clone(body))
			mu.Unlock()
			return send(ctx, to, batch, body)
		}
		keys := keysOf(floodSize)
		began, used = time.Now(), cpu(b)
		for _, key := range keys {
			if got, _ := l.reg.Renew(key, eureka.NoTimestamp, "", registry.Origin{}); got != registry.OK {
				b.Fatalf("renew %v: outcome %d", key, got)
			}
		}
		l.settled(b)
		took := time.Since(began)
		renewCPU = append(renewCPU, (cpu(b)-used).Seconds()*1e6/floodSize)
		renewals = append(renewals, took.Seconds()*1000)
		shares = append(shares, raw(b, l, bodies).Seconds()/(took-acceptor.DefaultDelay).Seconds())
	}
	for name, all := range map[string][]float64{
		"register-ms": registers, "renew-ms": renewals, "x-raw": shares, "register-cpu-us": registerCPU, "renew-cpu-us": renewCPU,
	} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name)
	}
}

// raw sends the bodies by NATS alone, four at a time, answered by as many bytes as results
// have, and returns how long it took.
func raw(b *testing.B, l *link, bodies [][]byte) time.Duration {
	b.Helper()
	access := broker.Access{URLs: []string{natstest.URL(natstest.TCP(b))}}
	from := natstest.Start(b, broker.Options{Node: "a", Access: access})
	to := natstest.Start(b, broker.Options{Node: "b", Access: access})
	answer := make([]byte, 250*len(`{"statusCode":200},`))
	serving(b, to, func(r *broker.Request) {
		if err := r.Respond(answer); err != nil {
			b.Error(err)
		}
	})
	queue := make(chan []byte, len(bodies))
	for _, body := range bodies {
		queue <- body
	}
	close(queue)
	subject := from.Subjects().Batch("b", "a")
	began := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for body := range queue {
				if _, err := from.Request(b.Context(), subject, broker.Header{Batch: "b"}, body); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// BenchmarkConvergence shows how long a change takes to the peer in adaptive mode: while
// nothing else happens, and while 20,000 leases are renewed a second.
func BenchmarkConvergence(b *testing.B) {
	for _, rate := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("renews=%d", rate), func(b *testing.B) {
			l := newLink(b, acceptor.Adaptive)
			l.fill(floodSize)
			l.settled(b)
			keys := keysOf(floodSize)
			ctx, cancel := context.WithCancel(b.Context())
			var renewing sync.WaitGroup
			renewing.Go(func() { l.renew(ctx, keys, rate) })
			var times []time.Duration
			for i := 0; b.Loop(); i++ {
				// At any moment, as clients do, and not where the last change has left a gap.
				time.Sleep(rand.N(10 * time.Millisecond))
				key := keys[i%len(keys)]
				began := time.Now()
				l.reg.SetMetadata(key, map[string]string{"n": fmt.Sprint(i)}, registry.Origin{})
				for !known(l.peer, key, i) {
					// To ask again and again would keep the scheduler from looking at sockets.
					select {
					case <-l.changed:
					case <-time.After(time.Minute):
						b.Fatalf("%v: the peer does not know change %d", key, i)
					}
				}
				times = append(times, time.Since(began))
			}
			cancel()
			renewing.Wait()
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(times[len(times)*99/100].Seconds()*1000, "p99-ms")
		})
	}
}

// known reports whether a registry has a change.
func known(r *registry.Registry, key registry.Key, change int) bool {
	i, ok := r.Instance(key)
	return ok && i.Metadata["n"] == fmt.Sprint(change)
}

// renew renews leases at a rate until ctx ends.
func (l *link) renew(ctx context.Context, keys []registry.Key, rate int) {
	if rate == 0 {
		return
	}
	const slices = 200 // of a second
	tick := time.NewTicker(time.Second / slices)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for range rate / slices {
			l.reg.Renew(keys[n%len(keys)], eureka.NoTimestamp, "", registry.Origin{})
			n++
		}
	}
}
