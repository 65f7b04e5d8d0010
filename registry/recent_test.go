package registry_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/registry"
)

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := evicting(t, 0, registry.EvictorOptions{NoSelfPreservation: true}, registry.Options{})
		for i := range 1001 {
			r.Register(leased(fmt.Sprint("i-", i), 30, 90), i%2 == 0)
			time.Sleep(time.Millisecond)
		}
		registered, cancelled := r.Recent()
		if len(registered) != 1000 || len(cancelled) != 0 {
			t.Fatalf("%d registered and %d cancelled, want 1000 and 0", len(registered), len(cancelled))
		}
		if first, last := registered[0].Key.ID, registered[999].Key.ID; first != "i-1000" || last != "i-1" {
			t.Errorf("newest %s, oldest %s; want i-1000 and i-1", first, last)
		}
		if d := registered[0].Time.Sub(registered[999].Time); d != 999*time.Millisecond {
			t.Errorf("they span %v, want 999ms", d)
		}
		r.Cancel(registry.NewKey("LEASE", "i-5"), false)
		r.Cancel(registry.NewKey("LEASE", "nobody"), false)
		time.Sleep(90 * time.Second)
		evicted := pass(t, v)
		if _, cancelled = r.Recent(); len(cancelled) != 1+evicted || cancelled[evicted].Key.ID != "i-5" {
			t.Errorf("%d cancelled, want the one and %d evicted", len(cancelled), evicted)
		}
	})
}
