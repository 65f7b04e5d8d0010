package cluster

import (
	"bytes"
	"strings"
	"testing"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// What a page returned stays as it is, also when it is appended to.
func TestPage(t *testing.T) {
	var p page
	var got, want [][]byte
	for n := range 100 {
		item := eureka.Item{AppName: strings.Repeat("A", n*n*n/10), ID: "i", LastDirtyTimestamp: int64(n)}
		body := p.append(&item)
		got, want = append(got, body), append(want, eureka.AppendItem(nil, &item))
	}
	for n := range got {
		_ = append(got[n], "more"...) //nolint:gocritic // what a caller may do
		if !bytes.Equal(got[n], want[n]) {
			t.Fatalf("item %d: got %.200s, want %.200s", n, got[n], want[n])
		}
	}
}

func BenchmarkRender(b *testing.B) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	id := "host-000001.example.com:app:8080"
	reg.Register(&eureka.InstanceInfo{
		InstanceID: &id, HostName: id, App: "APP", IPAddr: "10.0.0.1", Status: eureka.StatusUp,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LeaseInfo: eureka.LeaseInfo{DurationInSecs: 3600},
		Metadata: map[string]string{"management.port": "8081", "zone": "eu-west-1a"}, LastDirtyTimestamp: 1_700_000_000_000,
	}, registry.Origin{})
	p := nodePeer{&peer{cluster: &Cluster{reg: reg}}, new(page)}
	for name, bits := range map[string]registry.Bits{"heartbeat": registry.Renewed, "register": registry.Registered} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var tasks [250]acceptor.Task
			for i := 0; b.Loop(); i++ {
				tasks[i%len(tasks)], _ = p.render(registry.NewKey("APP", id), bits, 0)
			}
		})
	}
}
