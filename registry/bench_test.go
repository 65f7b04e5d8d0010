package registry_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

type nobody struct{}

func (nobody) Changed(registry.Change) {}

// filled returns a registry of n instances in applications of ten, on the real
// clock, and their keys.
func filled(tb testing.TB, n int) (*registry.Registry, []registry.Key) {
	tb.Helper()
	r, err := registry.New(registry.Options{Sink: nobody{}})
	if err != nil {
		tb.Fatal(err)
	}
	keys := make([]registry.Key, n)
	for i := range keys {
		keys[i] = registry.NewKey("APP-"+strconv.Itoa(i/10), "host-"+strconv.Itoa(i)+":app:8080")
		r.Register(benchInstance(keys[i], start), registry.Origin{})
	}
	return r, keys
}

func benchInstance(key registry.Key, ldt int64) *eureka.InstanceInfo {
	i := instance(key.App, key.ID, eureka.StatusUp, ldt)
	i.VIPAddress, i.SecureVIPAddress = new(key.App), new(key.App)
	i.HomePageURL, i.StatusPageURL, i.HealthCheckURL = new("http://h/"), new("http://h/info"), new("http://h/health")
	i.Metadata = map[string]string{"management.port": "8080", "zone": "1"}
	return i
}

// A heartbeat, a client's or a peer's, allocates nothing.
func TestHeartbeatAllocatesNothing(t *testing.T) {
	r, keys := filled(t, 100)
	key := keys[42]
	entry, _, ok := r.Entry(key)
	if !ok {
		t.Fatal("no entry")
	}
	beat := joining{entry, 0}.sent()
	for name, do := range map[string]func(){
		"Renew, client":       func() { r.Renew(key, start, "", registry.Origin{}) },
		"Renew, no timestamp": func() { r.Renew(key, eureka.NoTimestamp, "", registry.Origin{}) },
		"Renew, replica":      func() { r.Renew(key, start, "", registry.Origin{Way: registry.ByReplication}) },
		"Join":                func() { r.Join(key, beat, 0, registry.Origin{Way: registry.ByBatch}) },
	} {
		if n := testing.AllocsPerRun(200, do); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkRenew(b *testing.B) {
	r, keys := filled(b, 10_000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if got, _ := r.Renew(keys[n%len(keys)], start, "", registry.Origin{}); got != registry.OK {
			b.Fatal(got)
		}
		n++
	}
}

func BenchmarkRenewParallel(b *testing.B) {
	r, keys := filled(b, 10_000)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := 0
		for pb.Next() {
			r.Renew(keys[n%len(keys)], start, "", registry.Origin{})
			n += 7
		}
	})
}

func BenchmarkRegister(b *testing.B) {
	r, keys := filled(b, 10_000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if r.Register(benchInstance(keys[n%len(keys)], start), registry.Origin{}) != registry.OK {
			b.Fatal("not stored")
		}
		if n++; n%10_000 == 0 {
			r.SweepDelta()
		}
	}
}

func BenchmarkSetStatus(b *testing.B) {
	r, keys := filled(b, 10_000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s := eureka.StatusOutOfService
		if n/len(keys)%2 == 1 {
			s = eureka.StatusUp
		}
		if got := r.SetStatus(keys[n%len(keys)], s, eureka.NoTimestamp, registry.Origin{}); got != registry.OK {
			b.Fatal(got)
		}
		n++
	}
}

func BenchmarkSetMetadata(b *testing.B) {
	r, keys := filled(b, 10_000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		pairs := map[string]string{"n": strconv.Itoa(n)}
		if got := r.SetMetadata(keys[n%len(keys)], pairs, registry.Origin{}); got != registry.OK {
			b.Fatal(got)
		}
		n++
	}
}

// How long a change keeps others from the registry: heartbeats beside a goroutine that
// changes metadata all the time.
func BenchmarkRenewBesideMetadata(b *testing.B) {
	r, keys := filled(b, 10_000)
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				r.SetMetadata(keys[n%len(keys)], map[string]string{"n": strconv.Itoa(n)}, registry.Origin{})
			}
		}
	})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		r.Renew(keys[n%len(keys)], start, "", registry.Origin{})
		n += 7
	}
	close(stop)
	changing.Wait()
}

func BenchmarkJoinHeartbeat(b *testing.B) {
	r, keys := filled(b, 10_000)
	entries := make([]registry.Entry, len(keys))
	for i, key := range keys {
		e, _, _ := r.Entry(key)
		entries[i] = joining{e, 0}.sent()
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if got, _ := r.Join(keys[n%len(keys)], entries[n%len(keys)], 0, registry.Origin{Way: registry.ByBatch}); got != registry.OK {
			b.Fatal(got)
		}
		n++
	}
}

func BenchmarkJoinRegister(b *testing.B) {
	r, keys := filled(b, 10_000)
	entries := make([]registry.Entry, len(keys))
	for i, key := range keys {
		entries[i], _, _ = r.Entry(key)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e := &entries[n%len(keys)]
		e.Record.Version++
		if got, _ := r.Join(keys[n%len(keys)], *e, whole, registry.Origin{Way: registry.ByBatch}); got != registry.OK {
			b.Fatal(got)
		}
		n++
	}
}

// BenchmarkApplications reads the list of 10,000 instances, with and without a
// change since the last time.
func BenchmarkApplications(b *testing.B) {
	for _, changed := range []bool{false, true} {
		b.Run("changed="+strconv.FormatBool(changed), func(b *testing.B) {
			r, keys := filled(b, 10_000)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if changed {
					r.SetMetadata(keys[n%len(keys)], map[string]string{"n": strconv.Itoa(n)}, registry.Origin{})
					n++
				}
				if as := r.Applications(); as.HashCode != "UP_10000_" {
					b.Fatal(as.HashCode)
				}
			}
		})
	}
}

// One address of one instance costs no copy of the others.
func BenchmarkVIP(b *testing.B) {
	r, _ := filled(b, 20_000)
	i := benchInstance(registry.NewKey("ONE", "i-1"), start)
	i.VIPAddress = new("one")
	r.Register(i, registry.Origin{})
	b.ReportAllocs()
	for b.Loop() {
		if as := r.VIP("one"); as.HashCode != "UP_1_" {
			b.Fatal(as.HashCode)
		}
	}
}

func BenchmarkDelta(b *testing.B) {
	c := newClock()
	r, err := registry.New(registry.Options{Now: c.Now})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		key := registry.NewKey("APP-"+strconv.Itoa(i/10), "i-"+strconv.Itoa(i))
		r.Register(benchInstance(key, start), registry.Origin{})
		if i == 9_899 { // The last hundred are in the delta.
			c.Add(200 * time.Second)
			r.SweepDelta()
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if as := r.Delta(); as.HashCode != "UP_10000_" {
			b.Fatal(as.HashCode)
		}
	}
}

func BenchmarkEvictNothing(b *testing.B) {
	r, _ := filled(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if n := r.Evict(); n != 0 {
			b.Fatal(n)
		}
	}
}
