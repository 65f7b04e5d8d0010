package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// MaxCountedApps is how many applications have series of their own in registryd_instances. Those
// beyond it, by name, are summed as [OtherApps].
const MaxCountedApps = 1000

// OtherApps is the application under which registryd_instances sums those beyond its bound.
const OtherApps = "(others)"

// stateCollector is the metrics of what the node lists and of what it says of itself. They are
// made with each scrape.
type stateCollector struct {
	h                        *Handler
	instances, summed, state *prometheus.Desc
}

func newStateCollector(h *Handler) *stateCollector {
	return &stateCollector{
		h: h,
		instances: prometheus.NewDesc("registryd_instances",
			"Instances that readers see, without those of other regions. Of more than 1000 applications the first by "+
				"name have series of their own, and the application (others) sums the rest.",
			[]string{"application", "status"}, nil),
		summed: prometheus.NewDesc("registryd_instances_summed_applications",
			"Applications that registryd_instances sums as (others).", nil, nil),
		state: prometheus.NewDesc("registryd_state",
			"1 for the state that the node is in, as the first word of /readyz.", []string{"state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.instances
	descs <- c.summed
	descs <- c.state
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(metrics chan<- prometheus.Metric) {
	apps, others, all := c.h.reg.CountsByApp(MaxCountedApps)
	byName := make(map[string]eureka.StatusCounts, len(apps)+1)
	add := func(app string, counts eureka.StatusCounts) {
		name := strings.ToValidUTF8(app, "\uFFFD") // two may become one
		counts.Plus(byName[name])
		byName[name] = counts
	}
	for _, app := range apps {
		add(app.Name, app.Counts)
		others.Minus(app.Counts)
	}
	add(OtherApps, others)
	for name, counts := range byName {
		for _, status := range eureka.Statuses() {
			if n := counts.Count(status); n > 0 {
				metrics <- prometheus.MustNewConstMetric(c.instances, prometheus.GaugeValue, float64(n),
					name, string(status))
			}
		}
	}
	metrics <- prometheus.MustNewConstMetric(c.summed, prometheus.GaugeValue, float64(all-len(apps)))
	now := stateWord(c.h.opts.Node.Readiness().State)
	for _, state := range nodeStates() {
		is := 0.0
		if state == now {
			is = 1
		}
		metrics <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, is, state)
	}
}

// otherState stands for a state without a series of its own.
const otherState = "other"

// nodeStates are the states of registryd_state.
func nodeStates() []string {
	return []string{"ready", "degraded", "waiting", "syncing", "superseded", "stopping", otherState}
}

// stateWord returns the state that a text like that of /readyz begins with.
func stateWord(text string) string {
	word, _, _ := strings.Cut(text, ":")
	if !slices.Contains(nodeStates(), word) {
		word = ""
	}
	return cmp.Or(word, otherState)
}
