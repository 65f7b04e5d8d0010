package eureka

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// settled checks that an instance which was read is the same after writing and
// reading it, in its own format, and that XML can be made of it at all.
func settled(t *testing.T, f Format, i *InstanceInfo) {
	t.Helper()
	body := f.AppendInstanceDocument(nil, i)
	again, err := DecodeInstance(f, body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	want := *i
	if want.DataCenterInfo.Name == "" {
		want.DataCenterInfo = again.DataCenterInfo // nameless is refused by Check, absent too
	}
	if !reflect.DeepEqual(again, &want) {
		t.Fatalf("%s:\n got %s\nwant %s", body, show(again), show(want))
	}
	for _, form := range []Form{{XML, false}, {XML, true}, {JSON, true}} {
		list := form.AppendApplications(nil, Applications{Applications: []Application{{i.App, []*InstanceInfo{i}}}})
		if _, err := DecodeApplications(form.Format, list); err != nil {
			t.Fatalf("%+v: %s: %v", form, list, err)
		}
	}
}

func FuzzDecodeInstanceJSON(f *testing.F) { fuzzInstance(f, JSON) }

func FuzzDecodeInstanceXML(f *testing.F) { fuzzInstance(f, XML) }

func fuzzInstance(f *testing.F, format Format) {
	for _, folder := range []string{"server", "client-spring", "client-jersey"} {
		for _, e := range load(f, folder) {
			for _, body := range [][]byte{e.req.body, e.resp.body} {
				if formatOf(body) == format && (strings.Contains(e.path(), "/apps/") || strings.Contains(e.path(), "/instances/")) {
					f.Add(body)
				}
			}
		}
	}
	if format == XML {
		f.Add(xinst(`<metadata><_.d83d_.de00>&#xd;</_.d83d_.de00><_/></metadata><!-- c --><?p?><x><![CDATA[]]></x>`))
	} else {
		f.Add(inst(`"metadata":{"":"\u0000","\ud83d\ude00":"\u2028"},"port":8,"x":[{"y":{}}]`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if i, err := DecodeInstance(format, body); err == nil {
			settled(t, format, i)
			if err := i.Check(i.App); err == nil {
				settled(t, format, i)
			}
		}
		if _, err := DecodeApplications(format, body); err != nil && len(err.Error()) > 500 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		_, _ = DecodeApplication(format, body) //nolint:errcheck // it must return, whatever it says
	})
}

func FuzzDecodeReplicationList(f *testing.F) {
	for _, folder := range []string{"server", "sender"} {
		for _, e := range load(f, folder) {
			if strings.Contains(e.path(), "/peerreplication/") {
				f.Add(e.req.body)
			}
		}
	}
	f.Add([]byte(`{"replicationList":[{"appName":"A","id":"i","action":"Cancel","registryd":{"rv":5,"live":false,"rh":"ffffffffffffffff","ov":6,"set":false,"os":"UNKNOWN","dur":90000,"age":-3,"wait":0,"ldt":4}},{"action":"Foo","x":[[{}]]},1]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		strict, err := DecodeReplicationList(body, ListOptions{MaxItems: 100})
		l, natsErr := DecodeReplicationList(body, ListOptions{NATS: true, MaxItems: 100})
		if err == nil && (natsErr != nil || !reflect.DeepEqual(strict, l)) {
			t.Fatalf("HTTP takes %s, NATS %s, %v", show(strict), show(l), natsErr)
		}
		var sound ReplicationList
		for _, it := range l {
			if it.Err == nil {
				if it.InstanceInfo != nil && it.InstanceInfo.DataCenterInfo.Name == "" {
					continue // nameless and absent are written alike
				}
				sound = append(sound, it)
			}
		}
		written := AppendReplicationList(nil, sound)
		again, err := DecodeReplicationList(written, ListOptions{NATS: true})
		if err != nil || len(again) != len(sound) || len(sound) > 0 && !reflect.DeepEqual(again, sound) {
			t.Fatalf("%s: %v:\n got %s\nwant %s", written, err, show(again), show(sound))
		}
	})
}

func FuzzDecodeReplicationListResponse(f *testing.F) {
	for _, folder := range []string{"server", "sender"} {
		for _, e := range load(f, folder) {
			if strings.Contains(e.path(), "/peerreplication/") {
				f.Add(e.resp.body)
			}
		}
	}
	f.Add([]byte(`{"responseList":[{"statusCode":409,"registryd":{"rv":5,"live":true,"base":"UP","rh":"ffffffffffffffff","ov":6,"set":true,"os":"DOWN","dur":90000,"age":3}},{"statusCode":{}},1]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := DecodeReplicationListResponse(body, 100)
		if err != nil {
			if _, ok := errors.AsType[*DecodeError](err); !ok {
				t.Fatalf("got a %T, want a DecodeError", err)
			}
			return
		}
		var sound ReplicationListResponse
		for _, res := range l {
			if res.Err == nil && (res.ResponseEntity == nil || res.ResponseEntity.DataCenterInfo.Name != "") {
				sound = append(sound, res)
			}
		}
		written := AppendReplicationListResponse(nil, sound)
		again, err := DecodeReplicationListResponse(written, 0)
		if err != nil || len(again) != len(sound) || len(sound) > 0 && !reflect.DeepEqual(again, sound) {
			t.Fatalf("%s: %v:\n got %s\nwant %s", written, err, show(again), show(sound))
		}
	})
}
