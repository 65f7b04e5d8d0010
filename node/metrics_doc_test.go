package node_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/regions"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

const metricsDoc = "../docs/metrics.md"

// description matches the text of a Desc, which offers its content in no other
// way.
var description = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*)", unit: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// family is a metric as the program describes it.
type family struct{ name, help, labels string }

// families returns all metrics of a whole node: of every part, with the log's and
// those of a peer.
func families(t *testing.T) (described []family, shown string) {
	t.Helper()
	queue := logqueue.New(io.Discard, nil)
	t.Cleanup(func() { queue.Close() })
	opts := node.Options{
		Name: "n1", Broker: broker.Access{Server: natstest.TCP(t)}, DataDir: t.TempDir(), Collectors: []prometheus.Collector{queue},
		RemoteRegions: []regions.Region{{Name: "east", URL: "http://127.0.0.1:1/eureka/"}},
	}
	first := start(t, opts)
	second := start(t, node.Options{Name: "n2", Broker: opts.Broker})
	meet(t, first, second)
	register(t, first, "a")
	eventually(t, "n2 has it", func() error { return lists(t.Context(), second, "a") })

	// What asks for logins has metrics that the others lack.
	guarded := start(t, secured(t, certstest.NewCA(t, "ca"), node.Options{Name: "n3"}))
	metrics, more := first.MetricsHere(), guarded.MetricsHere()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		metrics.Describe(descs)
		more.Describe(descs)
	}()
	byName := map[string]family{}
	for desc := range descs {
		m := description.FindStringSubmatch(desc.String())
		if m == nil {
			t.Fatalf("%s: not understood", desc)
		}
		name := m[1]
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue // the library's own
		}
		labels := strings.Split(m[4], ",")
		for constant := range strings.SplitSeq(m[3], ",") {
			label, _, _ := strings.Cut(constant, "=")
			labels = append(labels, label)
		}
		labels = slices.DeleteFunc(labels, func(s string) bool { return s == "" })
		slices.Sort(labels)
		byName[name] = family{name, strings.ReplaceAll(m[2], `\"`, `"`), strings.Join(slices.Compact(labels), ", ")}
	}
	code, shown, err := get(t, first, "/metrics")
	if err != nil || code != http.StatusOK {
		t.Fatalf("/metrics: %d, %v", code, err)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		described = append(described, byName[name])
	}
	return described, shown
}

// TestMetrics checks every metric of a node against Prometheus's rules for
// names and texts, and docs/metrics.md against the program. `make docs` writes
// it anew.
func TestMetrics(t *testing.T) {
	described, shown := families(t)
	all := strings.Builder{}
	all.WriteString(shown)
	for _, f := range described {
		if help := "# HELP " + f.name + " "; !strings.Contains(shown, help) { // there is no series yet
			kind := "untyped"
			if strings.HasSuffix(f.name, "_total") {
				kind = "counter"
			}
			fmt.Fprintf(&all, "%s%s\n# TYPE %s %s\n%s 0\n", help, f.help, f.name, kind, f.name)
		}
	}
	problems, err := promlint.New(strings.NewReader(all.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "go_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^# HELP (registryd_\S+) `).FindAllStringSubmatch(shown, -1) {
		if !slices.ContainsFunc(described, func(f family) bool { return f.name == m[1] }) {
			t.Errorf("%s is shown, but no part describes it", m[1])
		}
	}

	var doc bytes.Buffer
	fmt.Fprintf(&doc, "# Metrics\n\nWritten by `make docs` from the program; a test fails when it is out of date. What ends in `_total` is a counter. A name\n"+
		"that is also shown with `_bucket`, `_sum` and `_count` is a histogram. Beside these `/metrics` has the `go_` and `process_`\nmetrics of the Prometheus client.\n\n"+
		"| metric | labels | what |\n| --- | --- | --- |\n")
	for _, f := range described {
		fmt.Fprintf(&doc, "| `%s` | %s | %s |\n", f.name, f.labels, strings.ReplaceAll(f.help, "|", `\|`))
	}
	if *update {
		if err := os.WriteFile(metricsDoc, doc.Bytes(), 0o644); err != nil { //nolint:gosec // A document.
			t.Fatal(err)
		}
		return
	}
	now, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(now, doc.Bytes()) {
		t.Errorf("%s is out of date: run `make docs`", metricsDoc)
	}
}
