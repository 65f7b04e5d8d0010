package consumer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds the wait for an answer; only a failing test takes that long.
const patience = 10 * time.Second

// start is when the fake clocks start, ms since 1970.
const start int64 = 1_700_000_000_000

// whole is what a Register and a Cancel carry.
const whole = registry.Registered | registry.Overridden

// clock is the time of a test. It moves only when the test says so.
type clock struct{ ms atomic.Int64 }

func (c *clock) Now() time.Time      { return time.UnixMilli(c.ms.Load()) }
func (c *clock) Add(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// recorder is a Sink that keeps what it gets until it is taken.
type recorder struct {
	mu      sync.Mutex
	changes []registry.Change
}

func (r *recorder) Changed(c registry.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
}

func (r *recorder) take() []registry.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	changes := r.changes
	r.changes = nil
	return changes
}

// node is a consumer and its registry.
type node struct {
	*consumer.Consumer
	reg     *registry.Registry
	sink    *recorder
	clock   *clock
	metrics *prometheus.Registry
}

// newNode returns a node whose consumer is closed at the end of the test.
func newNode(tb testing.TB, opts consumer.Options) *node {
	tb.Helper()
	n := newOpenNode(tb, opts)
	tb.Cleanup(n.Close)
	return n
}

// newOpenNode returns a node whose consumer the test has to end.
func newOpenNode(tb testing.TB, opts consumer.Options) *node {
	tb.Helper()
	n := &node{sink: new(recorder), clock: new(clock), metrics: prometheus.NewRegistry()}
	n.clock.ms.Store(start)
	var err error
	if n.reg, err = registry.New(registry.Options{Sink: n.sink, Now: n.clock.Now}); err != nil {
		tb.Fatalf("registry.New: %v", err)
	}
	opts.Metrics = n.metrics
	if n.Consumer, err = consumer.New(n.reg, opts); err != nil {
		tb.Fatalf("consumer.New: %v", err)
	}
	return n
}

// answer is what a sender gets: a body by Respond, or a code by Fail.
type answer struct {
	body []byte
	code int // 0: Respond was called
	text string
}

func (a answer) String() string {
	if a.code == 0 {
		return fmt.Sprintf("answered %.300s", a.body)
	}
	return fmt.Sprintf("refused %d %s", a.code, a.text)
}

// request returns a request whose answers go to the channel. A second answer
// would be seen: it has room.
func request(from string, body []byte) (consumer.Request, <-chan answer) {
	answers := make(chan answer, 4)
	return consumer.Request{
		From: from, Batch: "0197f2a4-7c1e-7b3a-9d52-3f1c5e8a6b70", Body: body,
		Respond: func(body []byte) error {
			answers <- answer{body: body}
			return nil
		},
		Fail: func(code int, text string) error {
			answers <- answer{code: code, text: text}
			return nil
		},
	}, answers
}

// wait returns the answer that comes.
func wait(tb testing.TB, answers <-chan answer) answer {
	tb.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a := <-answers:
		return a
	case <-late.C:
		tb.Fatalf("no answer within %v", patience)
		return answer{}
	}
}

// ask delivers a batch and returns its answer.
func (n *node) ask(tb testing.TB, from string, body []byte) answer {
	tb.Helper()
	req, answers := request(from, body)
	n.Deliver(req)
	return wait(tb, answers)
}

// send delivers a batch of items and returns the results.
func (n *node) send(tb testing.TB, items ...eureka.Item) []eureka.Result {
	tb.Helper()
	return results(tb, n.ask(tb, "peer", eureka.AppendReplicationList(nil, items)), len(items))
}

// results reads an answer with want results.
func results(tb testing.TB, a answer, want int) []eureka.Result {
	tb.Helper()
	if a.code != 0 {
		tb.Fatalf("got %v, want results", a)
	}
	list, err := eureka.DecodeReplicationListResponse(a.body, 0)
	if err != nil {
		tb.Fatalf("answer: %v: %s", err, a.body)
	}
	for i, res := range list {
		if res.Err != nil {
			tb.Fatalf("result %d: %v: %s", i, res.Err, a.body)
		}
	}
	if len(list) != want {
		tb.Fatalf("got %d results, want %d: %s", len(list), want, a.body)
	}
	return list
}

func codes(list []eureka.Result) []int {
	out := make([]int, len(list))
	for i := range list {
		out[i] = list[i].StatusCode
	}
	return out
}

// checkNothingSentOn takes the changes that the Sink received: all of them came
// from peers.
func (n *node) checkNothingSentOn(tb testing.TB) []registry.Change {
	tb.Helper()
	changes := n.sink.take()
	for _, c := range changes {
		if !c.IsReplication {
			tb.Errorf("the Sink received %+v, want isReplication", c)
		}
	}
	return changes
}

// checkMetrics compares metrics, named by what follows registryd_consumer_,
// with lines in Prometheus' text form, likewise cut.
func (n *node) checkMetrics(tb testing.TB, want string, names ...string) {
	tb.Helper()
	const prefix = "registryd_consumer_"
	var text strings.Builder
	for line := range strings.Lines(strings.TrimLeft(want, "\n")) {
		if line = strings.TrimSpace(line); line != "" {
			text.WriteString(prefix + line + "\n")
		}
	}
	for i := range names {
		names[i] = prefix + names[i]
	}
	got, err := n.metrics.Gather()
	if err != nil {
		tb.Fatalf("gather: %v", err)
	}
	var have strings.Builder
	for _, family := range got {
		if !slices.Contains(names, family.GetName()) {
			continue
		}
		for _, m := range family.GetMetric() {
			have.WriteString(family.GetName())
			labels := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			if len(labels) > 0 {
				have.WriteString("{" + strings.Join(labels, ",") + "}")
			}
			fmt.Fprintf(&have, " %v\n", m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	if have.String() != text.String() {
		tb.Errorf("metrics:\ngot\n%swant\n%s", have.String(), text.String())
	}
	if problems, err := testutil.GatherAndLint(n.metrics); err != nil || len(problems) > 0 {
		tb.Errorf("lint of metrics: %v, %v", problems, err)
	}
}

// instance returns what a client would post: the default lease, no override.
func instance(app, id string, status eureka.Status, ldt int64) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID:         &id,
		HostName:           id + ".example",
		App:                app,
		IPAddr:             "10.0.0.1",
		Status:             status,
		OverriddenStatus:   eureka.StatusUnknown,
		Port:               eureka.Port{Number: 8080, Enabled: true},
		SecurePort:         eureka.Port{Number: eureka.DefaultSecurePort},
		CountryID:          eureka.DefaultCountryID,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: eureka.DefaultRenewalInterval, DurationInSecs: eureka.DefaultDuration},
		LastDirtyTimestamp: ldt,
	}
}

// live returns the record of an instance, with its hash.
func live(info *eureka.InstanceInfo, version int64) registry.Record {
	r := registry.Record{
		Version:   version,
		Live:      true,
		Info:      info,
		LastDirty: info.LastDirtyTimestamp,
		Base:      info.Status,
		Duration:  time.Duration(info.LeaseInfo.DurationInSecs) * time.Second,
	}
	r.Hash = registry.HashRecord(&r)
	return r
}

// tombstone returns the record that a cancel leaves, with its hash.
func tombstone(version int64) registry.Record {
	r := registry.Record{
		Version: version, LastDirty: start - 1000, Base: eureka.StatusUnknown,
		Duration: eureka.DefaultDuration * time.Second,
	}
	r.Hash = registry.HashRecord(&r)
	return r
}

// override returns O; "" is a removal that set UNKNOWN.
func override(version int64, status eureka.Status) registry.Override {
	if status == "" {
		return registry.Override{Version: version, Status: eureka.StatusUnknown}
	}
	return registry.Override{Version: version, Set: true, Status: status}
}

// item returns the task by which a NATS peer sends e.
func item(action eureka.Action, key registry.Key, e registry.Entry) eureka.Item {
	it := eureka.Item{
		Action: action, AppName: key.App, ID: key.ID, LastDirtyTimestamp: e.Record.LastDirty,
		State: e.State(500 * time.Millisecond),
	}
	switch action {
	case eureka.ActionRegister:
		it.Status, it.InstanceInfo = registry.Visible(&e.Record, &e.Override), e.Record.Info
	case eureka.ActionCancel:
		it.LastDirtyTimestamp = eureka.NoTimestamp
	case eureka.ActionStatusUpdate, eureka.ActionDeleteStatusOverride:
		it.Status = e.Override.Status
	case eureka.ActionHeartbeat:
		it.Status = registry.Visible(&e.Record, &e.Override)
		if e.Override.Set {
			it.OverriddenStatus = e.Override.Status
		}
	}
	return it
}

// parts prints R and O of an entry.
func parts(e registry.Entry) string {
	r, o := &e.Record, &e.Override
	state, content := "dead", ""
	if r.Live {
		state, content = "live", fmt.Sprintf(" base=%s host=%s %.40v", r.Base, r.Info.HostName, r.Info.Metadata)
	}
	return fmt.Sprintf("R{v=%d %s ldt=%d dur=%s hash=%016x%s} O{v=%d set=%t %s}",
		r.Version, state, r.LastDirty, r.Duration, r.Hash, content, o.Version, o.Set, o.Status)
}

// text prints an entry.
func text(e registry.Entry) string { return fmt.Sprintf("%s lease %v old", parts(e), e.Age) }

// stored prints what a registry knows of key.
func stored(r *registry.Registry, key registry.Key) string {
	e, _, ok := r.Entry(key)
	if !ok {
		return "nothing"
	}
	return text(e)
}

// merged is the join of entries, part by part, written down again.
func merged(entries ...registry.Entry) registry.Entry {
	m := entries[0]
	for _, e := range entries[1:] {
		a, b := &e.Record, &m.Record
		if a.Version > b.Version || a.Version == b.Version && (a.Live && !b.Live || a.Live == b.Live && a.Hash > b.Hash) {
			m.Record = e.Record
		}
		c, d := &e.Override, &m.Override
		if c.Version > d.Version || c.Version == d.Version && (c.Set && !d.Set || c.Set == d.Set && c.Hash() > d.Hash()) {
			m.Override = e.Override
		}
		m.Age = min(m.Age, e.Age)
	}
	return m
}
