package eureka

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// Every recorded batch is taken or refused as the server did it, and is the
// same when written again.
func TestRecordedBatches(t *testing.T) {
	seen := 0
	for _, folder := range []string{"server", "sender"} {
		for _, e := range load(t, folder) {
			if !strings.Contains(e.path(), "/peerreplication/batch") {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				seen++
				for _, o := range []ListOptions{{}, {NATS: true}} {
					l, err := DecodeReplicationList(e.req.body, o)
					status := 200
					switch {
					case errors.Is(err, ErrNoReplicationList):
						status = 500
					case err != nil:
						status = 400
					}
					want := e.status()
					switch {
					case folder == "sender", strings.HasSuffix(e.name, "batch-gzip"): // stored decompressed
						want = 200
					case o.NATS && strings.Contains(e.name, "unknown-action"), o.NATS && strings.Contains(e.name, "unknown-field"):
						want = 200
						if len(l) != 1 || l[0].Err == nil || l[0].ID != "rep-1" {
							t.Errorf("%+v: got %+v, want the item and its error", o, l)
						}
						l = nil
					}
					if status != want {
						t.Fatalf("%+v: got %d (%v), want %d", o, status, err, want)
					}
					if status == 200 && l != nil && !strings.Contains(e.name, "null-") {
						written := AppendReplicationList(nil, l)
						again, err := DecodeReplicationList(written, o)
						if err != nil || !reflect.DeepEqual(again, l) {
							t.Errorf("%s: read again: %v", written, err)
						}
						if folder == "sender" { // else an instance of a client's making
							same(t, "written again", written, e.req.body)
						}
					}
				}
			})
		}
	}
	if seen != 59 {
		t.Errorf("got %d batches, want 59", seen)
	}
}

// Every recorded answer to a batch is the same when written again.
func TestRecordedResponses(t *testing.T) {
	seen := 0
	for _, e := range load(t, "server") {
		if !strings.Contains(e.path(), "/peerreplication/batch") || e.status() != 200 || formatOf(e.resp.body) != JSON {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			seen++
			l, err := DecodeReplicationListResponse(e.resp.body, 0)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "written again", AppendReplicationListResponse(nil, l), e.resp.body)
		})
	}
	if seen != 24 {
		t.Errorf("got %d answers, want 24", seen)
	}
	// A copy that a peer of another making sent: much of it is missing.
	l, err := DecodeReplicationListResponse(find(t, load(t, "sender"), "005-heartbeat-409").resp.body, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := plain()
	want.InstanceID, want.HostName, want.App, want.IPAddr, want.Status = new("s-1"), "s-1.test", "SND", "192.0.2.90", StatusDown
	want.Port, want.VIPAddress, want.Metadata = Port{80, true}, new("snd"), map[string]string{"from": "peer"}
	want.LastDirtyTimestamp, want.LastUpdatedTimestamp = 1_700_000_000_500, 1_700_000_000_000
	if len(l) != 1 || l[0].StatusCode != 409 || !reflect.DeepEqual(l[0].ResponseEntity, want) {
		t.Errorf("got %s, want %s", show(l), show(want))
	}
}

// An item is written as Java writes it, and with the versions for NATS.
func TestAppendItem(t *testing.T) {
	info := plain()
	state := State{
		RecordVersion: 1_700_000_000_001, Live: true, Base: StatusUp, RecordHash: 0xab, OverrideVersion: 1_700_000_000_002,
		OverrideSet: true, OverrideStatus: StatusOutOfService, Duration: 90_000, Age: 12, Wait: 501,
	}
	evicted := state
	evicted.Evicted = true
	dead := State{RecordVersion: 5, RecordHash: math.MaxUint64, OverrideVersion: 6, OverrideStatus: StatusUnknown, Duration: 90_000, Age: -3, LastDirty: 4, Base: StatusUnknown}
	kept := dead
	kept.Keep = 300_000
	tests := []struct {
		name string
		item Item
		want string
	}{
		{"cancel", Item{Action: ActionCancel, AppName: "A", ID: "i", LastDirtyTimestamp: NoTimestamp}, `{"appName":"A","id":"i","action":"Cancel"}`},
		{"heartbeat", Item{Action: ActionHeartbeat, AppName: "A", ID: `i"`, LastDirtyTimestamp: 1700000000000, OverriddenStatus: "DOWN", Status: "UP"}, `{"appName":"A","id":"i\"","lastDirtyTimestamp":1700000000000,"overriddenStatus":"DOWN","status":"UP","action":"Heartbeat"}`},
		{"register", Item{Action: ActionRegister, AppName: "A", ID: "i", LastDirtyTimestamp: 0, Status: "UP", InstanceInfo: info}, `{"appName":"A","id":"i","lastDirtyTimestamp":0,"status":"UP","instanceInfo":` + string(Form{}.AppendInstance(nil, info)) + `,"action":"Register"}`},
		{"live", Item{Action: ActionStatusUpdate, AppName: "A", ID: "i", LastDirtyTimestamp: NoTimestamp, Status: "X<", State: &state}, `{"appName":"A","id":"i","status":"X<","action":"StatusUpdate","registryd":{"rv":1700000000001,"live":true,"base":"UP","rh":"00000000000000ab","ov":1700000000002,"set":true,"os":"OUT_OF_SERVICE","dur":90000,"age":12,"wait":501}}`},
		{"evicted", Item{Action: ActionHeartbeat, AppName: "A", ID: "i", LastDirtyTimestamp: NoTimestamp, State: &evicted}, `{"appName":"A","id":"i","action":"Heartbeat","registryd":{"rv":1700000000001,"live":true,"base":"UP","rh":"00000000000000ab","ov":1700000000002,"set":true,"os":"OUT_OF_SERVICE","dur":90000,"age":12,"wait":501,"evicted":true}}`},
		{"dead", Item{Action: ActionCancel, AppName: "A", ID: "i", LastDirtyTimestamp: NoTimestamp, State: &dead}, `{"appName":"A","id":"i","action":"Cancel","registryd":{"rv":5,"live":false,"base":"UNKNOWN","rh":"ffffffffffffffff","ov":6,"set":false,"os":"UNKNOWN","dur":90000,"age":-3,"wait":0,"ldt":4}}`},
		{"dead, kept", Item{Action: ActionCancel, AppName: "A", ID: "i", LastDirtyTimestamp: NoTimestamp, State: &kept}, `{"appName":"A","id":"i","action":"Cancel","registryd":{"rv":5,"live":false,"base":"UNKNOWN","rh":"ffffffffffffffff","ov":6,"set":false,"os":"UNKNOWN","dur":90000,"age":-3,"keep":300000,"wait":0,"ldt":4}}`},
	}
	var parts [][]byte
	var list ReplicationList
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := AppendItem(nil, &tt.item)
			if string(got) != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			l, err := DecodeReplicationList([]byte(ReplicationListHead+string(got)+ReplicationListTail), ListOptions{NATS: true})
			if err != nil || len(l) != 1 || !reflect.DeepEqual(l[0], tt.item) {
				t.Errorf("read again: %v, %s, want %s", err, show(l), show(tt.item))
			}
			parts, list = append(parts, got), append(list, tt.item)
		})
	}
	if got, want := string(JoinReplicationList(nil, parts)), string(AppendReplicationList(nil, list)); got != want {
		t.Errorf("joined:\n got %s\nwant %s", got, want)
	}
	if got, want := string(JoinReplicationList(nil, nil)), `{"replicationList":[]}`; got != want {
		t.Errorf("empty: got %s, want %s", got, want)
	}
	results := ReplicationListResponse{{StatusCode: 200}, {StatusCode: 409, ResponseEntity: info, State: &state}, {StatusCode: 409, State: &dead}}
	joined := AppendReplicationListResponse(nil, results)
	if l, err := DecodeReplicationListResponse(joined, 0); err != nil || !reflect.DeepEqual(l, results) {
		t.Errorf("read again: %v, %s, want %s", err, show(l), show(results))
	}
}

// Over NATS one bad item spoils itself only; over HTTP it spoils the list.
func TestBadItems(t *testing.T) {
	const state = `{"rv":1,"live":true,"base":"UP","rh":"0000000000000001","ov":2,"set":false,"os":"UNKNOWN","dur":90000,"age":1,"wait":2}`
	without := func(member string) string {
		from := strings.Index(state, `"`+member+`"`)
		return state[:from] + `"x` + state[from+1:]
	}
	with := func(member, value string) string {
		from := strings.Index(state, `"`+member+`":`) + len(member) + 3
		to := from + strings.IndexAny(state[from:], ",}")
		return state[:from] + value + state[to:]
	}
	register := string(Form{}.AppendInstance(nil, plain()))
	tests := []struct {
		name string
		item string
		says string
	}{
		{"unknown action", `{"appName":"A","id":"bad","action":"Foo"}`, "action: unknown action"},
		{"action in lower case", `{"id":"bad","action":"cancel"}`, "unknown action"},
		{"action of the wrong type", `{"id":"bad","action":{"x":[{}]}}`, "action: not a text"},
		{"unknown member", `{"id":"bad","foo":{"a":[1,{"b":2}]},"action":"Cancel"}`, "foo: unknown member"},
		{"timestamp no number", `{"id":"bad","lastDirtyTimestamp":"x"}`, "lastDirtyTimestamp: not a number"},
		{"timestamp an object", `{"id":"bad","lastDirtyTimestamp":{}}`, "not a text"},
		{"timestamp too great", `{"id":"bad","lastDirtyTimestamp":9223372036854775808}`, "out of range"},
		{"status an array", `{"id":"bad","status":["UP"]}`, "status: not a text"},
		{"instance without an app", `{"id":"bad","instanceInfo":{"hostName":"h"},"action":"Register"}`, "app is missing"},
		{"instance a text", `{"id":"bad","instanceInfo":"x"}`, "instanceInfo: not an object"},
		{"instance with a bad port", `{"id":"bad","instanceInfo":` + strings.Replace(register, `{"$":7001,`, `{"$":[],`, 1) + `,"action":"Register"}`, "instanceInfo/port/$: not a text"},
		{"nested too deep", `{"id":"bad","instanceInfo":{"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}}`, "nested deeper"},
		{"a text", `"bad"`, "not an object"},
		{"null", `null`, "not an object"},
		{"an array", `[{"id":"bad"},[{}]]`, "not an object"},
		{"state a text", `{"id":"bad","registryd":"x"}`, "registryd: not an object"},
		{"version a text", `{"id":"bad","registryd":` + with("rv", `"1"`) + `}`, "rv: not a number"},
		{"version with a fraction", `{"id":"bad","registryd":` + with("ov", `1.5`) + `}`, "ov: not a number"},
		{"version too great", `{"id":"bad","registryd":` + with("ov", `1e30`) + `}`, "ov: not a number"},
		{"version beyond 64 bits", `{"id":"bad","registryd":` + with("ov", `9223372036854775808`) + `}`, "ov: number out of range"},
		{"version null", `{"id":"bad","registryd":` + with("rv", `null`) + `}`, "rv: not a number"},
		{"live a text", `{"id":"bad","registryd":` + with("live", `"true"`) + `}`, "live: not a boolean"},
		{"base unknown", `{"id":"bad","registryd":` + with("base", `"BROKEN"`) + `}`, "base: not one of the five"},
		{"os null", `{"id":"bad","registryd":` + with("os", `null`) + `}`, "os: not one of the five"},
		{"hash short", `{"id":"bad","registryd":` + with("rh", `"1"`) + `}`, "rh: not 16 hex"},
		{"hash no hash", `{"id":"bad","registryd":` + with("rh", `"000000000000000g"`) + `}`, "rh: not 16 hex"},
		{"hash signed", `{"id":"bad","registryd":` + with("rh", `"+00000000000000a"`) + `}`, "rh: not 16 hex"},
		{"rv missing", `{"id":"bad","registryd":` + without("rv") + `}`, "rv is missing"},
		{"live missing", `{"id":"bad","registryd":` + without("live") + `}`, "live is missing"},
		{"rh missing", `{"id":"bad","registryd":` + without("rh") + `}`, "rh is missing"},
		{"ov missing", `{"id":"bad","registryd":` + without("ov") + `}`, "ov is missing"},
		{"set missing", `{"id":"bad","registryd":` + without("set") + `}`, "set is missing"},
		{"dur missing", `{"id":"bad","registryd":` + without("dur") + `}`, "dur is missing"},
		{"age missing", `{"id":"bad","registryd":` + without("age") + `}`, "age is missing"},
		{"ldt of a dead one missing", `{"id":"bad","registryd":` + with("live", "false") + `}`, "ldt is missing"},
	}
	good := Item{Action: ActionCancel, AppName: "A", ID: "i", LastDirtyTimestamp: NoTimestamp}
	text := string(AppendItem(nil, &good))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(ReplicationListHead + text + "," + tt.item + "," + text + ReplicationListTail)
			if l, err := DecodeReplicationList(body, ListOptions{}); err == nil || errors.Is(err, ErrNoReplicationList) {
				t.Errorf("HTTP: %v, %s", err, show(l))
			}
			l, err := DecodeReplicationList(body, ListOptions{NATS: true})
			if err != nil || len(l) != 3 {
				t.Fatalf("NATS: %v, %s", err, show(l))
			}
			if !reflect.DeepEqual(l[0], good) || !reflect.DeepEqual(l[2], good) {
				t.Errorf("NATS: the others: %s", show(l))
			}
			if l[1].Err == nil || !strings.Contains(l[1].Err.Error(), tt.says) {
				t.Errorf("NATS: got %v, want %q in it", l[1].Err, tt.says)
			}
			if strings.HasPrefix(tt.item, "{") && l[1].ID != "bad" {
				t.Errorf("NATS: got id %q, want bad", l[1].ID)
			}
		})
	}
	t.Run("registryd over HTTP", func(t *testing.T) {
		body := []byte(ReplicationListHead + `{"appName":"A","id":"i","action":"Cancel","registryd":` + state + `}` + ReplicationListTail)
		if _, err := DecodeReplicationList(body, ListOptions{}); err == nil || !strings.Contains(err.Error(), "registryd: unknown member") {
			t.Errorf("got %v", err)
		}
		l, err := DecodeReplicationList(body, ListOptions{NATS: true})
		if err != nil || len(l) != 1 || l[0].Err != nil || l[0].State == nil || l[0].State.OverrideVersion != 2 {
			t.Errorf("NATS: got %s, %v", show(l), err)
		}
	})
	t.Run("registryd may grow and may be absent", func(t *testing.T) {
		body := []byte(ReplicationListHead + `{"id":"i","registryd":{"new":{"rv":7},` + state[1:] + `},{"id":"i"},{"id":"i","registryd":null}` + ReplicationListTail)
		l, err := DecodeReplicationList(body, ListOptions{NATS: true})
		if err != nil || len(l) != 3 || l[0].Err != nil || l[0].State == nil || l[0].State.RecordVersion != 1 || l[1].State != nil || l[2].State != nil || l[1].Err != nil {
			t.Errorf("got %s, %v", show(l), err)
		}
	})
	t.Run("a live one has no ldt", func(t *testing.T) {
		body := []byte(ReplicationListHead + `{"id":"i","registryd":{"ldt":7,` + state[1:] + `}` + ReplicationListTail)
		l, err := DecodeReplicationList(body, ListOptions{NATS: true})
		if err != nil || len(l) != 1 || l[0].State == nil || l[0].State.LastDirty != 0 {
			t.Errorf("got %s, %v", show(l), err)
		}
	})
	t.Run("lower-case app", func(t *testing.T) {
		l, err := DecodeReplicationList([]byte(`{"replicationList":[{"appName":"rep"}]}`), ListOptions{})
		if err != nil || l[0].AppName != "REP" || l[0].Action != "" {
			t.Errorf("got %s, %v", show(l), err)
		}
	})
}

func TestBadLists(t *testing.T) {
	tests := []struct {
		body   string
		http   bool // taken over HTTP
		nats   bool
		nolist bool // both say that there is no list
	}{
		{body: `{"replicationList":[]}`, http: true, nats: true},
		{body: `{"replicationList":[],"x":[{}]}`, nats: true},
		{body: `{}`, nolist: true},
		{body: `{"replicationList":null}`, nolist: true},
		{body: `{"replicationList":{}}`},
		{body: `{"replicationList":"x"}`},
		{body: `{"replicationList":[]}{}`},
		{body: `{"replicationList":[,]}`},
		{body: `{"replicationList":[{]}`},
		{body: `{"replicationList":[{"id":"\xff"}]}`},
		{body: "{\"replicationList\":[{\"id\":\"\xff\"}]}"},
		{body: `[]`},
		{body: `null`},
		{body: `x`},
		{body: ``},
	}
	for _, tt := range tests {
		for _, nats := range []bool{false, true} {
			l, err := DecodeReplicationList([]byte(tt.body), ListOptions{NATS: nats})
			want := tt.http
			if nats {
				want = tt.nats
			}
			if (err == nil) != want || errors.Is(err, ErrNoReplicationList) != tt.nolist {
				t.Errorf("%s (NATS %v): %s, %v", tt.body, nats, show(l), err)
			}
		}
	}
	for _, body := range []string{``, `{}`, `[]`, `{"responseList":null}`, `{"responseList":{}}`, `{"responseList":[]}x`, `{"responseList":[{"statusCode":200}`} {
		if l, err := DecodeReplicationListResponse([]byte(body), 0); err == nil {
			t.Errorf("%s: taken: %s", body, show(l))
		}
	}
}

// One bad result spoils itself only.
func TestBadResults(t *testing.T) {
	bad := []string{
		`{}`, `null`, `200`, `[]`, `{"statusCode":{}}`, `{"statusCode":"x"}`, `{"statusCode":1e10}`,
		`{"statusCode":409,"responseEntity":"x"}`, `{"statusCode":409,"responseEntity":{"app":[[{}]]}}`,
		`{"statusCode":409,"responseEntity":{"hostName":"h"}}`, `{"statusCode":409,"registryd":{}}`,
	}
	body := ReplicationListResponseHead + `{"statusCode":200,"new":{"statusCode":5}}`
	for _, b := range bad {
		body += "," + b
	}
	body += `,{"statusCode":"404"}` + ReplicationListResponseTail
	l, err := DecodeReplicationListResponse([]byte(body), 0)
	if err != nil || len(l) != len(bad)+2 {
		t.Fatalf("got %d results, %v, want %d", len(l), err, len(bad)+2)
	}
	if l[0].StatusCode != 200 || l[0].Err != nil || l[len(l)-1].StatusCode != 404 || l[len(l)-1].Err != nil {
		t.Errorf("the good ones: %+v, %+v", l[0], l[len(l)-1])
	}
	for n, b := range bad {
		if l[n+1].Err == nil {
			t.Errorf("%s: taken: %+v", b, l[n+1])
		}
	}
}

// Lists are bounded, on both sides of the bound.
func TestMaxItems(t *testing.T) {
	list := func(head, item string, n int) []byte {
		return []byte(head + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]}")
	}
	for _, tt := range []struct{ limit, n int }{{0, DefaultMaxItems}, {3, 3}} {
		for extra, fits := range []bool{true, false} {
			name := strconv.Itoa(tt.limit) + "/" + strconv.Itoa(tt.n+extra)
			l, err := DecodeReplicationList(list(ReplicationListHead, `{}`, tt.n+extra), ListOptions{NATS: true, MaxItems: tt.limit})
			if fits && (err != nil || len(l) != tt.n) || !fits && !errors.Is(err, ErrTooManyItems) {
				t.Errorf("list %s: %d items, %v", name, len(l), err)
			}
			r, err := DecodeReplicationListResponse(list(ReplicationListResponseHead, `{"statusCode":200}`, tt.n+extra), tt.limit)
			if fits && (err != nil || len(r) != tt.n) || !fits && !errors.Is(err, ErrTooManyItems) {
				t.Errorf("answer %s: %d results, %v", name, len(r), err)
			}
		}
	}
	_, err := DecodeReplicationList(list(ReplicationListHead, `{}`, 4), ListOptions{MaxItems: 3})
	if want := fmt.Sprintf("more than %d", 3); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
}

// What is written is read back, with random items.
func TestReplicationRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	r := random{rand.New(rand.NewPCG(seed, 1))}
	actions := []Action{"", ActionHeartbeat, ActionRegister, ActionCancel, ActionStatusUpdate, ActionDeleteStatusOverride}
	state := func() *State {
		if r.IntN(3) == 0 {
			return nil
		}
		s := &State{r.number(), r.IntN(2) == 0, r.status(), r.Uint64(), r.number(), r.IntN(2) == 0, r.status(), r.number(), r.number(), r.number(), r.number(), r.number(), 0, r.IntN(4) == 0}
		if !s.Live {
			s.LastDirty, s.Base = r.number(), ""
		}
		return s
	}
	for range 200 {
		l, answer := ReplicationList{}, ReplicationListResponse{}
		for range r.IntN(5) {
			it := Item{Action: actions[r.IntN(len(actions))], AppName: Upper(r.text()), ID: r.text(), LastDirtyTimestamp: r.number(), OverriddenStatus: Status(r.text()), Status: Status(r.text()), State: state()}
			if r.IntN(2) == 0 {
				it.InstanceInfo = r.instance()
			}
			l = append(l, it)
			res := Result{StatusCode: r.small(), State: state()}
			if r.IntN(2) == 0 {
				res.ResponseEntity = r.instance()
			}
			answer = append(answer, res)
		}
		body := AppendReplicationList(nil, l)
		if got, err := DecodeReplicationList(body, ListOptions{NATS: true}); err != nil || !reflect.DeepEqual(got, l) {
			t.Fatalf("seed %d: %s: %v:\n got %s\nwant %s", seed, body, err, show(got), show(l))
		}
		body = AppendReplicationListResponse(nil, answer)
		if got, err := DecodeReplicationListResponse(body, 0); err != nil || !reflect.DeepEqual(got, answer) {
			t.Fatalf("seed %d: %s: %v:\n got %s\nwant %s", seed, body, err, show(got), show(answer))
		}
	}
}
