package bridge

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

type fixed []byte

func (f fixed) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(f))}, nil
}

// BenchmarkCompare compares two equal lists, as each node does every 30 s.
func BenchmarkCompare(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			reg, err := registry.New(registry.Options{})
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				id := fmt.Sprintf("i-%06d", i)
				reg.Register(&eureka.InstanceInfo{
					InstanceID: &id, HostName: id, App: fmt.Sprintf("APP-%03d", i%200), IPAddr: "10.0.0.1",
					Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
					DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: time.Now().UnixMilli(),
				}, registry.Origin{})
			}
			p, err := New(Options{
				URL: "http://java:1/", Registry: reg,
				RoundTripper: fixed(eureka.Form{Format: eureka.JSON}.AppendApplications(nil, reg.Applications())),
			})
			if err != nil {
				b.Fatal(err)
			}
			p.heard = time.Now() // there is no pipeline to wake
			list, now, err := p.list(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.Run("decode", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := p.list(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("compare", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if r := p.comparison(&list, now, false); r.pushed+r.fetched+len(r.next.differed) != 0 {
						b.Fatalf("%+v", r)
					}
				}
			})
		})
	}
}
