package docs_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metricLabels returns the labels of every metric of the program, from docs/metrics.md, which is
// made of it.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(registryd_[a-z0-9_]+)` \\| ([a-z_, ]*) \\|").FindAllStringSubmatch(string(text), -1) {
		out[m[1]] = append(strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' }), "job", "instance", "le")
	}
	return out
}

// selector is a metric in an expression, and what may stand behind it in braces.
var selector = regexp.MustCompile(`(registryd_[a-z0-9_]+)(?:\{([^}]*)\})?`)

// unknownSelectors returns the metrics and labels in a text that the program does not have, and how
// many metrics there are.
func unknownSelectors(text string, known map[string][]string) (unknown []string, found int) {
	matcher := regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	for _, m := range selector.FindAllStringSubmatch(text, -1) {
		found++
		name := m[1]
		labels, ok := known[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if !ok {
				labels, ok = known[strings.TrimSuffix(name, suffix)]
			}
		}
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				unknown = append(unknown, name+"{"+l[1]+"}")
			}
		}
	}
	return unknown, found
}

func TestUnknownSelectors(t *testing.T) {
	known := map[string][]string{"registryd_a_total": {"peer", "job"}, "registryd_b_seconds": nil}
	unknown, found := unknownSelectors(`rate(registryd_a_total{job=~"$job", peer!="b"}[5m]) + registryd_b_seconds_bucket + registryd_c`+
		` + registryd_a_total{code="1"} + registryd_b_seconds_max`, known)
	want := []string{"registryd_c", "registryd_a_total{code}", "registryd_b_seconds_max"}
	if !slices.Equal(unknown, want) || found != 5 {
		t.Errorf("got %q of %d, want %q of 5", unknown, found, want)
	}
}

// TestRulesNameMetrics checks that the program has every metric and label of the alerts, of their
// tests and of the dashboard, and that each alert is tested and has a paragraph in
// docs/operations.md.
func TestRulesNameMetrics(t *testing.T) {
	known := metricLabels(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	rules, tests := read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml")
	dashboard := read("deploy/grafana/registryd.json")
	texts := map[string]string{"alerts.yml": rules, "alerts_test.yml": tests}

	var parsed struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(dashboard), &parsed); err != nil {
		t.Fatalf("registryd.json: %v", err)
	}
	for _, p := range parsed.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("registryd.json: panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			texts["registryd.json, panel "+p.Title] += target.Expr + "\n"
		}
	}
	total := 0
	for name, text := range texts {
		unknown, found := unknownSelectors(text, known)
		total += found
		if len(unknown) > 0 {
			t.Errorf("%s: the program has no %q", name, unknown)
		}
	}
	if total < 80 {
		t.Errorf("%d metrics found: is the format another?", total)
	}

	operations := read("docs/operations.md")
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 15 {
		t.Errorf("%d alerts found: is the format another?", len(alerts))
	}
	for _, a := range alerts {
		if !strings.Contains(operations, "\n### "+a[1]+"\n\n") {
			t.Errorf("docs/operations.md does not say what to do about %s", a[1])
		}
		if !strings.Contains(rules, "runbook: docs/operations.md#"+strings.ToLower(a[1])+"\n") {
			t.Errorf("alerts.yml: %s has no runbook", a[1])
		}
		if !regexp.MustCompile(`alertname: `+a[1]+`\n\s+exp_alerts:\n`).MatchString(tests) || !regexp.MustCompile(`alertname: `+a[1]+`\n\s+exp_alerts: \[\]`).MatchString(tests) {
			t.Errorf("alerts_test.yml does not test that %s is quiet and fires", a[1])
		}
	}
}
