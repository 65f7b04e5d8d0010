package eureka

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// sameUsual checks that a list and an answer are read at a glance as they are read token by
// token, and reports whether one of them was.
func sameUsual(t *testing.T, body []byte) bool {
	t.Helper()
	list, isList := usualList(body, DefaultMaxItems)
	if isList {
		want, err := anyList(body, ListOptions{NATS: true, MaxItems: DefaultMaxItems})
		if err == nil {
			for i := range want {
				err = errors.Join(err, want[i].Err)
			}
		}
		if err != nil || !reflect.DeepEqual(list, want) {
			t.Fatalf("%s:\n got %s\nwant %s, %v", body, show(list), show(want), err)
		}
	}
	response, isResponse := usualResponse(body, DefaultMaxItems)
	if isResponse {
		want, err := anyResponse(body, DefaultMaxItems)
		if err == nil {
			for i := range want {
				err = errors.Join(err, want[i].Err)
			}
		}
		if err != nil || !reflect.DeepEqual(response, want) {
			t.Fatalf("%s:\n got %s\nwant %s, %v", body, show(response), show(want), err)
		}
	}
	return isList || isResponse
}

// What our encoders write is read at a glance.
func TestWrittenIsUsual(t *testing.T) {
	i := plain()
	i.Metadata = map[string]string{"quote": `"\`, "ö": "\u2028", "control": "\x01"}
	st := &State{RecordVersion: 1, Live: true, Base: StatusUp, Duration: 90_000, Age: 3, Evicted: true, Term: 4, Keep: 5}
	for _, body := range [][]byte{
		AppendReplicationList(nil, ReplicationList{
			{Action: ActionHeartbeat, AppName: "A", ID: "i", State: st},
			{Action: ActionRegister, AppName: "A", ID: "i", InstanceInfo: i, LastDirtyTimestamp: -1, State: st},
			{Action: ActionHeartbeat, AppName: "ö", ID: `"`, State: st, Status: StatusUp, OverriddenStatus: StatusDown},
			{Action: ActionCancel, AppName: "A", ID: "i", State: &State{Wait: -1}},
		}),
		AppendReplicationListResponse(nil, ReplicationListResponse{
			{StatusCode: 200}, {409, i, st, nil}, {404, nil, st, nil}, {StatusCode: -1},
		}),
	} {
		if !sameUsual(t, body) {
			t.Errorf("not read at a glance: %s", body)
		}
	}
}

// What is written otherwise is read as before, wherever the difference is.
func TestUsualIsJSON(t *testing.T) {
	for _, body := range []string{
		`{"replicationList":[{"appName":"A","id":"i","lastDirtyTimestamp":12,"overriddenStatus":"UP","status":"DOWN","action":"Heartbeat","registryd":{"rv":5,"live":false,"base":"UP","rh":"0123456789abcdef","ov":6,"set":true,"os":"DOWN","dur":90000,"term":1,"age":3,"keep":4,"wait":-7,"ldt":8,"evicted":true}},{"action":"Cancel"}]}`,
		`{"responseList":[{"statusCode":200},{"statusCode":409,"registryd":{"rv":5,"live":true,"rh":"0123456789abcdef","ov":6,"set":false,"dur":90000,"age":100000000000000000,"wait":0}},{"statusCode":-1,"x":null,"y":[{}]}]}`,
	} {
		if !sameUsual(t, []byte(body)) {
			t.Fatalf("not read at a glance: %s", body)
		}
		for at := range body {
			for _, c := range []string{"", ",", ":", `"`, "{", "}", "[", "]", "0", "-", "9", "F", "a", ".", "\\", "t", " ", "\x00", "\xff"} {
				sameUsual(t, []byte(body[:at]+c+body[at:]))
				sameUsual(t, []byte(body[:at]+c+body[at+1:]))
			}
		}
	}
}

// An object may be nested as deep, and a list be as long, as where it is read token by token.
func TestUsualBounds(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(`{"responseList":[{"statusCode":1,"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}]}`)
	}
	const fits = MaxDepth - 3
	if _, ok := usualResponse(nested(fits), 9); !ok {
		t.Errorf("%d brackets are not read", fits)
	}
	if _, ok := usualResponse(nested(fits+1), 9); ok {
		t.Errorf("%d brackets are read", fits+1)
	}
	sameUsual(t, nested(fits))
	if l, err := anyResponse(nested(fits+1), 9); err == nil && l[0].Err == nil {
		t.Errorf("%d brackets are read token by token", fits+1)
	}
	two := []byte(`{"responseList":[{"statusCode":1},{"statusCode":2}]}`)
	if l, ok := usualResponse(two, 2); !ok || len(l) != 2 {
		t.Errorf("two of two: %v, %t", l, ok)
	}
	if _, err := DecodeReplicationListResponse(two, 1); !errors.Is(err, ErrTooManyItems) {
		t.Errorf("two, at most one: %v, want %v", err, ErrTooManyItems)
	}
}

func FuzzUsualJSON(f *testing.F) {
	for _, folder := range []string{"server", "sender", "client-spring", "client-jersey"} {
		for _, e := range load(f, folder) {
			for _, body := range [][]byte{e.req.body, e.resp.body} {
				if formatOf(body) == JSON && strings.HasPrefix(string(body), "{") {
					f.Add(body)
				}
			}
		}
	}
	f.Add([]byte(`{"replicationList":[{"appName":"A","id":"i","action":"Heartbeat","registryd":{"rv":5,"live":true,"rh":"ffffffffffffffff","ov":6,"set":false,"dur":90000,"age":-3,"wait":0}},{"appName":"A","id":"\u00e4","lastDirtyTimestamp":"-0","action":"Cancel","registryd":{"rv":5,"live":false,"rh":"ffffffffffffffff","ov":6,"set":false,"os":"UNKNOWN","dur":90000,"age":-3,"wait":0,"ldt":4}}]}`))
	f.Add([]byte(`{"responseList":[{"statusCode":409,"registryd":{"rv":5,"live":true,"base":"UP","rh":"ffffffffffffffff","ov":6,"set":true,"os":"DOWN","dur":90000,"age":3,"wait":1}},{"statusCode":7,"x":{}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) { sameUsual(t, body) })
}
