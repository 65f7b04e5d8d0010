package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/await"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestMain also fails when a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what is polled for; only a failing test takes that long.
const patience = 30 * time.Second

// eventually polls until check returns nil.
func eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	await.Nil(tb, patience, what, check)
}

// testNode is a running node, and a client that talks to it alone.
type testNode struct {
	*node.Node
	*client.Client
	stop func() error // Node.Close; the client has a Close too
}

// start starts a node of cluster natstest.Cluster and closes it when the test
// ends.
func start(tb testing.TB, opts node.Options) testNode {
	tb.Helper()
	if opts.Cluster == "" {
		opts.Cluster = natstest.Cluster
	}
	if opts.Logger == nil {
		opts.Logger = natstest.Logger(tb)
	}
	n, err := node.Start(tb.Context(), opts)
	if err != nil {
		tb.Fatalf("start node %q: %v", opts.Name, err)
	}
	return adopt(tb, n)
}

// adopt closes a node when the test ends, and gives it a client.
func adopt(tb testing.TB, n *node.Node) testNode {
	tb.Helper()
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Errorf("close node %q: %v", n.Name(), err)
		}
	})
	c, err := client.New(client.Options{URLs: []string{n.URL()}, Timeout: patience})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return testNode{n, c, n.Close}
}

// startCluster starts nodes n1, n2, … and waits until each reaches all others.
func startCluster(tb testing.TB, size int, opts node.Options) []testNode {
	tb.Helper()
	nodes := make([]testNode, size)
	for i := range nodes {
		opts.Name = fmt.Sprintf("n%d", i+1)
		nodes[i] = start(tb, opts)
	}
	meet(tb, nodes...)
	return nodes
}

// meet waits until each node reaches all others.
func meet(tb testing.TB, nodes ...testNode) {
	tb.Helper()
	for _, n := range nodes {
		eventually(tb, n.Name()+" reaches all peers", func() error {
			m := scrape(tb, n)
			if got := m.value("registryd_cluster_peers", "status", "reachable"); got != float64(len(nodes)-1) {
				return fmt.Errorf("it reaches %v", got)
			}
			return nil
		})
	}
}

// instance returns an instance as a client registers it. generation is in its
// metadata.
func instance(id, generation string) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: id + ".test", App: "ORDERS", IPAddr: "192.0.2.1",
		Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		Port: eureka.Port{Number: 8080, Enabled: true}, SecurePort: eureka.Port{Number: 443}, CountryID: 1,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
		LastDirtyTimestamp: time.Now().UnixMilli(),
		Metadata:           map[string]string{"generation": generation},
	}
}

// register registers instances at a node, one after the other.
func register(tb testing.TB, n testNode, ids ...string) {
	tb.Helper()
	for _, id := range ids {
		if err := n.Register(tb.Context(), instance(id, "1")); err != nil {
			tb.Fatalf("register %s at %s: %v", id, n.Name(), err)
		}
	}
}

// lists reports whether a node lists exactly these instances, in any order.
func lists(ctx context.Context, n testNode, ids ...string) error {
	all, err := n.Applications(ctx)
	if err != nil {
		return err
	}
	var got []string
	for _, app := range all.Applications {
		for _, i := range app.Instances {
			got = append(got, i.ID())
		}
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(ids))
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s lists %d: %.200v, want %d: %.200v", n.Name(), len(got), got, len(want), want)
	}
	return nil
}

// allList waits until all nodes list exactly these instances.
func allList(tb testing.TB, nodes []testNode, ids ...string) {
	tb.Helper()
	for _, n := range nodes {
		eventually(tb, fmt.Sprintf("%s lists %.200v", n.Name(), ids), func() error { return lists(tb.Context(), n, ids...) })
	}
}

// get fetches a path of a node's server, such as /metrics.
func get(tb testing.TB, n testNode, path string) (code int, body string, err error) {
	tb.Helper()
	url := strings.TrimSuffix(n.URL(), "/eureka/") + path
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), errors.Join(err, res.Body.Close())
}

// ready waits until a node's /readyz says state.
func ready(tb testing.TB, n testNode, state string) {
	tb.Helper()
	eventually(tb, n.Name()+" says "+state, func() error {
		code, body, err := get(tb, n, "/readyz")
		if err == nil && (code != http.StatusOK || body != state) {
			err = fmt.Errorf("/readyz: got %d %q", code, body)
		}
		return err
	})
}

// metrics is what a node exposes on /metrics: counters and gauges by name.
type metrics map[string][]series

type series struct {
	labels map[string]string
	value  float64
}

func scrape(tb testing.TB, n testNode) metrics {
	tb.Helper()
	code, body, err := get(tb, n, "/metrics")
	if err != nil || code != http.StatusOK {
		tb.Fatalf("%s: /metrics: got %d, %v", n.Name(), code, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		tb.Fatalf("%s: /metrics can't be read: %v", n.Name(), err)
	}
	all := metrics{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			one := series{labels: map[string]string{}, value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, label := range m.GetLabel() {
				one.labels[label.GetName()] = label.GetValue()
			}
			all[name] = append(all[name], one)
		}
	}
	return all
}

// find returns the sum of the series of a name with these labels, given as name
// and value in turn, and how many there are.
func (m metrics) find(name string, labels ...string) (sum float64, n int) {
	for _, one := range m[name] {
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && one.labels[labels[i]] == labels[i+1]
		}
		if match {
			sum += one.value
			n++
		}
	}
	return sum, n
}

// value returns the only series of a name with these labels; -1 stands for none.
func (m metrics) value(name string, labels ...string) float64 {
	v, n := m.find(name, labels...)
	if n != 1 {
		return -1
	}
	return v
}

// failures returns how many sends to a peer have failed.
func (m metrics) failures(peer string) float64 {
	all, _ := m.find("registryd_batcher_sends_total", "peer", peer)
	return all - m.value("registryd_batcher_sends_total", "peer", peer, "outcome", "answered")
}

// checkLaw checks the law of conservation in the series of a node's pipelines:
// each offered action is acknowledged, merged, dropped, pending or in flight.
func checkLaw(tb testing.TB, n testNode, peers ...string) {
	tb.Helper()
	m := scrape(tb, n)
	for _, peer := range peers {
		terms := map[string]float64{}
		total := 0.0
		for _, name := range []string{
			"acceptor_done_actions_total", "acceptor_dropped_actions_total",
			"acceptor_queue_actions", "acceptor_processing_order_slots", "acceptor_retrying_slots", "acceptor_in_flight_slots",
		} {
			v, found := m.find("registryd_"+name, "peer", peer)
			if found == 0 {
				tb.Errorf("%s exposes no registryd_%s of peer %s", n.Name(), name, peer)
			}
			terms[name] = v
			total += v
		}
		offered := m.value("registryd_acceptor_offered_actions_total", "peer", peer)
		if offered != total {
			tb.Errorf("%s to %s: offered %v, but the terms add up to %v: %v", n.Name(), peer, offered, total, terms)
		}
	}
}

// sent is one task as a tailer sees it.
type sent struct {
	from, to string
	batch    string
	position int // from 1
	of       int
	item     eureka.Item
}

func (s sent) route() string { return s.from + ">" + s.to }

// tailer listens to what the nodes of cluster natstest.Cluster send each other.
type tailer struct {
	mu      sync.Mutex
	tasks   []sent
	replies int
	faults  []string
}

// startTailer listens until the test ends.
func startTailer(tb testing.TB, server *broker.Server) *tailer {
	tb.Helper()
	subjects, err := broker.NewSubjects(natstest.Cluster)
	if err != nil {
		tb.Fatal(err)
	}
	w, err := broker.Watch(tb.Context(), broker.WatchOptions{
		Access: broker.Access{Server: server}, Cluster: natstest.Cluster, Logger: natstest.Logger(tb),
	})
	if err != nil {
		tb.Fatal(err)
	}
	s := &tailer{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for m := range w.Messages() {
			s.take(subjects, m)
		}
	})
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			tb.Errorf("close the tailer: %v", err)
		}
		reading.Wait()
		if n := w.Stats().Dropped; n > 0 {
			tb.Errorf("the tailer missed %d messages", n)
		}
		for _, fault := range s.faults {
			tb.Error(fault)
		}
	})
	return s
}

func (s *tailer) take(subjects broker.Subjects, m broker.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to, from, ok := subjects.ParseBatch(m.Subject)
	if !ok {
		s.replies++
		return
	}
	list, err := eureka.DecodeReplicationList(m.Body, eureka.ListOptions{NATS: true})
	if err != nil {
		s.faults = append(s.faults, fmt.Sprintf("batch on %s can't be read: %v", m.Subject, err))
	}
	for i, item := range list {
		if item.Err != nil || item.State == nil {
			s.faults = append(s.faults, fmt.Sprintf("item %d on %s: state %v, %v", i+1, m.Subject, item.State, item.Err))
			continue
		}
		s.tasks = append(s.tasks, sent{from, to, m.Get(broker.HeaderBatch), i + 1, len(list), item})
	}
}

// of returns the tasks of one instance so far, in order.
func (s *tailer) of(id string) []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sent
	for _, task := range s.tasks {
		if task.item.ID == id {
			out = append(out, task)
		}
	}
	return out
}

// all returns all tasks so far, in order.
func (s *tailer) all() []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tasks)
}

// waitFor waits until a task of an instance was seen on each route, as "n1>n2".
func (s *tailer) waitFor(tb testing.TB, id string, routes ...string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("a task of %s on each of %v", id, routes), func() error {
		seen := map[string]bool{}
		for _, task := range s.of(id) {
			seen[task.route()] = true
		}
		for _, route := range routes {
			if !seen[route] {
				return fmt.Errorf("seen on %v", slices.Sorted(maps.Keys(seen)))
			}
		}
		return nil
	})
}
