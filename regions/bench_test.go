package regions_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// BenchmarkAnswers makes the answers of a node with 10,000 instances beside a region with
// as many.
func BenchmarkAnswers(b *testing.B) {
	const size = 10_000
	fill := func(host string) *registry.Registry {
		reg, err := registry.New(registry.Options{DeltaRetention: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		for i := range size {
			put(reg, eureka.StatusUp, fmt.Sprintf("APP-%d/%s-%d", i/20, host, i))
		}
		return reg
	}
	east := &remote{reg: fill("east"), logins: map[string]bool{}}
	set, err := regions.New(regions.Options{
		Regions: []regions.Region{{Name: "east", URL: "http://east/eureka"}}, RoundTripper: world{"east": east},
		Interval: time.Second, Retention: time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		set.Run(ctx)
		close(done)
	}()
	local := fill("local")
	for changed(set.Delta(1, local, false)) != "UP_20000_" { // until the first fetch is no change any more
		local.SweepDelta()
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	<-done
	for name, answer := range map[string]func(){
		"list":  func() { set.Applications(1, local) },
		"delta": func() { set.Delta(1, local, false) },
		"vip":   func() { set.VIP(1, local, "app-7") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				answer()
			}
		})
	}
}
