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
// made with each scrape, of the parts of the list.
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

// appStatuses are the instances of an application, by status.
type appStatuses map[eureka.Status]int

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(metrics chan<- prometheus.Metric) {
	apps, summed := c.count()
	for app, statuses := range apps {
		for status, n := range statuses {
			metrics <- prometheus.MustNewConstMetric(c.instances, prometheus.GaugeValue, float64(n),
				app, string(status))
		}
	}
	metrics <- prometheus.MustNewConstMetric(c.summed, prometheus.GaugeValue, float64(summed))
	now := stateWord(c.h.opts.Node.Readiness().State)
	for _, state := range nodeStates() {
		is := 0.0
		if state == now {
			is = 1
		}
		metrics <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, is, state)
	}
}

// count returns the statuses of each application, and how many applications are summed. A list is
// sorted by application.
func (c *stateCollector) count() (apps map[string]appStatuses, summed int) {
	apps = map[string]appStatuses{}
	var into appStatuses
	last := ""
	for _, part := range c.h.reg.List(c.h.opts.MaxAge).Parts {
		for i := range part.Views() {
			if into == nil || i.App != last {
				last = i.App
				name := strings.ToValidUTF8(i.App, "\uFFFD")
				if len(apps) >= MaxCountedApps {
					name = OtherApps
					summed++
				}
				if apps[name] == nil {
					apps[name] = appStatuses{}
				}
				into = apps[name]
			}
			into[i.Status]++
		}
	}
	return apps, summed
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
