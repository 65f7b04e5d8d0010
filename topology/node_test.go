package topology_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

const clusterName = "test"

// node is a registryd serve, as a process of its own, and a client that talks
// to it alone.
type node struct {
	*process
	*client.Client
	id   string
	args []string
	base string // http://host:port
}

// spawnNode starts a node and does not wait for it.
func spawnNode(tb testing.TB, id string, args ...string) *node {
	tb.Helper()
	address := freeAddress(tb)
	n := &node{id: id, base: "http://" + address}
	// Flags that come later win.
	n.args = append([]string{
		"serve", "--node", id, "--cluster", clusterName, "--listen", address, "--batch-delay", "100ms", "--data", "none",
	}, args...)
	c, err := client.New(client.Options{URLs: []string{n.base + "/eureka/"}, Timeout: patience})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	n.Client = c
	n.process = spawn(tb, id, nil, programs.registryd, n.args...)
	return n
}

// startNode starts a node and waits until it serves.
func startNode(tb testing.TB, id string, args ...string) *node {
	tb.Helper()
	n := spawnNode(tb, id, args...)
	n.serves(tb)
	return n
}

// restart starts the node again, where it was and as it was.
func (n *node) restart(tb testing.TB) {
	tb.Helper()
	n.process = spawn(tb, n.id, nil, programs.registryd, n.args...)
	n.serves(tb)
}

func (n *node) serves(tb testing.TB) {
	tb.Helper()
	eventually(tb, n.id+" serves", func() error {
		if err := n.ended(); err != nil {
			tb.Fatalf("%v:\n%s", err, n.err)
		}
		code, _, err := fetch(tb.Context(), n.base+"/status")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("/status: %d", code)
		}
		return err
	})
}

// state waits until /readyz answers code with a text that begins with state.
func (n *node) state(tb testing.TB, code int, state string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%s says %d %s", n.id, code, state), func() error {
		got, body, err := fetch(tb.Context(), n.base+"/readyz")
		if err != nil || got != code || !strings.HasPrefix(body, state) {
			return fmt.Errorf("/readyz: %d %q, %w", got, body, err)
		}
		return nil
	})
}

// meet waits until each node reaches all others and their start is over: what follows
// happens to a cluster that serves.
func meet(tb testing.TB, nodes ...*node) {
	tb.Helper()
	for _, n := range nodes {
		n.metric(tb, float64(len(nodes)-1), "registryd_cluster_peers", "status", "reachable")
		n.state(tb, http.StatusOK, "")
	}
}

// metric waits until a series has a value.
func (n *node) metric(tb testing.TB, want float64, name string, labels ...string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%s: %s%v is %v", n.id, name, labels, want), func() error {
		got, err := n.value(tb.Context(), name, labels...)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// atLeast waits until a series has a value or more.
func (n *node) atLeast(tb testing.TB, want float64, name string, labels ...string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%s: %s%v is at least %v", n.id, name, labels, want), func() error {
		got, err := n.value(tb.Context(), name, labels...)
		if err != nil {
			return err
		}
		if got < want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// now returns the sum of the series of a name with these labels, given as name
// and value in turn.
func (n *node) now(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	v, err := n.value(tb.Context(), name, labels...)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func (n *node) value(ctx context.Context, name string, labels ...string) (float64, error) {
	code, body, err := fetch(ctx, n.base+"/metrics")
	if err != nil || code != http.StatusOK {
		return 0, fmt.Errorf("%s: /metrics: %d, %w", n.id, code, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && has[labels[i]] == labels[i+1]
		}
		if match {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum, nil
}

// instance returns an instance as a client registers it, with a generation in
// its metadata and as many bytes of metadata more.
func instance(id, generation string, size int) *eureka.InstanceInfo {
	i := &eureka.InstanceInfo{
		InstanceID: &id, HostName: id + ".test", App: "ORDERS", IPAddr: "192.0.2.1",
		Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		Port: eureka.Port{Number: 8080, Enabled: true}, SecurePort: eureka.Port{Number: 443}, CountryID: 1,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
		LastDirtyTimestamp: time.Now().UnixMilli(),
		Metadata:           map[string]string{"generation": generation},
	}
	if size > 0 {
		i.Metadata["ballast"] = strings.Repeat("x", size)
	}
	return i
}

// register registers instances of generation 1, one after the other.
func (n *node) register(tb testing.TB, ids ...string) {
	tb.Helper()
	for _, id := range ids {
		if err := n.Register(tb.Context(), instance(id, "1", 0)); err != nil {
			tb.Fatalf("register %s at %s: %v", id, n.id, err)
		}
	}
}

// listed returns the generation of each instance that a node lists.
func (n *node) listed(ctx context.Context) (map[string]string, error) {
	all, err := n.Applications(ctx)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, app := range all.Applications {
		for _, i := range app.Instances {
			got[i.ID()] = i.Metadata["generation"]
		}
	}
	return got, nil
}

// list waits until all nodes list exactly these instances.
func list(tb testing.TB, nodes []*node, ids ...string) {
	tb.Helper()
	slices.Sort(ids)
	for _, n := range nodes {
		eventually(tb, fmt.Sprintf("%s lists %.200v", n.id, ids), func() error {
			listed, err := n.listed(tb.Context())
			if err != nil {
				return err
			}
			var got []string
			for id := range listed {
				got = append(got, id)
			}
			if slices.Sort(got); !slices.Equal(got, ids) {
				return fmt.Errorf("it lists %d: %.200v", len(got), got)
			}
			return nil
		})
	}
}

// refusedWith posts a registration and returns the answer to it.
func (n *node) refusedWith(tb testing.TB, i *eureka.InstanceInfo) (int, string) {
	tb.Helper()
	err := n.Register(tb.Context(), i)
	if refused, ok := errors.AsType[*client.StatusError](err); ok {
		return refused.Code, refused.Error()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return http.StatusNoContent, ""
}

// task is a line of tail --json.
type task struct {
	Batch    string   `json:"batch"`
	From     string   `json:"from"`
	To       string   `json:"to"`
	Position int      `json:"position"`
	Of       int      `json:"of"`
	Action   string   `json:"action"`
	ID       string   `json:"id"`
	RTTMS    *float64 `json:"rtt_ms"`
	Status   *int     `json:"status"`
	Result   string   `json:"result"`
	Bytes    int      `json:"bytes"`
}

// startTail starts registryd tail --json, and waits until it is connected. See
// listening.
func startTail(tb testing.TB, args ...string) *process {
	tb.Helper()
	p := spawn(tb, "tail", nil, programs.registryd,
		append([]string{"tail", "--json", "--cluster", clusterName, "--log-level", "info"}, args...)...)
	eventually(tb, "tail is connected", func() error {
		if err := p.ended(); err != nil {
			tb.Fatalf("%v:\n%s", err, p.err)
		}
		if len(p.err.with("connected to broker")) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	return p
}

// listening waits until a tail shows the messages of each of these nodes to
// each other: until then its subscription is on its way from server to server.
func listening(tb testing.TB, tail *process, nodes ...*node) {
	tb.Helper()
	for _, from := range nodes {
		id := "probe-" + from.id
		eventually(tb, "tail shows the messages of "+from.id, func() error {
			from.register(tb, id)
			shown := map[string]bool{}
			for _, t := range tasks(tb, tail, id) {
				shown[t.To] = shown[t.To] || t.Result == "ok"
			}
			for _, to := range nodes {
				if to != from && !shown[to.id] {
					return fmt.Errorf("nothing to %s yet", to.id)
				}
			}
			return nil
		})
		if err := from.Cancel(tb.Context(), "ORDERS", id); err != nil {
			tb.Error(err)
		}
	}
	for _, n := range nodes {
		eventually(tb, "the probes are gone from "+n.id, func() error {
			got, err := n.listed(tb.Context())
			for id := range got {
				if strings.HasPrefix(id, "probe-") {
					return fmt.Errorf("it lists %s", id)
				}
			}
			return err
		})
	}
}

// tasks returns the lines that a tail has printed about these instances.
func tasks(tb testing.TB, tail *process, ids ...string) []task {
	tb.Helper()
	var out []task
	for _, line := range tail.out.with() {
		var t task
		if err := json.Unmarshal([]byte(line), &t); err != nil {
			tb.Fatalf("tail says %q: %v", line, err)
		}
		if len(ids) == 0 || slices.Contains(ids, t.ID) {
			out = append(out, t)
		}
	}
	return out
}

// seen waits until a tail has shown a task of an instance with result ok on each
// route, written from>to.
func seen(tb testing.TB, tail *process, id string, routes ...string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("tail shows %s on %v", id, routes), func() error {
		got := map[string]string{}
		for _, t := range tasks(tb, tail, id) {
			if t.Result == "ok" && t.Status != nil && *t.Status == http.StatusOK && t.RTTMS != nil {
				got[t.From+">"+t.To] = t.Action
			}
		}
		for _, route := range routes {
			if got[route] == "" {
				return fmt.Errorf("it shows %v", got)
			}
		}
		return nil
	})
}

// numbered returns the names of n instances.
func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + strconv.Itoa(i)
	}
	return out
}
