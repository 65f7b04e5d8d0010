package consumer_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

func TestMetricsRegisteredTwice(t *testing.T) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	if _, err := consumer.New(reg, consumer.Options{Metrics: metrics}); err != nil {
		t.Fatalf("the first: %v", err)
	}
	if _, err := consumer.New(reg, consumer.Options{Metrics: metrics}); err == nil {
		t.Error("the second has no error, want one")
	}
}

// Every task of both kinds of peer is counted by its action and result.
func TestMetrics(t *testing.T) {
	n := newNode(t, consumer.Options{MaxReply: func() int { return 2 << 10 }})
	key, other := registry.NewKey("ORDERS", "i-1"), registry.NewKey("ORDERS", "i-2")
	bad := item(heartbeat, key, alive(5, 0, "", 0))
	bad.State = nil
	n.send(
		t,
		item(heartbeat, key, alive(5, 0, "", 0)),                      // 404
		item(register, key, alive(5, 0, "", 0)),                       // 200
		item(heartbeat, key, alive(5, 0, "", 0)),                      // 200
		item(heartbeat, key, alive(5, 0, "", 0)),                      // 200
		item(register, key, alive(4, 0, "", 0)),                       // 409
		item(register, key, alive(3, 0, "", 0)),                       // 409, bare
		item(setStatus, key, alive(5, 6, eureka.StatusDown, 0)),       // 200
		item(setStatus, other, alive(5, 6, eureka.StatusDown, 0)),     // 404
		item(unset, key, alive(5, 7, "", 0)),                          // 200
		item(cancel, key, dead(9, 0)),                                 // 200
		bad,                                                           // 400
		eureka.Item{Action: "Evil\"}", AppName: "ORDERS", ID: "i-1"},  // 400
		eureka.Item{AppName: "ORDERS", ID: "i-1", Action: "Register"}, // 400
	)
	n.ask(t, "peer", []byte("nope"))
	n.Apply("java-1", eureka.ReplicationList{
		{Action: register, AppName: "USERS", ID: "u-1", InstanceInfo: instance("USERS", "u-1", eureka.StatusUp, start)}, // 200
		{Action: heartbeat, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: start - 1},                                 // 409
		{Action: cancel, AppName: "USERS", ID: "u-2"},                                                                   // 404
		{Action: unset, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: eureka.NoTimestamp},                            // 500
		{AppName: "USERS", ID: "u-1"}, // 500
	})
	n.checkMetrics(t, `
		bare_conflicts_total 1
		batches_total{outcome="applied"} 1
		batches_total{outcome="malformed"} 1
		queued_batches 0
		tasks_total{action="Cancel",code="200"} 1
		tasks_total{action="Cancel",code="404"} 1
		tasks_total{action="DeleteStatusOverride",code="200"} 1
		tasks_total{action="DeleteStatusOverride",code="500"} 1
		tasks_total{action="Heartbeat",code="200"} 2
		tasks_total{action="Heartbeat",code="400"} 1
		tasks_total{action="Heartbeat",code="404"} 1
		tasks_total{action="Heartbeat",code="409"} 1
		tasks_total{action="Register",code="200"} 2
		tasks_total{action="Register",code="400"} 1
		tasks_total{action="Register",code="409"} 2
		tasks_total{action="StatusUpdate",code="200"} 1
		tasks_total{action="StatusUpdate",code="404"} 1
		tasks_total{action="other",code="400"} 1
		tasks_total{action="other",code="500"} 1
		unanswered_batches_total 0`,
		"bare_conflicts_total", "batches_total", "queued_batches", "tasks_total", "unanswered_batches_total")
}

// Malformed tasks are logged: one line a batch, with a sample, not one a task.
func TestMalformedTasksAreLoggedOnceABatch(t *testing.T) {
	var log bytes.Buffer
	n := newOpenNode(t, consumer.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	list := make(eureka.ReplicationList, 100)
	for i := range list {
		list[i] = eureka.Item{Action: heartbeat, AppName: "ORDERS", ID: strings.Repeat("long", 1000)}
	}
	n.send(t, list...)
	n.ask(t, "peer", []byte("nope"))
	n.Close()
	lines := slices.Collect(strings.Lines(log.String()))
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one a batch:\n%.2000s", len(lines), log.String())
	}
	for _, want := range []string{"level=WARN", "component=consumer", "peer=peer", "tasks=100", "registryd: missing"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the first line lacks %q: %.500s", want, lines[0])
		}
	}
	for _, line := range lines {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes, want it bounded", len(line))
		}
	}
}

// No change of a peer is sent on: the Sink sees only changes that are
// replications, from either kind of peer.
func TestNothingIsSentOn(t *testing.T) {
	n := newNode(t, consumer.Options{})
	key := registry.NewKey("ORDERS", "i-1")
	for _, it := range []eureka.Item{
		item(register, key, alive(5, 0, "", 0)),
		item(heartbeat, key, alive(5, 0, "", 0)),
		item(setStatus, key, alive(5, 6, eureka.StatusOutOfService, 0)),
		item(unset, key, alive(5, 7, "", 0)),
		item(register, key, alive(8, 7, "", 0)),
		item(cancel, key, dead(9, 0)),
		item(register, key, alive(5, 0, "", 0)), // Refused: ours is newer.
		item(register, key, alive(10, 9, "", 0)),
	} {
		n.send(t, it)
	}
	n.checkNothingSentOn(t)

	n.clock.Add(time.Minute)
	info := instance("USERS", "u-1", eureka.StatusUp, start)
	info.OverriddenStatus = eureka.StatusOutOfService
	ldt := info.LastDirtyTimestamp
	n.Apply("java-1", eureka.ReplicationList{
		{Action: register, AppName: "USERS", ID: "u-1", InstanceInfo: info},
		{Action: heartbeat, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: ldt},
		{Action: heartbeat, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: ldt + 1, OverriddenStatus: eureka.StatusDown},
		{Action: setStatus, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: ldt + 2, Status: eureka.StatusUp},
		{Action: unset, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: ldt + 3, Status: eureka.StatusUp},
		{Action: register, AppName: "USERS", ID: "u-1", InstanceInfo: instance("USERS", "u-1", eureka.StatusUp, ldt-1)},
		{Action: cancel, AppName: "USERS", ID: "u-1"},
	})
	if changes := n.checkNothingSentOn(t); len(changes) < 6 {
		t.Errorf("from Java: %d changes, want one an action at least: %v", len(changes), changes)
	}
	// A client's action is reported as no replication: the test would notice one.
	n.reg.Register(instance("USERS", "u-3", eureka.StatusUp, start), registry.Origin{})
	if got := n.sink.take(); len(got) != 1 || got[0].IsReplication {
		t.Errorf("a client's register is reported as %v", got)
	}
}
