package eureka

import "testing"

// typical is a registration as Spring's client sends it, about 1 KB.
func typical(b *testing.B) (body []byte, i *InstanceInfo) {
	body = find(b, load(b, "client-spring"), "003-post-DEMO").req.body
	i, err := DecodeInstance(JSON, body)
	if err != nil {
		b.Fatal(err)
	}
	return body, i
}

func BenchmarkDecodeInstanceJSON(b *testing.B) {
	body, _ := typical(b)
	benchmarkDecode(b, JSON, body)
}

func BenchmarkDecodeInstanceXML(b *testing.B) {
	_, i := typical(b)
	benchmarkDecode(b, XML, XML.AppendInstanceDocument(nil, i))
}

func benchmarkDecode(b *testing.B, f Format, body []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := DecodeInstance(f, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendInstance(b *testing.B) {
	_, i := typical(b)
	for _, bb := range []struct {
		name string
		form Form
	}{{"json", Form{}}, {"json-compact", Form{Compact: true}}, {"xml", Form{Format: XML}}, {"xml-compact", Form{XML, true}}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 4096)
			for b.Loop() {
				dst = bb.form.AppendInstance(dst[:0], i)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

// A batch of Eureka's size: 250 items, half of them registrations.
func BenchmarkReplicationList(b *testing.B) {
	_, i := typical(b)
	state := &State{RecordVersion: 1, Live: true, Base: StatusUp, OverrideStatus: StatusUnknown, Duration: 90_000}
	var l ReplicationList
	for n := range 250 {
		it := Item{Action: ActionHeartbeat, AppName: i.App, ID: i.ID(), LastDirtyTimestamp: i.LastDirtyTimestamp, Status: i.Status, State: state}
		if n%2 == 0 {
			it.Action, it.InstanceInfo = ActionRegister, i
		}
		l = append(l, it)
	}
	body := AppendReplicationList(nil, l)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, len(body))
		for b.Loop() {
			dst = AppendReplicationList(dst[:0], l)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeReplicationList(body, ListOptions{NATS: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
