package consumer

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// The outcomes of a batch.
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
			Name: "registryd_consumer_batches_total",
			Help: "Batches from peers, by outcome: applied, malformed, busy or stale.",
		}, []string{"outcome"}),
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_consumer_tasks_total", Help: "Tasks from peers, by action and the code of the result.",
		}, []string{"action", "code"}),
		bareConflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_consumer_bare_conflicts_total",
			Help: "Tasks with a conflict answered without our copy, because the reply was full.",
		}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_consumer_unanswered_batches_total", Help: "Batches whose answer could not be sent.",
		}),
	}
}

func (m *metrics) register(reg prometheus.Registerer, queued func() (batches, bytes int)) error {
	for _, c := range []prometheus.Collector{
		m.batches, m.tasks, m.bareConflicts, m.unanswered,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_consumer_queued_batches", Help: "Batches that wait in the lanes of all senders.",
		}, func() float64 { batches, _ := queued(); return float64(batches) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "registryd_consumer_queued_bytes", Help: "Bytes of the batches that wait or are being applied.",
		}, func() float64 { _, bytes := queued(); return float64(bytes) }),
	} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// task counts tasks. An unknown action is a peer's text and no label.
func (m *metrics) task(action eureka.Action, code, count int) {
	switch action {
	case eureka.ActionRegister, eureka.ActionHeartbeat, eureka.ActionCancel,
		eureka.ActionStatusUpdate, eureka.ActionDeleteStatusOverride:
	default:
		action = "other"
	}
	m.tasks.WithLabelValues(string(action), strconv.Itoa(code)).Add(float64(count))
}

// taskCount counts tasks in a row that are alike at once.
type taskCount struct {
	action eureka.Action
	code   int
	count  int
}

func (t *taskCount) add(m *metrics, action eureka.Action, code int) {
	if action != t.action || code != t.code {
		t.flush(m)
		t.action, t.code = action, code
	}
	t.count++
}

func (t *taskCount) flush(m *metrics) {
	if t.count > 0 {
		m.task(t.action, t.code, t.count)
	}
	t.count = 0
}
