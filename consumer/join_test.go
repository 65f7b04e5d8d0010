package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const (
	register  = eureka.ActionRegister
	heartbeat = eureka.ActionHeartbeat
	cancel    = eureka.ActionCancel
	setStatus = eureka.ActionStatusUpdate
	unset     = eureka.ActionDeleteStatusOverride
)

// What a 409 brings.
const (
	nothing   = ""
	copyOf    = "instance and registryd"
	stateOnly = "registryd alone"
)

// alive is an entry with the record of version v and the override of version o.
func alive(v, o int64, status eureka.Status, age time.Duration) registry.Entry {
	e := registry.Entry{Record: live(instance("ORDERS", "i-1", eureka.StatusUp, start-1000), v), Age: age}
	if o > 0 {
		e.Override = override(o, status)
	}
	return e
}

// dead is the entry that a cancel of version v leaves: its override has the
// same version.
func dead(v int64, age time.Duration) registry.Entry {
	return registry.Entry{Record: tombstone(v), Override: override(v, ""), Age: age}
}

// with returns e with another content.
func with(e registry.Entry, host string) registry.Entry {
	info := *e.Record.Info
	info.HostName = host
	e.Record = live(&info, e.Record.Version)
	return e
}

// greater returns two entries of one version, the second with the greater hash.
func greater(v int64) (less, more registry.Entry) {
	a, b := with(alive(v, 0, "", 0), "host-a"), with(alive(v, 0, "", 0), "host-b")
	if a.Record.Hash > b.Record.Hash {
		return b, a
	}
	return a, b
}

// The rules of docs/convergence.md, "On NATS": the parts that the action
// carries are joined, the rest decides the result.
func TestJoin(t *testing.T) {
	const (
		out  = eureka.StatusOutOfService
		down = eureka.StatusDown
		sec  = time.Second
	)
	less, more := greater(5)
	tests := []struct {
		name   string
		ours   registry.Entry // zero: unknown here
		action eureka.Action
		in     registry.Entry
		code   int
		brings string
		want   registry.Entry // zero: nothing is stored
	}{
		{name: "register, unknown", action: register, in: alive(5, 3, out, 7*sec), code: 200, want: alive(5, 3, out, 7*sec)},
		{name: "register, unknown, lease just runs", action: register, in: alive(5, 0, "", 90*sec), code: 200, want: alive(5, 0, "", 90*sec)},
		{name: "register, unknown, lease expired", action: register, in: alive(5, 0, "", 90*sec+time.Millisecond), code: 200},
		{name: "register, both newer", ours: alive(5, 3, out, 0), action: register, in: with(alive(6, 7, down, 9*sec), "new"), code: 200, want: with(alive(6, 7, down, 0), "new")},
		{name: "register, the same", ours: alive(5, 3, out, 9*sec), action: register, in: alive(5, 3, out, 9*sec), code: 200, want: alive(5, 3, out, 9*sec)},
		{name: "register, record newer, override older", ours: alive(5, 7, out, 0), action: register, in: with(alive(6, 3, down, 0), "new"), code: 409, brings: copyOf, want: with(alive(6, 7, out, 0), "new")},
		{name: "register, record older, override newer", ours: alive(5, 3, out, 0), action: register, in: with(alive(4, 7, down, 0), "old"), code: 409, brings: copyOf, want: alive(5, 7, down, 0)},
		{name: "register, override removed later", ours: alive(5, 6, out, 0), action: register, in: alive(5, 7, "", 0), code: 200, want: alive(5, 7, "", 0)},
		{name: "register, both older, lease newer", ours: alive(5, 3, out, 60*sec), action: register, in: with(alive(4, 2, down, 9*sec), "old"), code: 409, brings: copyOf, want: alive(5, 3, out, 9*sec)},
		{name: "register, both older, lease older", ours: alive(5, 0, "", 9*sec), action: register, in: with(alive(4, 0, "", 60*sec), "old"), code: 409, brings: copyOf, want: alive(5, 0, "", 9*sec)},
		{name: "register, cancelled here later", ours: dead(6, 0), action: register, in: alive(5, 0, "", 0), code: 409, brings: stateOnly, want: dead(6, 0)},
		{name: "register, cancelled here before", ours: dead(4, 0), action: register, in: registry.Entry{Record: alive(5, 0, "", 0).Record, Override: override(4, "")}, code: 200, want: registry.Entry{Record: alive(5, 0, "", 0).Record, Override: override(4, "")}},
		{name: "register, cancelled at the same version", ours: dead(5, 0), action: register, in: alive(5, 5, "", 0), code: 200, want: alive(5, 5, "", 0)},
		{name: "register, same version, greater hash", ours: less, action: register, in: more, code: 200, want: more},
		{name: "register, same version, smaller hash", ours: more, action: register, in: less, code: 409, brings: copyOf, want: more},

		{name: "cancel, unknown", action: cancel, in: dead(5, 3*sec), code: 200, want: dead(5, 3*sec)},
		{name: "cancel, unknown, just not retired", action: cancel, in: dead(5, 480*sec), code: 200, want: dead(5, 480*sec)},
		{name: "cancel, unknown, retired", action: cancel, in: dead(5, 480*sec+time.Millisecond), code: 200},
		{name: "cancel, newer", ours: alive(5, 3, out, 9*sec), action: cancel, in: dead(6, 0), code: 200, want: dead(6, 0)},
		{name: "cancel, older", ours: alive(5, 4, out, 9*sec), action: cancel, in: dead(4, sec), code: 409, brings: copyOf, want: alive(5, 4, out, sec)},
		{name: "cancel, override newer here", ours: alive(5, 7, out, 0), action: cancel, in: dead(6, 0), code: 409, brings: stateOnly, want: registry.Entry{Record: dead(6, 0).Record, Override: override(7, out)}},
		{name: "cancel, again", ours: dead(6, 0), action: cancel, in: dead(6, 0), code: 200, want: dead(6, 0)},
		{name: "cancel, cancelled here later", ours: dead(7, 0), action: cancel, in: dead(6, 0), code: 409, brings: stateOnly, want: dead(7, 0)},

		{name: "status update, unknown", action: setStatus, in: alive(5, 6, out, 0), code: 404},
		{name: "status update, newer", ours: alive(5, 3, down, 9*sec), action: setStatus, in: alive(5, 6, out, sec), code: 200, want: alive(5, 6, out, sec)},
		{name: "status update, older", ours: alive(5, 7, down, 9*sec), action: setStatus, in: alive(5, 6, out, sec), code: 409, brings: copyOf, want: alive(5, 7, down, sec)},
		{name: "status update, the same", ours: alive(5, 6, out, 9*sec), action: setStatus, in: alive(5, 6, out, sec), code: 200, want: alive(5, 6, out, sec)},
		{name: "status update, set wins over removed", ours: alive(5, 6, "", 0), action: setStatus, in: alive(5, 6, out, 0), code: 200, want: alive(5, 6, out, 0)},
		{name: "status update, the sender's record newer", ours: alive(5, 3, down, 9*sec), action: setStatus, in: with(alive(6, 7, out, sec), "new"), code: 404, want: alive(5, 7, out, sec)},
		{name: "status update, the sender's record newer, our override", ours: alive(5, 9, down, 9*sec), action: setStatus, in: with(alive(6, 7, out, sec), "new"), code: 404, want: alive(5, 9, down, sec)},
		{name: "status update, our record newer", ours: alive(5, 3, down, 9*sec), action: setStatus, in: with(alive(4, 7, out, sec), "old"), code: 409, brings: copyOf, want: alive(5, 7, out, sec)},
		{name: "status update, cancelled here later", ours: dead(9, 9*sec), action: setStatus, in: alive(5, 7, out, sec), code: 409, brings: stateOnly, want: dead(9, sec)},

		{name: "removal, unknown", action: unset, in: alive(5, 6, "", 0), code: 404},
		{name: "removal, newer", ours: alive(5, 3, down, 9*sec), action: unset, in: alive(5, 6, "", sec), code: 200, want: alive(5, 6, "", sec)},
		{name: "removal, older", ours: alive(5, 7, down, 9*sec), action: unset, in: alive(5, 6, "", sec), code: 409, brings: copyOf, want: alive(5, 7, down, sec)},
		{name: "removal, set at the same version", ours: alive(5, 6, down, 0), action: unset, in: alive(5, 6, "", 0), code: 409, brings: copyOf, want: alive(5, 6, down, 0)},
		{name: "removal, the sender's record newer", ours: alive(5, 3, down, 9*sec), action: unset, in: with(alive(6, 7, "", sec), "new"), code: 404, want: alive(5, 7, "", sec)},

		{name: "heartbeat, unknown", action: heartbeat, in: alive(5, 0, "", 0), code: 404},
		{name: "heartbeat, in step", ours: alive(5, 3, out, 30*sec), action: heartbeat, in: alive(5, 3, out, sec), code: 200, want: alive(5, 3, out, sec)},
		{name: "heartbeat, late", ours: alive(5, 3, out, sec), action: heartbeat, in: alive(5, 3, out, 30*sec), code: 200, want: alive(5, 3, out, sec)},
		{name: "heartbeat, the sender's record newer", ours: alive(5, 0, "", 30*sec), action: heartbeat, in: with(alive(6, 0, "", sec), "new"), code: 404, want: alive(5, 0, "", sec)},
		{name: "heartbeat, the sender's override newer", ours: alive(5, 3, out, 30*sec), action: heartbeat, in: alive(5, 6, down, sec), code: 404, want: alive(5, 3, out, sec)},
		{name: "heartbeat, the sender's record newer, our override", ours: alive(5, 9, out, 30*sec), action: heartbeat, in: alive(6, 8, down, sec), code: 404, want: alive(5, 9, out, sec)},
		{name: "heartbeat, our record newer", ours: alive(5, 0, "", 30*sec), action: heartbeat, in: with(alive(4, 0, "", sec), "old"), code: 409, brings: copyOf, want: alive(5, 0, "", sec)},
		{name: "heartbeat, our override newer", ours: alive(5, 6, out, 30*sec), action: heartbeat, in: alive(5, 0, "", sec), code: 409, brings: copyOf, want: alive(5, 6, out, sec)},
		{name: "heartbeat, same version, greater hash", ours: less, action: heartbeat, in: more, code: 404, want: less},
		{name: "heartbeat, same version, smaller hash", ours: more, action: heartbeat, in: less, code: 409, brings: copyOf, want: more},
		{name: "heartbeat, cancelled here later", ours: dead(6, 30*sec), action: heartbeat, in: alive(5, 0, "", sec), code: 409, brings: stateOnly, want: dead(6, sec)},
		{name: "heartbeat, registered again there", ours: dead(5, 30*sec), action: heartbeat, in: alive(6, 5, "", sec), code: 404, want: dead(5, sec)},
	}
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, consumer.Options{})
			n.clock.Add(10 * time.Minute) // No grace of a start.
			if tt.ours.Record.Version != 0 {
				n.reg.Join(key, tt.ours, whole, registry.Origin{Way: registry.ByBatch})
				if got, want := stored(n.reg, key), text(tt.ours); got != want {
					t.Fatalf("set up %s, want %s", got, want)
				}
			}
			res := n.send(t, item(tt.action, key, tt.in))[0]
			if res.StatusCode != tt.code {
				t.Errorf("result %d, want %d", res.StatusCode, tt.code)
			}
			want := "nothing"
			if tt.want.Record.Version != 0 {
				want = text(tt.want)
			}
			if got := stored(n.reg, key); got != want {
				t.Errorf("stored\n%s, want\n%s", got, want)
			}
			brings := nothing
			switch {
			case res.State != nil && res.ResponseEntity != nil:
				brings = copyOf
			case res.State != nil:
				brings = stateOnly
			case res.ResponseEntity != nil:
				brings = "an instance without registryd"
			}
			if brings != tt.brings {
				t.Fatalf("result brings %q, want %q", brings, tt.brings)
			}
			_, seen := n.reg.Instance(key)
			if alive := tt.want.Record.Live; seen != alive {
				t.Errorf("readers see it: %t, want %t", seen, alive)
			}
			n.checkNothingSentOn(t)
			if brings == nothing {
				return
			}
			// The sender joins our copy, so it must be complete.
			theirs, err := registry.FromState(res.State, res.ResponseEntity)
			if err != nil {
				t.Fatalf("our copy is not readable: %v", err)
			}
			if got := text(theirs); got != want {
				t.Errorf("our copy\n%s, want\n%s", got, want)
			}
			if visible := registry.Visible(&tt.want.Record, &tt.want.Override); tt.brings == copyOf && res.ResponseEntity.Status != visible {
				t.Errorf("our copy's status %s, want %s", res.ResponseEntity.Status, visible)
			}
		})
	}
}

// An instance that was evicted here is back with a lease that runs, not with
// one that has expired.
func TestJoinBringsBackTheEvicted(t *testing.T) {
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name string
		age  time.Duration
		back bool
	}{
		{"lease runs", 90 * time.Second, true},
		{"lease expired", 90*time.Second + time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, consumer.Options{})
			n.reg.Join(key, alive(5, 0, "", 0), whole, registry.Origin{Way: registry.ByBatch})
			n.clock.Add(5 * time.Minute)
			if got := n.reg.Evict(); got != 1 {
				t.Fatalf("evicted %d, want 1", got)
			}
			if got := n.send(t, item(heartbeat, key, alive(5, 0, "", tt.age)))[0].StatusCode; got != 200 {
				t.Errorf("result %d, want 200", got)
			}
			if _, back := n.reg.Instance(key); back != tt.back {
				t.Errorf("back %t, want %t", back, tt.back)
			}
		})
	}
}

// A batch as it is on the wire, with hashes computed by another program from the
// encoding that the registry documents.
func TestJoinPlainJSON(t *testing.T) {
	const batch = `{
	  "replicationList": [
	    {"appName": "orders", "id": "i-1", "action": "Register", "lastDirtyTimestamp": 1699999999000, "status": "OUT_OF_SERVICE",
	     "instanceInfo": {
	       "instanceId": "i-1", "hostName": "i-1.example", "app": "orders", "ipAddr": "10.0.0.1",
	       "status": "OUT_OF_SERVICE", "overriddenStatus": "OUT_OF_SERVICE",
	       "port": {"$": 8080, "@enabled": "true"}, "securePort": {"$": 7002, "@enabled": "false"}, "countryId": 1,
	       "dataCenterInfo": {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"},
	       "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 90},
	       "metadata": {"zone": "a"}, "lastDirtyTimestamp": "1699999999000"},
	     "registryd": {"rv": 5, "live": true, "base": "UP", "rh": "0e98c0911b855cdf", "ov": 7, "set": true, "os": "OUT_OF_SERVICE",
	                   "dur": 90000, "age": 250, "wait": 500}},
	    {"appName": "ORDERS", "id": "i-2", "action": "Cancel",
	     "registryd": {"rv": 6, "live": false, "base": "UNKNOWN", "rh": "bae560fcc611d434", "ov": 6, "set": false, "os": "UNKNOWN",
	                   "dur": 90000, "age": 0, "wait": 500, "ldt": 1699999999000, "later": [1, {}]}}
	  ],
	  "later": true
	}`
	n := newNode(t, consumer.Options{})
	a := n.ask(t, "peer", []byte(batch))
	if got, want := string(a.body), `{"responseList":[{"statusCode":200},{"statusCode":200}]}`; got != want {
		t.Fatalf("%v, want %s", a, want)
	}
	got, ok := n.reg.Instance(registry.NewKey("ORDERS", "i-1"))
	if !ok {
		t.Fatal("i-1 is not there")
	}
	if got.Status != eureka.StatusOutOfService || got.OverriddenStatus != eureka.StatusOutOfService || got.Metadata["zone"] != "a" || got.LastDirtyTimestamp != 1699999999000 {
		t.Errorf("i-1 is %+v", got)
	}
	e, _, _ := n.reg.Entry(registry.NewKey("ORDERS", "i-2"))
	if got, want := text(e), text(registry.Entry{Record: registry.Record{
		Version: 6, LastDirty: 1699999999000, Duration: 90 * time.Second, Hash: 0xbae560fcc611d434,
	}, Override: registry.Override{Version: 6, Status: eureka.StatusUnknown}}); got != want {
		t.Errorf("i-2 is %s, want %s", got, want)
	}
}

// In a list without items there is nothing to do.
func TestJoinEmptyList(t *testing.T) {
	n := newNode(t, consumer.Options{})
	if got, want := string(n.ask(t, "peer", []byte(`{"replicationList":[]}`)).body), `{"responseList":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Items of one batch are applied in its order, also those of one instance.
func TestJoinInOrderOfTheList(t *testing.T) {
	n := newNode(t, consumer.Options{})
	key := registry.NewKey("ORDERS", "i-1")
	list := n.send(
		t,
		item(heartbeat, key, alive(5, 0, "", 0)),
		item(register, key, alive(5, 0, "", 0)),
		item(heartbeat, key, alive(5, 0, "", 0)),
		item(cancel, key, dead(6, 0)),
		item(heartbeat, key, alive(5, 0, "", 0)),
	)
	var got strings.Builder
	for _, code := range codes(list) {
		got.WriteString(map[int]string{200: "ok ", 404: "unknown ", 409: "conflict "}[code])
	}
	if want := "unknown ok ok ok conflict "; got.String() != want {
		t.Errorf("got %s, want %s", got.String(), want)
	}
}
