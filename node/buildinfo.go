package node

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

// buildInfo is a gauge that is always 1 and names what runs in its labels.
func buildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "registryd_build_info", Help: "Always 1. The labels name the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}
