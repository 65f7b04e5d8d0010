package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// fleet is the instances that a server has, and their clients.
type fleet struct {
	server *server
	size   int
}

// request is one request.
type request struct{ method, path, body string }

// workload is a kind of load: next makes the next request of a client.
type workload struct {
	name    string
	clients int // 0: as many as the options say
	next    func(f *fleet, rnd *rand.Rand, n int) request
}

// workloads are what is measured.
func workloads() []workload {
	return []workload{
		{name: "heartbeat", next: func(f *fleet, rnd *rand.Rand, _ int) request { return f.renew(rnd.IntN(f.size)) }},
		{name: "register", next: func(f *fleet, rnd *rand.Rand, _ int) request { return f.register(rnd.IntN(f.size)) }},
		{name: "mixed", next: mixed},
		{name: "full list unchanged", clients: 1, next: func(*fleet, *rand.Rand, int) request { return list("") }},
		{name: "change, full list", clients: 1, next: func(f *fleet, rnd *rand.Rand, n int) request {
			if n%2 == 0 {
				return f.register(rnd.IntN(f.size))
			}
			return list("")
		}},
	}
}

func workloadNames() []string {
	var out []string
	for _, w := range workloads() {
		out = append(out, w.name)
	}
	return out
}

// mixed is 90 % heartbeats, 5 % deltas, 3 % one application, 1 % registers, 1 % cancels.
func mixed(f *fleet, rnd *rand.Rand, _ int) request {
	i := rnd.IntN(f.size)
	switch n := rnd.IntN(100); {
	case n < 90:
		return f.renew(i)
	case n < 95:
		return list("/delta")
	case n < 98:
		return list(fmt.Sprintf("/APP-%03d", i%f.apps()))
	case n < 99:
		return f.register(i)
	default:
		return request{method: http.MethodDelete, path: f.path(i)}
	}
}

func list(what string) request { return request{method: http.MethodGet, path: "/eureka/apps" + what} }

// apps is the number of applications: 20 instances each, 500 at most.
func (f *fleet) apps() int { return max(1, min(500, f.size/20)) }

func (f *fleet) id(i int) string { return fmt.Sprintf("host-%06d.example.com:app:8080", i) }

func (f *fleet) path(i int) string {
	return fmt.Sprintf("/eureka/apps/APP-%03d/%s", i%f.apps(), f.id(i))
}

func (f *fleet) renew(i int) request {
	return request{method: http.MethodPut, path: f.path(i) + "?status=UP"}
}

// instance is about 1 kB, as Spring's client sends it: its id, host, application, address,
// version, and the time.
const instance = `{"instance":{"instanceId":"%[1]s","hostName":"%[2]s","app":"APP-%03[3]d","ipAddr":"%[4]s",
"status":"UP","overriddenstatus":"UNKNOWN","port":{"$":8080,"@enabled":"true"},
"securePort":{"$":443,"@enabled":"false"},"countryId":1,
"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},
"leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":3600},
"metadata":{"management.port":"8081","version":"1.2.%[5]d","zone":"eu-west-1a"},
"homePageUrl":"http://%[2]s:8080/","statusPageUrl":"http://%[2]s:8080/actuator/info",
"healthCheckUrl":"http://%[2]s:8080/actuator/health","vipAddress":"app-%03[3]d",
"secureVipAddress":"app-%03[3]d","lastDirtyTimestamp":"%[6]d"}}`

func (f *fleet) register(i int) request {
	app, host := i%f.apps(), fmt.Sprintf("host-%06d.example.com", i)
	address := fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)
	return request{
		http.MethodPost, fmt.Sprintf("/eureka/apps/APP-%03d", app),
		fmt.Sprintf(instance, f.id(i), host, app, address, i%9, time.Now().UnixMilli()),
	}
}

// fill registers all instances.
func (f *fleet) fill(ctx context.Context, clients int) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for c := range clients {
		wg.Go(func() {
			for i := c; i < f.size && ctx.Err() == nil; i += clients {
				if err := f.server.want(ctx, http.StatusNoContent, f.register(i)); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(failed, ctx.Err())
}

// do makes a request, reads the answer, and returns the status.
func (s *server) do(ctx context.Context, r request) (int, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+s.addr+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

func (s *server) want(ctx context.Context, want int, r request) error {
	code, err := s.do(ctx, r)
	if err == nil && code != want {
		err = fmt.Errorf("%s %s: status %d, want %d", r.method, r.path, code, want)
	}
	return err
}

// measured is what a workload cost.
type measured struct {
	rate     float64       // requests a second
	cpu      time.Duration // of the server, a request
	p50, p99 time.Duration // of a request
	memory   float64       // of the server at its end, in megabytes
}

// deferred is how long after a workload the server's CPU still counts: it may have put
// work off.
const deferred = 2 * time.Second

// measure puts a workload on the server for a while.
func (f *fleet) measure(ctx context.Context, o *options, w workload, lasts time.Duration) (measured, error) {
	clients := o.clients
	if w.clients > 0 {
		clients = w.clients
	}
	before, err := f.server.cpu()
	if err != nil {
		return measured{}, err
	}
	times := make([][]time.Duration, clients)
	errs := make([]error, clients)
	began := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 1)) //nolint:gosec // not negative
			for n := 0; time.Since(began) < lasts && ctx.Err() == nil; n++ {
				r, asked := w.next(f, rnd, n), time.Now()
				code, err := f.server.do(ctx, r)
				if err != nil || code >= http.StatusInternalServerError {
					errs[c] = fmt.Errorf("%s %s: status %d, %w", r.method, r.path, code, err)
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
		return measured{}, ctx.Err()
	}
	after, err := f.server.cpu()
	memory, err2 := f.server.memory()
	all := slices.Concat(times...)
	if err := errors.Join(errors.Join(errs...), err, err2); err != nil {
		return measured{}, err
	}
	if len(all) == 0 {
		return measured{}, errors.New("no request was answered")
	}
	slices.Sort(all)
	return measured{
		rate: float64(len(all)) / took.Seconds(), cpu: (after - before) / time.Duration(len(all)),
		p50: all[len(all)/2], p99: all[len(all)*99/100], memory: memory,
	}, nil
}
