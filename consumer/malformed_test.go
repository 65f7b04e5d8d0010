package consumer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// edit sets the member at a dotted path of an item's JSON, or removes it.
func edit(t *testing.T, it eureka.Item, path string, value any) string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(eureka.AppendItem(nil, &it)))
	decoder.UseNumber()
	var doc any
	if err := decoder.Decode(&doc); err != nil {
		t.Fatalf("the good item: %v", err)
	}
	if path == "" {
		doc = value
	} else {
		steps := strings.Split(path, ".")
		at, ok := doc.(map[string]any)
		for _, step := range steps[:len(steps)-1] {
			at, ok = at[step].(map[string]any)
		}
		if !ok {
			t.Fatalf("%s is not in the good item", path)
		}
		if last := steps[len(steps)-1]; value == removed {
			if _, ok := at[last]; !ok {
				t.Fatalf("%s is not in the good item", path)
			}
			delete(at, last)
		} else {
			at[last] = value
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatalf("the edited item: %v", err)
	}
	return string(out)
}

// mark is the type of removed.
type mark struct{}

// removed stands for a member that is taken out.
var removed = mark{}

// stateOf returns an entry's registryd as JSON.
func stateOf(t *testing.T, e registry.Entry) json.RawMessage {
	t.Helper()
	var doc struct {
		State json.RawMessage `json:"registryd"`
	}
	if err := json.Unmarshal(eureka.AppendResult(nil, &eureka.Result{StatusCode: 409, State: e.State(0)}), &doc); err != nil {
		t.Fatalf("state: %v", err)
	}
	return doc.State
}

// A malformed item is answered 400 and changes nothing, whether its instance is
// known or not; the items around it are applied.
func TestMalformedItem(t *testing.T) {
	key := registry.NewKey("ORDERS", "i-1")
	ours := alive(5, 3, eureka.StatusOutOfService, 30*time.Second)
	newer := map[eureka.Action]registry.Entry{
		register:  alive(8, 9, eureka.StatusDown, 0),
		heartbeat: alive(5, 3, eureka.StatusOutOfService, 0),
		setStatus: alive(5, 9, eureka.StatusDown, 0),
		unset:     alive(5, 9, "", 0),
		cancel:    dead(8, 0),
	}
	tests := []struct {
		name   string
		action eureka.Action
		path   string
		value  any
	}{
		{"register without registryd", register, "registryd", removed},
		{"heartbeat without registryd", heartbeat, "registryd", removed},
		{"cancel without registryd", cancel, "registryd", removed},
		{"status update without registryd", setStatus, "registryd", removed},
		{"removal without registryd", unset, "registryd", removed},
		{"registryd null", heartbeat, "registryd", nil},
		{"registryd a text", heartbeat, "registryd", "rv"},
		{"registryd a list", heartbeat, "registryd", []int{5}},
		{"registryd empty", heartbeat, "registryd", map[string]any{}},
		{"no rv", register, "registryd.rv", removed},
		{"no live", register, "registryd.live", removed},
		{"no base", register, "registryd.base", removed},
		{"no rh", heartbeat, "registryd.rh", removed},
		{"no ov", setStatus, "registryd.ov", removed},
		{"no set", setStatus, "registryd.set", removed},
		{"no os", setStatus, "registryd.os", removed},
		{"no age", heartbeat, "registryd.age", removed},
		{"no duration", heartbeat, "registryd.dur", removed},
		{"no ldt in a tombstone", cancel, "registryd.ldt", removed},
		{"rv 0", register, "registryd.rv", 0},
		{"rv below 0", cancel, "registryd.rv", -8},
		{"rv a text", register, "registryd.rv", "8"},
		{"rv a fraction", register, "registryd.rv", 8.5},
		{"rv out of range", register, "registryd.rv", json.Number("9223372036854775808")},
		{"rv at the end of time", register, "registryd.rv", math.MaxInt64},
		{"rv of a cancel at the end of time", cancel, "registryd.rv", math.MaxInt64},
		{"rv of a heartbeat at the end of time", heartbeat, "registryd.rv", math.MaxInt64},
		{"ov at the end of time", setStatus, "registryd.ov", math.MaxInt64},
		{"term of ages", heartbeat, "registryd.term", math.MaxInt64},
		{"keep below 0", cancel, "registryd.keep", -1},
		{"keep of ages", cancel, "registryd.keep", math.MaxInt64},
		{"ov below 0", register, "registryd.ov", -9},
		{"live a text", register, "registryd.live", "true"},
		{"base no status", register, "registryd.base", "GONE"},
		{"base in lower case", register, "registryd.base", "up"},
		{"os no status", setStatus, "registryd.os", "GONE"},
		{"age below 0", heartbeat, "registryd.age", -1},
		{"age of ages", heartbeat, "registryd.age", math.MaxInt64},
		{"duration below 0", heartbeat, "registryd.dur", -1},
		{"duration of ages", heartbeat, "registryd.dur", math.MaxInt64},
		{"hash too short", register, "registryd.rh", "0123456789abcde"},
		{"hash not hexadecimal", register, "registryd.rh", "0123456789abcdeg"},
		{"another hash", register, "registryd.rh", "0123456789abcdef"},
		{"another hash of a tombstone", cancel, "registryd.rh", "0123456789abcdef"},
		{"content changed", register, "instanceInfo.hostName", "evil.example"},
		{"metadata added", register, "instanceInfo.metadata", map[string]string{"zone": "a"}},
		{"base changed", register, "registryd.base", "DOWN"},
		{"timestamp changed", register, "instanceInfo.lastDirtyTimestamp", "1699999999001"},
		{"tombstone's timestamp changed", cancel, "registryd.ldt", 1699999999001},
		{"tombstone's duration changed", cancel, "registryd.dur", 90001},
		{"no instance", register, "instanceInfo", removed},
		{"instance null", register, "instanceInfo", nil},
		{"instance not readable", register, "instanceInfo.port", map[string]any{"$": "http"}},
		{"instance without a timestamp", register, "instanceInfo.lastDirtyTimestamp", removed},
		{"instance of another app", register, "instanceInfo.app", "USERS"},
		{"instance of another id", register, "instanceInfo.instanceId", "i-9"},
		{"item of another app", register, "appName", "USERS"},
		{"item of another id", register, "id", "i-9"},
		{"id in another case", register, "id", "I-1"},
		{"no app", heartbeat, "appName", removed},
		{"app empty", cancel, "appName", ""},
		{"app null", setStatus, "appName", nil},
		{"no id", heartbeat, "id", removed},
		{"id empty", cancel, "id", ""},
		{"id null", unset, "id", nil},
		{"no action", heartbeat, "action", removed},
		{"action null", heartbeat, "action", nil},
		{"action unknown", register, "action", "Renew"},
		{"action in lower case", register, "action", "register"},
		{"register of a dead one", register, "registryd", stateOf(t, dead(8, 0))},
		{"cancel of a live one", cancel, "registryd", stateOf(t, alive(8, 9, "", 0))},
		{"status update that removes", setStatus, "registryd.set", false},
		{"status update without a version", setStatus, "registryd.ov", 0},
		{"removal that sets", unset, "registryd.set", true},
		{"removal without a version", unset, "registryd.ov", 0},
		{"unknown member", heartbeat, "later", 1},
		{"unknown member behind all others", heartbeat, "zone", "a"},
		{"unknown member behind all others of a register", register, "zone", "a"},
		{"status an object, behind all others", register, "status", map[string]any{}},
		{"status a list, behind all others", cancel, "status", []int{1}},
		{"null", heartbeat, "", nil},
		{"a number", heartbeat, "", 7},
		{"a list", heartbeat, "", []string{"ORDERS"}},
		{"an empty object", heartbeat, "", map[string]any{}},
	}
	first, last := registry.NewKey("GOOD", "a"), registry.NewKey("GOOD", "b")
	good := func(key registry.Key) string {
		it := item(register, key, registry.Entry{Record: live(instance(key.App, key.ID, eureka.StatusUp, start), 5)})
		return string(eureka.AppendItem(nil, &it))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			it := item(tt.action, key, newer[tt.action])
			// Without the edit the item is taken.
			spare := newNode(t, consumer.Options{})
			spare.reg.Join(key, ours, whole, registry.Origin{Way: registry.ByBatch})
			if got := spare.send(t, it)[0].StatusCode; got != 200 || stored(spare.reg, key) != text(merged(ours, newer[tt.action])) {
				t.Fatalf("the good item: got %d, %s", got, stored(spare.reg, key))
			}
			bad := edit(t, it, tt.path, tt.value)
			body := []byte(eureka.ReplicationListHead + good(first) + "," + bad + "," + good(last) + eureka.ReplicationListTail)
			for _, known := range []bool{true, false} {
				n := newNode(t, consumer.Options{})
				before, entries := "nothing", 2
				if known {
					n.reg.Join(key, ours, whole, registry.Origin{Way: registry.ByBatch})
					before, entries = text(ours), 3
				}
				list := results(t, n.ask(t, "peer", body), 3)
				if got, want := codes(list), []int{200, 400, 200}; !slices.Equal(got, want) {
					t.Errorf("known %t: got %d, want %d: %s", known, got, want, bad)
				}
				if list[1].State != nil || list[1].ResponseEntity != nil {
					t.Errorf("known %t: the result brings an entry, want none", known)
				}
				if got := stored(n.reg, key); got != before {
					t.Errorf("known %t: stored\n%s, want\n%s", known, got, before)
				}
				if got := n.reg.Len(); got != entries {
					t.Errorf("known %t: %d entries, want %d", known, got, entries)
				}
				for _, k := range []registry.Key{first, last} {
					if _, ok := n.reg.Instance(k); !ok {
						t.Errorf("known %t: %v is not there, want the items around to be applied", known, k)
					}
				}
			}
		})
	}
}

// A body that can't be read as a list is refused as a whole, and nothing of it
// is applied.
func TestMalformedBatch(t *testing.T) {
	key := registry.NewKey("ORDERS", "i-1")
	it := item(register, key, alive(5, 0, "", 0))
	good := string(eureka.AppendReplicationList(nil, eureka.ReplicationList{it}))
	one := string(eureka.AppendItem(nil, &it))
	tests := []struct{ name, body string }{
		{"empty", ``},
		{"not JSON", `{nope`},
		{"a bare list", `[` + one + `]`},
		{"null", `null`},
		{"a text", `"replicationList"`},
		{"no list", `{}`},
		{"another list", `{"responseList":[` + one + `]}`},
		{"list null", `{"replicationList":null}`},
		{"list an object", `{"replicationList":` + one + `}`},
		{"cut behind the item", good[:len(good)-2]},
		{"cut at the end", good[:len(good)-1]},
		{"cut in the second item", good[:len(good)-2] + `,{"appName":"ORDERS`},
		{"something behind it", good + `x`},
		{"another batch behind it", good + good},
		{"not JSON in the second item", good[:len(good)-2] + `,{"appName":nope}]}`},
		{"not UTF-8", strings.Replace(good, "i-1.example", "i-\xff.example", 1)},
		{"nested too deep", `{"replicationList":[` + one + `,` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `]}`},
		{"too many items", `{"replicationList":[` + strings.Repeat(one+",", 2) + strings.Repeat("{},", eureka.DefaultMaxItems-2) + `{}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, consumer.Options{})
			a := n.ask(t, "peer", []byte(tt.body))
			if a.code != http.StatusBadRequest || a.text == "" {
				t.Errorf("got %v, want %d and why", a, http.StatusBadRequest)
			}
			if got := n.reg.Len(); got != 0 {
				t.Errorf("%d entries, want none", got)
			}
			// The sender's next batch is applied.
			if a := n.ask(t, "peer", []byte(good)); a.code != 0 || n.reg.Len() != 1 {
				t.Errorf("the next batch: %v, %d entries, want it applied", a, n.reg.Len())
			}
		})
	}
}

// A peer that sends only unreadable batches costs a log line in ten seconds for
// batches and one for tasks. Each line has the number since the last.
func TestMalformedLinesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		drop := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "err" {
				return slog.Attr{}
			}
			return a
		}
		n := newNode(t, consumer.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: drop}))})
		tasks := []byte(eureka.ReplicationListHead + "{},{}" + eureka.ReplicationListTail)
		for range 25 { // From 0 to 24 s.
			n.ask(t, "peer", []byte("nope"))
			n.ask(t, "peer", tasks)
			time.Sleep(time.Second)
		}
		want := ""
		for _, batches := range []int{1, 10, 10} {
			want += fmt.Sprintf("level=WARN msg=\"malformed batch refused\" component=consumer peer=peer batch=0197f2a4-7c1e-7b3a-9d52-3f1c5e8a6b70 batches=%d\n", batches)
			want += fmt.Sprintf("level=WARN msg=\"malformed tasks refused\" component=consumer peer=peer batch=0197f2a4-7c1e-7b3a-9d52-3f1c5e8a6b70 tasks=%d\n", 2*batches)
		}
		if got := log.String(); got != want {
			t.Errorf("log:\n%swant\n%s", got, want)
		}
	})
}
