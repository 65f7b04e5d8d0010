package regions_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// remote is a Eureka server of another region, which answers in memory.
type remote struct {
	mu       sync.Mutex
	reg      *registry.Registry
	down     bool                                      // it refuses connections
	status   func(path string) int                     // of an answer; 0: 200
	change   func(path string, a *eureka.Applications) // what it answers
	requests []string
	logins   map[string]bool
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	return &remote{reg: newRegistry(t), logins: make(map[string]bool)}
}

func newRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func (r *remote) set(f func(*remote)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// asked returns the paths asked for since the last call.
func (r *remote) asked() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := strings.Join(r.requests, " ")
	r.requests = nil
	return out
}

func (r *remote) answer(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, syscall.ECONNREFUSED
	}
	user, password, _ := req.BasicAuth()
	r.logins[user+":"+password] = true
	path := strings.TrimPrefix(req.URL.Path, "/eureka/")
	r.requests = append(r.requests, path)
	reply := func(code int, body []byte) (*http.Response, error) {
		return &http.Response{StatusCode: code, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
	}
	if r.status != nil {
		if code := r.status(path); code != 0 {
			return reply(code, nil)
		}
	}
	var list eureka.Applications
	switch req.URL.RawQuery + " " + path {
	case "regions=local-only apps/":
		list = r.reg.Applications()
	case "regions=local-only apps/delta":
		r.reg.SweepDelta()
		list = r.reg.Delta()
	default:
		return reply(404, nil)
	}
	if r.change != nil {
		r.change(path, &list)
	}
	return reply(200, eureka.Form{}.AppendApplications(nil, list))
}

// world routes requests to the remotes by host.
type world map[string]*remote

func (w world) RoundTrip(req *http.Request) (*http.Response, error) {
	r := w[req.URL.Host]
	if r == nil {
		return nil, syscall.EHOSTUNREACH
	}
	return r.answer(req)
}

// lockedBuffer is a log that many goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a set that fetches.
type running struct {
	*regions.Set
	log     *lockedBuffer
	metrics *prometheus.Registry
}

// run starts a set in a bubble. Its regions are named like the hosts of w.
func run(t *testing.T, w world, opts regions.Options, names ...string) running {
	t.Helper()
	out := running{log: new(lockedBuffer), metrics: prometheus.NewRegistry()}
	if opts.Regions == nil {
		for _, name := range names {
			opts.Regions = append(opts.Regions, regions.Region{Name: name, URL: "http://me:secret@" + name + "/eureka"})
		}
	}
	opts.RoundTripper, opts.Metrics = w, out.metrics
	opts.Logger = slog.New(slog.NewTextHandler(out.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if out.Set, err = regions.New(opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		out.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			t.Log(out.log)
		}
	})
	synctest.Wait()
	return out
}

// fetches returns how many requests to a region ended so.
func (r running) fetches(t *testing.T, region, outcome string) int {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "registryd_regions_fetches_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			got := map[string]string{}
			for _, l := range m.GetLabel() {
				got[l.GetName()] = l.GetValue()
			}
			if got["region"] == region && got["outcome"] == outcome {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("no counter of %s, %s", region, outcome)
	return 0
}

// instance returns an instance.
func instance(app, id string, status eureka.Status, ldt int64) *eureka.InstanceInfo {
	vip := strings.ToLower(app)
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: id + ".example", App: app, IPAddr: "192.0.2.1",
		Status: status, OverriddenStatus: eureka.StatusUnknown,
		Port:       eureka.Port{Number: 8080, Enabled: true},
		SecurePort: eureka.Port{Number: eureka.DefaultSecurePort}, CountryID: eureka.DefaultCountryID,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo: eureka.LeaseInfo{
			RenewalIntervalInSecs: eureka.DefaultRenewalInterval, DurationInSecs: eureka.DefaultDuration,
		},
		VIPAddress: &vip, SecureVIPAddress: &vip, LastDirtyTimestamp: ldt,
	}
}

// put registers instances, given as APP/id.
func put(reg *registry.Registry, status eureka.Status, names ...string) {
	for _, name := range names {
		app, id, _ := strings.Cut(name, "/")
		reg.Register(instance(app, id, status, 1), registry.Origin{})
	}
}

// shown spells a list: a word per instance, then its hash code.
func shown(a eureka.Applications) string {
	var out []string
	for _, app := range a.Applications {
		for _, i := range app.Instances {
			out = append(out, fmt.Sprintf("%s/%s=%s", app.Name, i.ID(), i.Status))
		}
	}
	return strings.Join(append(out, a.HashCode), " ")
}

// changed spells a delta: with the action types.
func changed(a eureka.Applications) string {
	var out []string
	for _, app := range a.Applications {
		for _, i := range app.Instances {
			out = append(out, fmt.Sprintf("%s/%s=%s,%s", app.Name, i.ID(), i.Status, i.ActionType))
		}
	}
	return strings.Join(append(out, a.HashCode), " ")
}

// pass lets time pass in a bubble, and what it brings end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
