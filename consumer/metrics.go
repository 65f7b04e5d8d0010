package consumer

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// What became of a batch.
const (
	batchApplied   = "applied"
	batchMalformed = "malformed"
	batchBusy      = "busy"
	batchStale     = "stale"
)

type metrics struct {
	batches       *prometheus.CounterVec
	tasks         *prometheus.CounterVec
	bareConflicts prometheus.Counter
	unanswered    prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_consumer_batches_total", Help: "Batches from peers, by what became of them.",
		}, []string{"result"}),
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_consumer_tasks_total", Help: "Tasks from peers, by action and result.",
		}, []string{"action", "result"}),
		bareConflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_consumer_bare_conflicts_total", Help: "Conflicts answered without our copy, because the reply was full.",
		}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_consumer_unanswered_batches_total", Help: "Batches whose answer could not be sent.",
		}),
	}
}

func (m *metrics) register(reg prometheus.Registerer, queued func() int) error {
	for _, c := range []prometheus.Collector{
		m.batches, m.tasks, m.bareConflicts, m.unanswered,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_consumer_queued_batches", Help: "Batches that wait in the lanes of all senders.",
		}, func() float64 { return float64(queued()) }),
	} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// task counts one task. An unknown action is a peer's text, so no label.
func (m *metrics) task(action eureka.Action, code int) {
	switch action {
	case eureka.ActionRegister, eureka.ActionHeartbeat, eureka.ActionCancel,
		eureka.ActionStatusUpdate, eureka.ActionDeleteStatusOverride:
	default:
		action = "other"
	}
	m.tasks.WithLabelValues(string(action), strconv.Itoa(code)).Inc()
}
