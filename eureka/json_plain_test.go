package eureka

import (
	"reflect"
	"strings"
	"testing"
)

// samePlain checks that what is read of a body as plain JSON is what is read of it as any,
// and reports whether it was plain.
func samePlain[T any](t *testing.T, body []byte, read func(*jsonReader) T) bool {
	t.Helper()
	got, plain := readPlainJSON(body, read)
	if !plain {
		return false
	}
	if want, err := readAnyJSON(body, read); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %s\nwant %s, %v", body, show(got), show(want), err)
	}
	return true
}

// samePlainAll is samePlain for all that is read of JSON. It reports whether any was plain.
func samePlainAll(t *testing.T, body []byte) bool {
	t.Helper()
	plain := samePlain(t, body, (*jsonReader).instanceDocument)
	plain = samePlain(t, body, (*jsonReader).applicationDocument) || plain
	plain = samePlain(t, body, (*jsonReader).applicationsDocument) || plain
	plain = samePlain(t, body, func(r *jsonReader) ReplicationListResponse {
		return r.replicationListResponse(len(body), 100)
	}) || plain
	for _, nats := range []bool{false, true} {
		plain = samePlain(t, body, func(r *jsonReader) ReplicationList {
			return r.replicationList(len(body), ListOptions{NATS: nats, MaxItems: 100})
		}) || plain
	}
	return plain
}

// What our encoders write is plain, so that it is read fast.
func TestWrittenIsPlain(t *testing.T) {
	i := plain()
	i.Metadata = map[string]string{"quote": `"\`, "ö": "\u2028", "control": "\x01"}
	st := &State{RecordVersion: 1, Live: true, Base: StatusUp, Duration: 90_000, Age: 3, Evicted: true, Term: 4, Keep: 5}
	for _, body := range [][]byte{
		JSON.AppendInstanceDocument(nil, i),
		Form{}.AppendApplications(nil, Applications{Applications: []Application{{i.App, []*InstanceInfo{i, i}}, {}}}),
		Form{Compact: true}.AppendApplications(nil, Applications{Applications: []Application{{i.App, []*InstanceInfo{i}}}}),
		AppendReplicationList(nil, ReplicationList{
			{Action: ActionHeartbeat, AppName: "A", ID: "i", State: st},
			{Action: ActionRegister, AppName: "A", ID: "i", InstanceInfo: i, LastDirtyTimestamp: -1, State: st},
		}),
		AppendReplicationListResponse(nil, ReplicationListResponse{{StatusCode: 200}, {409, i, st, nil}}),
	} {
		if !samePlainAll(t, body) {
			t.Errorf("not read as plain: %s", body)
		}
		if body = append(body, '\n'); !samePlainAll(t, body) {
			t.Errorf("not read as plain: %q", body)
		}
	}
}

// What is no JSON is not plain, wherever the fault is.
func TestPlainIsJSON(t *testing.T) {
	for _, body := range []string{
		`{"responseList":[{"statusCode":200},{"statusCode":-1,"x":null,"y":true}]}`,
		`{"replicationList":[{"appName":"A","id":"i","lastDirtyTimestamp":12,"overriddenStatus":"UP","status":"DOWN","action":"Heartbeat","registryd":{"rv":5,"live":false,"base":"UP","rh":"0123456789abcdef","ov":6,"set":true,"os":"DOWN","dur":90000,"term":1,"age":3,"keep":4,"wait":-7,"ldt":8,"evicted":true}},{"action":"Cancel"}]}`,
		`{"responseList":[{"statusCode":409,"registryd":{"rv":5,"live":true,"rh":"0123456789abcdef","ov":6,"set":false,"dur":90000,"age":100000000000000000,"wait":0}}]}`,
	} {
		everywhere(t, body)
	}
}

// everywhere reads a body with a fault at each of its bytes.
func everywhere(t *testing.T, body string) {
	t.Helper()
	if !samePlainAll(t, []byte(body)) {
		t.Fatalf("not read as plain: %s", body)
	}
	for at := range body {
		for _, c := range []string{"", ",", ":", `"`, "{", "}", "[", "]", "0", "-", "9", "F", "a", ".", "\\", "t", " ", "\x00", "\xff"} {
			samePlainAll(t, []byte(body[:at]+c+body[at:]))
			samePlainAll(t, []byte(body[:at]+c+body[at+1:]))
		}
	}
}

func FuzzPlainJSON(f *testing.F) {
	for _, folder := range []string{"server", "sender", "client-spring", "client-jersey"} {
		for _, e := range load(f, folder) {
			for _, body := range [][]byte{e.req.body, e.resp.body} {
				if formatOf(body) == JSON && strings.HasPrefix(string(body), "{") {
					f.Add(body)
				}
			}
		}
	}
	f.Add([]byte(`{"replicationList":[{"appName":"A","id":"\u00e4","lastDirtyTimestamp":"-0","action":"Cancel","registryd":{"rv":5,"live":false,"rh":"ffffffffffffffff","ov":6,"set":false,"os":"UNKNOWN","dur":90000,"age":-3,"wait":0,"ldt":4}},{"action":null}]}`))
	f.Add([]byte(`{"responseList":[{"statusCode":409,"registryd":{"rv":5,"live":true,"base":"UP","rh":"ffffffffffffffff","ov":6,"set":true,"os":"DOWN","dur":90000,"age":3}},{"statusCode":{}},1]}`))
	f.Fuzz(func(t *testing.T, body []byte) { samePlainAll(t, body) })
}
