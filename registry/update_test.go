package registry_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Only a register and statusUpdate make Eureka take an instance for up, not the removal
// of an override (serviceUpTimestamp stays 0), here and on a peer.
func TestServiceUp(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name string
		do   func(*registry.Registry)
		up   bool
	}{
		{"removal", func(r *registry.Registry) {
			r.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{})
		}, false},
		{"removal, of a replica", func(r *registry.Registry) {
			r.DeleteStatusOverride(key, eureka.StatusUp, start+9, registry.Origin{Way: registry.ByReplication})
		}, false},
		{"status update", func(r *registry.Registry) { r.SetStatus(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{}) }, true},
		{"register", func(r *registry.Registry) {
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+9), registry.Origin{})
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			peer, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusStarting, start), registry.Origin{})
			r.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
			e, _, _ := r.Entry(key)
			peer.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
			c.Add(time.Second)
			tt.do(r)
			e, _, _ = r.Entry(key)
			carried := registry.Overridden
			if tt.name == "register" || tt.name == "removal, of a replica" { // it brings a newer timestamp
				carried = whole
			}
			peer.Join(key, joining{e, carried}.sent(), carried, registry.Origin{Way: registry.ByBatch})
			for name, r := range map[string]*registry.Registry{"here": r, "on a peer": peer} {
				i, _ := r.Instance(key)
				if up := i.LeaseInfo.ServiceUpTimestamp != 0; up != tt.up {
					t.Errorf("%s: status %s, serviceUpTimestamp %d, want it set: %t", name, i.Status, i.LeaseInfo.ServiceUpTimestamp, tt.up)
				}
			}
		})
	}
}

// A change of the status is MODIFIED on a peer too, also where it brings a newer
// lastDirtyTimestamp, and so a new record; a registration is ADDED.
func TestActionTypeOnPeer(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	for _, tt := range []struct {
		name string
		do   func(*registry.Registry)
		want eureka.ActionType
	}{
		{"status", func(r *registry.Registry) { r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{}) }, eureka.Modified},
		{"status and a newer timestamp", func(r *registry.Registry) { r.SetStatus(key, eureka.StatusDown, start+9, registry.Origin{}) }, eureka.Modified},
		{"register", func(r *registry.Registry) {
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start+9), registry.Origin{})
		}, eureka.Added},
		{"register and status", func(r *registry.Registry) {
			r.Register(instance("ORDERS", "i-1", eureka.StatusStarting, start+9), registry.Origin{})
			r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
		}, eureka.Added},
		{"metadata", func(r *registry.Registry) { r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{}) }, eureka.Added},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			r, _ := newRegistry(t, c)
			peer, _ := newRegistry(t, c)
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			e, _, _ := r.Entry(key)
			peer.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
			c.Add(time.Second)
			tt.do(r)
			e, _, _ = r.Entry(key)
			peer.Join(key, e, whole, registry.Origin{Way: registry.ByBatch})
			i, _ := peer.Instance(key)
			ours, _ := r.Instance(key)
			if i.ActionType != tt.want || i.LastDirtyTimestamp != ours.LastDirtyTimestamp {
				t.Errorf("%s, dirty %s; want %s, %s", i.ActionType, ms(i.LastDirtyTimestamp), tt.want, ms(ours.LastDirtyTimestamp))
			}
		})
	}
}

// A lease over a bound is stored as it came, counted, and the log has a sample.
func TestCappedLease(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c, metrics := newClock(), prometheus.NewRegistry()
	r, err := registry.New(registry.Options{Now: c.Now, Metrics: metrics, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, lease := range [][2]int{{86_400, 3600}, {86_401, 30}, {90, 3601}, {1 << 30, 1 << 30}} {
		r.Register(withLease(instance("ORDERS", "i-1", eureka.StatusUp, start), lease[0], lease[1]), registry.Origin{})
		c.Add(time.Second)
		if i, _ := r.Instance(registry.NewKey("ORDERS", "i-1")); i.LeaseInfo.DurationInSecs != lease[0] || i.LeaseInfo.RenewalIntervalInSecs != lease[1] {
			t.Errorf("lease %v came back as %+v", lease, i.LeaseInfo)
		}
	}
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(`# HELP registryd_registry_capped_leases_total Registrations whose lease is over a bound and counts as less.
# TYPE registryd_registry_capped_leases_total counter
registryd_registry_capped_leases_total 3
`), "registryd_registry_capped_leases_total"); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "lease is over a bound"); n != 1 || !strings.Contains(log.String(), "duration=24h0m1s") {
		t.Errorf("%d lines in ten seconds, want one, about the first:\n%s", n, log.String())
	}
}

// TestMetadataIsShared registers instances with equal metadata, through clients and a peer: they store
// it once. A change to one of them leaves the others alone.
func TestMetadataIsShared(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	peer, _ := newRegistry(t, c)
	get := func(id string) map[string]string {
		i, ok := r.Instance(registry.NewKey("ORDERS", id))
		if !ok {
			t.Fatal(id, "is not there")
		}
		return i.Metadata
	}
	same := func(a, b map[string]string) bool { return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() }
	for n := range 40 { // two sets of metadata, and one of its own each
		i := instance("ORDERS", fmt.Sprint("i-", n), eureka.StatusUp, start)
		i.Metadata = map[string]string{"version": fmt.Sprint(n % 2), "zone": "a"}
		if n%3 == 2 {
			i.Metadata["own"] = fmt.Sprint(n)
		}
		if n%3 == 1 {
			r.Register(i, registry.Origin{})
			continue
		}
		peer.Register(i, registry.Origin{})
		e, _, _ := peer.Entry(registry.NewKey("ORDERS", i.ID()))
		r.Join(registry.NewKey("ORDERS", i.ID()), e, whole, registry.Origin{Way: registry.ByBatch})
	}
	for n := range 40 {
		is := get(fmt.Sprint("i-", n))
		want := map[string]string{"version": fmt.Sprint(n % 2), "zone": "a"}
		if n%3 == 2 {
			want["own"] = fmt.Sprint(n)
		}
		if !maps.Equal(is, want) {
			t.Errorf("i-%d has %v, want %v", n, is, want)
		}
		if n%3 != 2 && !same(is, get(fmt.Sprint("i-", n%2))) {
			t.Errorf("i-%d has equal metadata of its own", n)
		}
	}
	r.SetMetadata(registry.NewKey("ORDERS", "i-0"), map[string]string{"zone": "b"}, registry.Origin{})
	if a, b := get("i-0")["zone"], get("i-6")["zone"]; a != "b" || b != "a" {
		t.Errorf("after a change of one: %s and %s", a, b)
	}
}
