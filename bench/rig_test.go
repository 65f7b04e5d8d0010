// Package bench_test measures whole paths of a node: over sockets, with peers.
//
//	client ──TCP──▶ api.Server ──▶ api ──▶ registry ──▶ cluster ──▶ pipelines ──▶ peers that take everything
package bench_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// rig is the parts of a node that a client's request passes, with peers that take each
// batch at once and do nothing with it.
type rig struct {
	api.Node // nil: what is not below is not called

	reg     *registry.Registry
	cluster *cluster.Cluster
	handler *api.Handler
	begun   time.Time
	peers   []membership.Presence
	send    func(ctx context.Context, to, batch string, body []byte) ([]byte, error) // nil: all is taken
}

// newRig returns a rig that is ready, in touch with so many peers. It ends with tb.
func newRig(tb testing.TB, peers int) *rig {
	tb.Helper()
	g := &rig{}
	g.run(tb, peers, cluster.Options{})
	return g
}

// run is newRig for a rig that knows how it sends.
func (g *rig) run(tb testing.TB, peers int, opts cluster.Options) {
	tb.Helper()
	g.begun = time.Now()
	metrics := prometheus.NewRegistry()
	var err error
	if g.reg, err = registry.New(registry.Options{Sink: g, Metrics: metrics}); err != nil {
		tb.Fatal(err)
	}
	opts.Node, opts.Metrics = "measured", metrics
	if g.cluster, err = cluster.New(g.reg, g, opts); err != nil {
		tb.Fatal(err)
	}
	if g.handler, err = api.New(g.reg, api.Options{Node: g, Metrics: metrics, Gatherer: metrics}); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	tb.Cleanup(func() {
		cancel()
		running.Wait()
	})
	running.Go(func() { g.cluster.Run(ctx) }) //nolint:errcheck // nothing is to be announced
	g.until(tb, func() bool { return g.cluster.Status().Ready })
	for i := range peers {
		id, err := uuid.NewV7()
		if err != nil {
			tb.Fatal(err)
		}
		g.peers = append(g.peers, membership.Presence{
			Node: fmt.Sprintf("peer-%02d", i), Incarnation: id, State: membership.Ready, Synced: true,
		})
	}
	g.beHeard()
	g.until(tb, func() bool { return len(g.cluster.Peers()) == peers })
	running.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				g.beHeard()
			}
		}
	})
}

// until waits for a condition.
func (g *rig) until(tb testing.TB, is func() bool) {
	tb.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			tb.Fatal("the rig is not ready")
		}
	}
}

// beHeard announces the peers, each with the digest of this node.
func (g *rig) beHeard() {
	for _, p := range g.peers {
		p.Time, p.Digest = time.Now().UnixMilli(), membership.Digest(g.reg.Digest())
		g.cluster.HandlePresence(p)
	}
}

// fill registers instances, twenty to an application, and returns their paths.
func (g *rig) fill(n int) []string {
	paths := make([]string, n)
	for i := range paths {
		app, id := fmt.Sprintf("APP-%03d", i/20), fmt.Sprintf("host-%06d.example.com:app:8080", i)
		g.reg.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: id, App: app, IPAddr: "10.0.0.1", Status: eureka.StatusUp,
			OverriddenStatus: eureka.StatusUnknown, Port: eureka.Port{Number: 8080, Enabled: true},
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, VIPAddress: new("app"),
			LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 3600},
			Metadata:           map[string]string{"management.port": "8081", "zone": "eu-west-1a"},
			LastDirtyTimestamp: 1_700_000_000_000,
		}, registry.Origin{})
		paths[i] = "/eureka/apps/" + app + "/" + id
	}
	return paths
}

// Changed implements registry.Sink.
func (g *rig) Changed(c registry.Change) { g.cluster.Changed(c) }

// Readiness implements api.Node.
func (g *rig) Readiness() api.Readiness {
	is := g.cluster.Status()
	return api.Readiness{State: is.Text, Ready: is.Ready, Reads: is.Reads, Empty: is.Empty, Stale: !is.Writes}
}

// Overview implements api.Node.
func (*rig) Overview() api.Overview { return api.Overview{} }

// MaxTask implements api.Node.
func (g *rig) MaxTask() int { return g.cluster.MaxTask() }

// Request implements cluster.Transport: a peer that says 200 to all, or another.
func (g *rig) Request(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
	if g.send != nil {
		return g.send(ctx, to, batch, body)
	}
	result := []byte(`{"statusCode":200},`)
	all := bytes.Repeat(result, bytes.Count(body, []byte(`"appName":`)))
	return append(append([]byte(eureka.ReplicationListResponseHead), bytes.TrimSuffix(all, []byte(","))...),
		eureka.ReplicationListResponseTail...), nil
}

// Sync implements cluster.Transport: the digests are the same, so nothing is asked.
func (*rig) Sync(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("no answer")
}

// MaxPayload implements cluster.Transport.
func (*rig) MaxPayload() int { return 1 << 20 }

// Announce implements cluster.Transport.
func (g *rig) Announce(p membership.Presence) error {
	g.cluster.HandlePresence(p)
	return nil
}

// Ask implements cluster.Transport.
func (*rig) Ask() error { return nil }

// Link implements cluster.Transport.
func (g *rig) Link() membership.Link { return membership.Link{Up: true, Since: g.begun} }

var (
	_ cluster.Transport = (*rig)(nil)
	_ http.Handler      = (*api.Handler)(nil)
)
