package registry_test

import (
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Outlived is what readers see although every other node may have forgotten even
// its tombstone; it is evicted on the word of one that has been up since before.
func TestOutlived(t *testing.T) {
	t.Parallel()
	const retired = 480 * time.Second // of a lease of 90 s
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name    string
		age     time.Duration
		renewed bool // after it was found
		since   time.Duration
		found   bool
		evicted int
	}{
		{name: "a tombstone would be remembered", age: retired, since: time.Hour},
		{name: "nobody would remember", age: retired + time.Millisecond, since: time.Hour, found: true, evicted: 1},
		{name: "it has been renewed since", age: retired + time.Millisecond, renewed: true, since: time.Hour, found: true},
		{name: "the peer has been up for less", age: retired + time.Millisecond, since: retired + time.Millisecond, found: true},
		{name: "the peer has been up for a little more", age: retired + time.Millisecond, since: retired + 2*time.Millisecond, found: true, evicted: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, sink := newRegistry(t, c)
			r.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start), 90, 30), registry.Origin{})
			c.Add(tt.age)
			sink.take()
			if found := len(r.Outlived()) == 1; found != tt.found {
				t.Errorf("found: %t, want %t", found, tt.found)
			}
			if tt.renewed {
				r.Renew(key, start, "", registry.Origin{})
				sink.take()
			}
			if got := r.EvictOutlived([]registry.Key{key, registry.NewKey("ORDERS", "unknown")}, tt.since); got != tt.evicted {
				t.Errorf("evicted %d, want %d", got, tt.evicted)
			}
			if _, listed := r.Instance(key); listed != (tt.evicted == 0) {
				t.Errorf("listed: %t after %d were evicted", listed, tt.evicted)
			}
			if got := sink.take(); len(got) != 0 {
				t.Errorf("Sink got %v, want nothing: an eviction is this node's alone", got)
			}
		})
	}
}
