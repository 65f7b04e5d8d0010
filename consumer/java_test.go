package consumer_test

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// task is an item as a Java peer sends it, for USERS/u-1.
func task(action eureka.Action, ldt int64, status eureka.Status) eureka.Item {
	return eureka.Item{Action: action, AppName: "USERS", ID: "u-1", LastDirtyTimestamp: ldt, Status: status}
}

// registration is a Register of USERS/u-1.
func registration(ldt int64, change ...func(*eureka.InstanceInfo)) eureka.Item {
	it := task(register, ldt, eureka.StatusUp)
	it.InstanceInfo = instance("USERS", "u-1", eureka.StatusUp, ldt)
	for _, f := range change {
		f(it.InstanceInfo)
	}
	return it
}

func host(name string) func(*eureka.InstanceInfo) {
	return func(i *eureka.InstanceInfo) { i.HostName = name }
}

func reports(s eureka.Status) func(*eureka.InstanceInfo) {
	return func(i *eureka.InstanceInfo) { i.Status = s }
}

func overridden(s eureka.Status) func(*eureka.InstanceInfo) {
	return func(i *eureka.InstanceInfo) { i.OverriddenStatus = s }
}

// withOverride is a Heartbeat that carries an override.
func withOverride(ldt int64, s eureka.Status) eureka.Item {
	it := task(heartbeat, ldt, eureka.StatusUp)
	it.OverriddenStatus = s
	return it
}

// seen prints what readers see of an instance.
func seen(n *node, key registry.Key) string {
	i, ok := n.reg.Instance(key)
	if !ok {
		return "nothing"
	}
	return strings.Join([]string{i.HostName, string(i.Status), string(i.OverriddenStatus), time.UnixMilli(i.LastDirtyTimestamp).UTC().Format("05.000")}, " ")
}

// Eureka's answers to what a Java peer sends. A fresh u-1 is "u-1.example UP UNKNOWN 20.000".
func TestApply(t *testing.T) {
	const (
		l     = start // lastDirtyTimestamp of what is stored, 20.000
		none  = eureka.NoTimestamp
		up    = eureka.StatusUp
		down  = eureka.StatusDown
		out   = eureka.StatusOutOfService
		fresh = "u-1.example UP UNKNOWN 20.000"
	)
	cancelled := []eureka.Item{registration(l), task(cancel, none, "")}
	known := []eureka.Item{registration(l)}
	set := []eureka.Item{registration(l), task(setStatus, l, out)}
	tests := []struct {
		name  string
		setup []eureka.Item
		item  eureka.Item
		code  int
		want  string // what readers see then
		ours  bool   // our copy comes with it
		age   time.Duration
	}{
		{name: "register, unknown", item: registration(l), code: 200, want: fresh},
		{name: "register, unknown, any status", item: registration(l, reports(eureka.StatusStarting)), code: 200, want: "u-1.example STARTING UNKNOWN 20.000"},
		{name: "register, unknown, with an override", item: registration(l, overridden(out)), code: 200, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000"},
		{name: "register, newer", setup: known, item: registration(l+1, host("new")), code: 200, want: "new UP UNKNOWN 20.001"},
		{name: "register, equal: the new one", setup: known, item: registration(l, host("new")), code: 200, want: "new UP UNKNOWN 20.000"},
		{name: "register, older: the stored one", setup: known, item: registration(l-1, host("old")), code: 200, want: fresh},
		{name: "register, status of a peer is taken", setup: known, item: registration(l, reports(out)), code: 200, want: "u-1.example OUT_OF_SERVICE UNKNOWN 20.000"},
		{name: "register, override here stays", setup: set, item: registration(l), code: 200, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000"},
		{name: "register, another override comes", setup: set, item: registration(l, overridden(up)), code: 200, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000"},
		{name: "register, newer than the cancel", setup: cancelled, item: registration(l + 1), code: 200, want: "u-1.example UP UNKNOWN 20.001"},
		{name: "register, as old as the cancel", setup: cancelled, item: registration(l), code: 200, want: "nothing"},
		{name: "register, older than the cancel", setup: cancelled, item: registration(l - 1), code: 200, want: "nothing"},
		{name: "register without an instance", item: task(register, l, up), code: 500, want: "nothing"},
		{name: "register without an instance, known", setup: known, item: task(register, l+1, down), code: 500, want: fresh, age: time.Second},
		{name: "register without an id", item: registration(l, host(""), func(i *eureka.InstanceInfo) { i.InstanceID = nil }), code: 200, want: "nothing"},
		{name: "register without a host", item: registration(l, host("")), code: 200, want: "nothing"},
		{name: "register without an address", item: registration(l, func(i *eureka.InstanceInfo) { i.IPAddr = "" }), code: 200, want: "nothing"},
		{name: "register without an app", item: registration(l, func(i *eureka.InstanceInfo) { i.App = "" }), code: 200, want: "nothing"},
		{name: "register of another app", item: registration(l, func(i *eureka.InstanceInfo) { i.App = "ORDERS" }), code: 200, want: "nothing"},
		{name: "register without a data centre", item: registration(l, func(i *eureka.InstanceInfo) { i.DataCenterInfo = eureka.DataCenterInfo{} }), code: 200, want: "nothing"},
		{name: "register, invalid, known", setup: known, item: registration(l+1, host("new"), func(i *eureka.InstanceInfo) { i.IPAddr = "" }), code: 200, want: fresh, age: time.Second},

		{name: "heartbeat", setup: known, item: task(heartbeat, l, up), code: 200, want: fresh},
		{name: "heartbeat, the status is ignored", setup: known, item: task(heartbeat, l, down), code: 200, want: fresh},
		{name: "heartbeat without a timestamp", setup: known, item: task(heartbeat, none, up), code: 200, want: fresh},
		{name: "heartbeat, unknown", item: task(heartbeat, l, up), code: 404, want: "nothing"},
		{name: "heartbeat, cancelled", setup: cancelled, item: task(heartbeat, l, up), code: 404, want: "nothing"},
		{name: "heartbeat, status UNKNOWN", setup: []eureka.Item{registration(l, reports(eureka.StatusUnknown))}, item: task(heartbeat, l, up), code: 404, want: "u-1.example UNKNOWN UNKNOWN 20.000", age: time.Second},
		{name: "heartbeat, the sender newer", setup: known, item: task(heartbeat, l+1, up), code: 404, want: fresh},
		{name: "heartbeat, the sender newer, with an override", setup: known, item: withOverride(l+1, out), code: 404, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000"},
		{name: "heartbeat, the sender newer, override UNKNOWN", setup: set, item: withOverride(l+1, eureka.StatusUnknown), code: 404, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000"},
		{name: "heartbeat, in step, with an override", setup: known, item: withOverride(l, out), code: 200, want: fresh},
		{name: "heartbeat, the sender older", setup: known, item: task(heartbeat, l-1, up), code: 409, want: fresh, ours: true},
		{name: "heartbeat, the sender older, with an override", setup: known, item: withOverride(l-1, out), code: 409, want: fresh, ours: true},

		{name: "cancel", setup: known, item: task(cancel, none, ""), code: 200, want: "nothing"},
		{name: "cancel, override set", setup: set, item: task(cancel, none, ""), code: 200, want: "nothing"},
		{name: "cancel, unknown", item: task(cancel, none, ""), code: 404, want: "nothing"},
		{name: "cancel, again", setup: cancelled, item: task(cancel, none, ""), code: 404, want: "nothing", age: time.Second},

		{name: "status update", setup: known, item: task(setStatus, l, out), code: 200, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000"},
		{name: "status update, newer", setup: known, item: task(setStatus, l+3, down), code: 200, want: "u-1.example DOWN DOWN 20.003"},
		{name: "status update, older", setup: known, item: task(setStatus, l-3, down), code: 200, want: "u-1.example DOWN DOWN 20.000"},
		{name: "status update without a timestamp", setup: known, item: task(setStatus, none, down), code: 200, want: "u-1.example DOWN DOWN 20.000"},
		{name: "status update, status as it is", setup: known, item: task(setStatus, l, up), code: 200, want: fresh},
		{name: "status update, unknown", item: task(setStatus, l, up), code: 404, want: "nothing"},
		{name: "status update, cancelled", setup: cancelled, item: task(setStatus, l, up), code: 404, want: "nothing"},
		{name: "status update, no status", setup: known, item: task(setStatus, l+1, "FOO"), code: 500, want: fresh, age: time.Second},
		{name: "status update, lower case", setup: known, item: task(setStatus, l+1, "down"), code: 500, want: fresh, age: time.Second},
		{name: "status update, status missing", setup: known, item: task(setStatus, l+1, ""), code: 500, want: fresh, age: time.Second},

		{name: "removal", setup: set, item: task(unset, l, up), code: 200, want: fresh},
		{name: "removal, newer", setup: set, item: task(unset, l+4, down), code: 200, want: "u-1.example DOWN UNKNOWN 20.004"},
		{name: "removal, status missing", setup: set, item: task(unset, l, ""), code: 200, want: "u-1.example UNKNOWN UNKNOWN 20.000"},
		{name: "removal, none set", setup: known, item: task(unset, l, down), code: 200, want: fresh},
		{name: "removal, none set, status missing", setup: known, item: task(unset, l, ""), code: 200, want: fresh},
		{name: "removal, unknown", item: task(unset, l, up), code: 404, want: "nothing"},
		{name: "removal without a timestamp", setup: set, item: task(unset, none, up), code: 500, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000", age: time.Second},
		{name: "removal without a timestamp, unknown", item: task(unset, none, up), code: 500, want: "nothing"},
		{name: "removal, no status, unknown", item: task(unset, l, "FOO"), code: 404, want: "nothing"},
		{name: "removal, no status", setup: set, item: task(unset, l, "FOO"), code: 500, want: "u-1.example OUT_OF_SERVICE OUT_OF_SERVICE 20.000", age: time.Second},

		{name: "no action", setup: known, item: task("", l, up), code: 500, want: fresh, age: time.Second},
		{name: "unknown action", setup: known, item: task("Renew", l, up), code: 500, want: fresh, age: time.Second},
	}
	key := registry.NewKey("USERS", "u-1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, consumer.Options{})
			n.Apply("java-1", tt.setup)
			before := n.reg.Len()
			n.clock.Add(time.Second)
			list := n.Apply("java-1", eureka.ReplicationList{tt.item})
			if len(list) != 1 {
				t.Fatalf("%d results, want 1", len(list))
			}
			res := list[0]
			if res.StatusCode != tt.code {
				t.Errorf("result %d, want %d", res.StatusCode, tt.code)
			}
			if got := seen(n, key); got != tt.want {
				t.Errorf("readers see %s, want %s", got, tt.want)
			}
			if res.State != nil {
				t.Error("the result has registryd, which Java never sees")
			}
			switch ours, _ := n.reg.Instance(key); {
			case (res.ResponseEntity != nil) != tt.ours:
				t.Errorf("our copy comes: %t, want %t", !tt.ours, tt.ours)
			case tt.ours && (res.ResponseEntity.ID() != "u-1" || res.ResponseEntity.LastDirtyTimestamp != ours.LastDirtyTimestamp):
				t.Errorf("our copy is %+v", res.ResponseEntity)
			}
			if e, _, ok := n.reg.Entry(key); ok && e.Age != tt.age {
				// A refusal renews nothing. An instance whose item was applied, or is
				// only outdated, is alive.
				if tt.want != "nothing" || e.Record.Live {
					t.Errorf("the lease is %v old, want %v", e.Age, tt.age)
				}
			}
			if tt.want == "nothing" && n.reg.Len() != before {
				t.Errorf("%d entries, want %d: a Java peer's failing item leaves nothing", n.reg.Len(), before)
			}
		})
	}
}

// Items are applied strictly in order, and a failing one stops no other.
func TestApplyInOrder(t *testing.T) {
	n := newNode(t, consumer.Options{})
	list := n.Apply("java-1", eureka.ReplicationList{
		task(heartbeat, start, eureka.StatusUp),
		registration(start),
		task(register, start, eureka.StatusUp), // No instance.
		task(heartbeat, start, eureka.StatusUp),
		task("Renew", start, ""),
		task(setStatus, start, "FOO"),
		task(setStatus, start, eureka.StatusDown),
		task(unset, start, eureka.StatusUp),
		task(cancel, eureka.NoTimestamp, ""),
		task(heartbeat, start, eureka.StatusUp),
		registration(start + 1),
		task(heartbeat, start, eureka.StatusUp),
	})
	want := []int{404, 200, 500, 200, 500, 500, 200, 200, 200, 404, 200, 409}
	if got := codes(list); !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
	if got := n.Apply("java-1", nil); len(got) != 0 {
		t.Errorf("an empty list has %d results", len(got))
	}
}

// A conflict's copy shows the instance as it is after the batch, unless a later item
// has put another one in its place.
func TestApplyShowsTheLatest(t *testing.T) {
	const old = start - 1
	for _, tt := range []struct {
		name string
		list eureka.ReplicationList
		want []string // status and override of the copies, by item
	}{
		{"an override that is undone", eureka.ReplicationList{
			task(setStatus, start, eureka.StatusOutOfService), task(heartbeat, old, ""), task(unset, start, eureka.StatusUp),
		}, []string{"", "UP UNKNOWN", ""}},
		{"an override", eureka.ReplicationList{task(heartbeat, old, ""), task(setStatus, start, eureka.StatusDown)}, []string{"DOWN DOWN", ""}},
		{"a register", eureka.ReplicationList{
			task(heartbeat, old, ""), registration(start+1, reports(eureka.StatusStarting)), task(heartbeat, old, ""), task(setStatus, start+1, eureka.StatusDown),
		}, []string{"UP UNKNOWN", "", "DOWN DOWN", ""}},
		{"a cancel", eureka.ReplicationList{task(heartbeat, old, ""), task(cancel, eureka.NoTimestamp, "")}, []string{"UP UNKNOWN", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, consumer.Options{})
			n.Apply("java-1", eureka.ReplicationList{registration(start)})
			for i, res := range n.Apply("java-1", tt.list) {
				got := ""
				if e := res.ResponseEntity; e != nil {
					got = string(e.Status) + " " + string(e.OverriddenStatus)
				}
				if got != tt.want[i] {
					t.Errorf("item %d: copy %q, want %q", i, got, tt.want[i])
				}
			}
		})
	}
}

// An application is the same in any case, an id is not.
func TestApplyLowerCaseApp(t *testing.T) {
	n := newNode(t, consumer.Options{})
	reg := registration(start, func(i *eureka.InstanceInfo) { i.App = "users" })
	reg.AppName = "uSers"
	lower, otherID := task(heartbeat, start, ""), task(heartbeat, start, "")
	lower.AppName, otherID.ID = "users", "U-1"
	gone := task(cancel, eureka.NoTimestamp, "")
	gone.AppName = "Users"
	if got, want := codes(n.Apply("java-1", eureka.ReplicationList{reg, lower, otherID, gone})), []int{200, 200, 404, 200}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
	if e, _, ok := n.reg.Entry(registry.NewKey("USERS", "u-1")); !ok || e.Record.Live {
		t.Errorf("USERS/u-1: known %t, live %t, want its tombstone", ok, e.Record.Live)
	}
}

// Nodes that received the same from a Java peer agree, whatever their clocks:
// the version is the client's timestamp if nothing was known, else the next
// one.
func TestApplyGivesEqualVersions(t *testing.T) {
	key := registry.NewKey("USERS", "u-1")
	n, late := newNode(t, consumer.Options{}), newNode(t, consumer.Options{})
	late.clock.Add(time.Hour)
	for i, step := range []struct {
		item eureka.Item
		rv   int64
	}{
		{registration(start - 5000), start - 5000},
		{task(setStatus, start-5000, eureka.StatusOutOfService), start - 5000},
		{registration(start-4000, host("new")), start - 4998},
		{task(unset, start-4000, eureka.StatusUp), start - 4998},
		{task(cancel, eureka.NoTimestamp, ""), start - 4996},
		{registration(start - 3000), start - 4995},
	} {
		n.Apply("java-1", eureka.ReplicationList{step.item})
		n.clock.Add(time.Second)
		late.Apply("java-1", eureka.ReplicationList{step.item})
		late.clock.Add(time.Minute)
		a, _, _ := n.reg.Entry(key)
		b, _, _ := late.reg.Entry(key)
		if parts(a) != parts(b) {
			t.Errorf("step %d: %s\non the other %s", i, parts(a), parts(b))
		}
		if a.Record.Version != step.rv {
			t.Errorf("step %d: version %d, want %d", i, a.Record.Version, step.rv)
		}
	}
}

// The list belongs to its caller.
func TestApplyChangesNoItem(t *testing.T) {
	build := func() eureka.ReplicationList {
		return eureka.ReplicationList{
			registration(start, func(i *eureka.InstanceInfo) {
				i.App, i.SID = "users", "na"
				i.Metadata = map[string]string{"@class": "java.util.Map", "zone": "a"}
				i.DataCenterInfo = eureka.DataCenterInfo{Name: eureka.Amazon, Metadata: map[string]string{"ami-id": "x"}}
			}),
			task(setStatus, start+1, eureka.StatusDown),
			withOverride(start+2, eureka.StatusOutOfService),
		}
	}
	n := newNode(t, consumer.Options{})
	list := build()
	n.Apply("java-1", list)
	if want := build(); !reflect.DeepEqual(list, want) {
		t.Errorf("the list became\n%+v\n%+v, want\n%+v\n%+v", list, list[0].InstanceInfo, want, want[0].InstanceInfo)
	}
	i, _ := n.reg.Instance(registry.NewKey("USERS", "u-1"))
	if got := i.DataCenterInfo.Metadata["instance-id"]; got != "u-1" {
		t.Errorf("the stored one's Amazon id is %q, want its own", got)
	}
}

// Java's peers post in parallel: only each list is in order.
func TestApplyFromManyGoroutines(t *testing.T) {
	n := newNode(t, consumer.Options{})
	var posting sync.WaitGroup
	for range 8 {
		posting.Go(func() {
			for i := range int64(50) {
				list := n.Apply("java-1", eureka.ReplicationList{
					registration(start + i), task(heartbeat, start+i, eureka.StatusUp), task(setStatus, start+i, eureka.StatusDown),
				})
				if list[0].StatusCode != 200 || list[2].StatusCode != 200 || list[1].StatusCode == 404 {
					t.Errorf("got %d", codes(list))
				}
			}
		})
	}
	posting.Wait()
	if got, want := seen(n, registry.NewKey("USERS", "u-1")), "u-1.example DOWN DOWN 20.049"; got != want {
		t.Errorf("readers see %s, want %s", got, want)
	}
}
