package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// sample is one series: a counter's or gauge's value, or a histogram.
type sample struct {
	value   float64 // of a histogram, how many it holds
	buckets []uint64
}

// samples returns the series of a name that have these labels.
func samples(t *testing.T, g prometheus.Gatherer, name string, labels map[string]string) []sample {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []sample
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			matched := 0
			for _, l := range m.GetLabel() {
				if v, asked := labels[l.GetName()]; asked && v == l.GetValue() {
					matched++
				}
			}
			if matched != len(labels) {
				continue
			}
			x := sample{value: m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())}
			for _, b := range m.GetHistogram().GetBucket() {
				x.buckets = append(x.buckets, b.GetCumulativeCount())
			}
			out = append(out, x)
		}
	}
	return out
}

// TestPipelineMetrics has a peer that fails for a while, and reads the state of
// its pipeline from the metrics.
func TestPipelineMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		b := newBus(t)
		n1 := b.start("n1", func(o *cluster.Options) { o.Metrics, o.MaxPending, o.BatchSize = reg, 20, 10 })
		b.start("n2")
		time.Sleep(3 * time.Second)
		value := func(name string, labels ...string) float64 {
			t.Helper()
			want := map[string]string{"peer": "n2"}
			for i := 0; i < len(labels); i += 2 {
				want[labels[i]] = labels[i+1]
			}
			found := samples(t, reg, "registryd_"+name, want)
			if len(found) != 1 {
				t.Fatalf("%d series registryd_%s%v, want 1", len(found), name, want)
			}
			return found[0].value
		}
		check := func(name string, want float64, labels ...string) {
			t.Helper()
			if got := value(name, labels...); got != want {
				t.Errorf("registryd_%s%v = %v, want %v", name, labels, got, want)
			}
		}

		b.mu.Lock()
		b.onSync = func(string, string, []byte) error { return errLost }
		b.mu.Unlock()
		for i := range 12 {
			n1.reg.Register(instance("DEMO", fmt.Sprint("a-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		n1.reg.Renew(registry.NewKey("DEMO", "a-0"), eureka.NoTimestamp, "", registry.Origin{}) // merged
		time.Sleep(time.Second)
		synctest.Wait()
		check("acceptor_offered_actions_total", 13)
		check("acceptor_done_actions_total", 1, "outcome", "merged")
		check("acceptor_done_actions_total", 12, "outcome", "acknowledged")
		check("batcher_sends_total", 2, "outcome", "answered")
		check("batcher_batch_tasks", 2)
		check("batcher_batch_bytes", 2)
		check("batcher_round_trip_seconds", 2)
		check("replication_lag_seconds", 0)

		// The peer takes 300 ms; then it is busy.
		b.fail(func(string, string) (bool, error) { time.Sleep(300 * ms); return false, batcher.Busy })
		for i := range 10 {
			n1.reg.Renew(registry.NewKey("DEMO", fmt.Sprint("a-", i)), eureka.NoTimestamp, "", registry.Origin{})
		}
		time.Sleep(600 * ms)
		synctest.Wait()
		check("acceptor_in_flight_slots", 10)
		check("batcher_in_flight_batches", 1)
		check("acceptor_oldest_age_seconds", 0)
		check("replication_lag_seconds", 0.6)
		time.Sleep(400 * ms)
		synctest.Wait()
		check("batcher_sends_total", 1, "outcome", "busy")
		check("acceptor_unaccounted_actions", 0)
		check("batcher_waiting", 1, "class", "busy")
		check("acceptor_retried_slots_total", 10)
		check("acceptor_processing_order_slots", 10)
		check("acceptor_oldest_age_seconds", 1)
		check("acceptor_queue_actions", 0)
		check("batcher_queue_batches", 0)
		if left := value("batcher_wait_seconds"); left < 0.5 || left > 1 {
			t.Errorf("registryd_batcher_wait_seconds = %v, want the rest of 1.2 s", left)
		}
		for i := range 25 {
			n1.reg.Register(instance("DEMO", fmt.Sprint("b-", i), eureka.StatusUp, 1), registry.Origin{})
		}
		synctest.Wait()
		check("acceptor_dropped_actions_total", 15, "reason", "overflowed")
		time.Sleep(40 * time.Second)
		b.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		check("acceptor_processing_order_slots", 0)
		check("batcher_waiting", 0, "class", "busy")
		check("batcher_wait_seconds", 0)

		// A heartbeat is not worth sending once its lease has run out.
		b.fail(refuse(func(string, string) bool { return true }, batcher.Timeout))
		n1.reg.Renew(registry.NewKey("DEMO", "a-0"), eureka.NoTimestamp, "", registry.Origin{})
		time.Sleep(89 * time.Second)
		synctest.Wait()
		check("acceptor_dropped_actions_total", 0, "reason", "expired")
		time.Sleep(40 * time.Second) // and a wait, at most 36 s
		synctest.Wait()
		check("acceptor_dropped_actions_total", 1, "reason", "expired")
		if got := value("batcher_sends_total", "outcome", "timeout"); got < 4 {
			t.Errorf("%v time-outs counted, want one for each attempt", got)
		}

		trip := samples(t, reg, "registryd_batcher_round_trip_seconds", map[string]string{"peer": "n2"})[0]
		if n := len(trip.buckets); n < 10 || float64(trip.buckets[n-1]) != trip.value {
			t.Errorf("round trip histogram: buckets %v, want the last to hold all %v", trip.buckets, trip.value)
		}
		problems, err := testutil.GatherAndLint(reg)
		if err != nil || len(problems) > 0 {
			t.Errorf("names: %v, %v", problems, err)
		}
	})
}
