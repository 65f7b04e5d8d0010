package registry_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/registryd/registryd/registry"
)

// BenchmarkCost shows what reads cost that return little, as the registry grows: each
// is to cost the same at both sizes. Ten instances have not renewed, and a hundred share
// a vip.
func BenchmarkCost(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		c := newClock()
		r, err := registry.New(registry.Options{Now: c.Now, Sink: nobody{}})
		if err != nil {
			b.Fatal(err)
		}
		keys := make([]registry.Key, size)
		for i := range keys {
			keys[i] = registry.NewKey("APP-"+strconv.Itoa(i/100), "host-"+strconv.Itoa(i)+":app:8080")
			r.Register(benchInstance(keys[i], start), registry.Origin{})
		}
		for range 4 { // Clients renew every 30 s, at times of their own.
			for i, key := range keys[10:] {
				if i%(size/100) == 0 {
					c.Add(300 * time.Millisecond)
				}
				r.Renew(key, start, "", registry.Origin{})
			}
		}
		r.SweepDelta()
		r.Leases() // What is due is put in its place once.
		last := keys[size-1]
		for _, bench := range []struct {
			name string
			do   func() bool
		}{
			{"InstanceByID", func() bool { _, ok := r.InstanceByID(last.ID); return ok }},
			{"VIP", func() bool { return r.VIP("APP-3").HashCode == "UP_100_" }},
			{"Leases", func() bool { return r.Leases().Missing == 10 }},
			{"Overdue", func() bool { _, n := r.Overdue(100); return n == 10 }},
			{"Expired", func() bool { return len(r.Expired(0)) == 10 }},
			{"Outlived", func() bool { return len(r.Outlived()) == 0 }},
			{"Sweep", func() bool { return r.SweepDelta() == 0 }},
			{"Forget", func() bool { return r.Forget() == 0 }},
			{"Summary", func() bool { apps, _ := r.Summary(10); return apps[0].Total == 100 }},
		} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !bench.do() {
						b.Fatal("wrong result")
					}
				}
			})
		}
	}
}

// BenchmarkSlices shows for how long the lock is held at most while all instances are
// found expired, evicted, swept out of the delta and forgotten: the median and the 99th
// percentile of the slices, and what the pass takes as a whole.
func BenchmarkSlices(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) { slicesOf(b, size) })
	}
}

func slicesOf(b *testing.B, size int) {
	for range b.N {
		b.StopTimer()
		c := newClock()
		r, err := registry.New(registry.Options{Now: c.Now, Sink: nobody{}})
		if err != nil {
			b.Fatal(err)
		}
		for i := range size {
			key := registry.NewKey("APP-"+strconv.Itoa(i/100), "host-"+strconv.Itoa(i)+":app:8080")
			r.Register(benchInstance(key, start), registry.Origin{})
		}
		b.StartTimer()
		for _, pass := range []struct {
			name  string
			after time.Duration
			do    func() bool
		}{
			{"find", 95 * time.Second, func() bool { return r.Leases().Missing == size }},
			{"evict", 0, func() bool { return r.EvictExpired(r.Expired(0)) == size }},
			{"sweep", time.Hour, func() bool { return r.SweepDelta() == size }},
			{"forget", time.Hour, func() bool { return r.Forget() == size }},
		} {
			c.Add(pass.after)
			var held []time.Duration
			began := time.Now()
			last := began
			r.Between(func() {
				now := time.Now()
				held, last = append(held, now.Sub(last)), now
			})
			if !pass.do() {
				b.Fatal(pass.name, ": wrong result")
			}
			held = append(held, time.Since(last))
			slices.Sort(held)
			b.ReportMetric(float64(time.Since(began).Microseconds())/1000, pass.name+"-ms")
			b.ReportMetric(float64(held[len(held)*99/100].Microseconds()), pass.name+"-p99-us")
			b.ReportMetric(float64(held[len(held)/2].Microseconds()), pass.name+"-p50-us")
		}
	}
}
