package registry_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// travels registers what a client posts, does to it what may be done, and sends
// what is known of it after each step through the codec of lists: it must arrive
// as it was, and be the same to a node that joins it.
func travels(t *testing.T, format eureka.Format, body []byte, isReplication bool) {
	t.Helper()
	info, err := eureka.DecodeInstance(format, body)
	if err != nil || info.Check(info.App) != nil {
		return // the door has refused it
	}
	r, _ := newRegistry(t, newClock())
	key := registry.NewKey(info.App, info.ID())
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"register", func() { r.Register(clone(info), by(isReplication)) }},
		{"register again", func() { r.Register(clone(info), by(isReplication)) }},
		{"status", func() { r.SetStatus(key, eureka.StatusDown, info.LastDirtyTimestamp, by(isReplication)) }},
		{"metadata", func() { r.SetMetadata(key, info.Metadata, registry.Origin{}) }},
		{"cancel", func() { r.Cancel(key, by(isReplication)) }},
	} {
		step.do()
		want, _, ok := r.Entry(key)
		if !ok {
			t.Fatalf("%s: no entry %q", step.name, key)
		}
		item := want.Item(key, 0)
		line := eureka.AppendItem(nil, &item)
		list, err := eureka.DecodeReplicationList(eureka.JoinReplicationList(nil, [][]byte{line}), eureka.ListOptions{NATS: true})
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %d items, %v, of %s", step.name, len(list), err, line)
		}
		got, carried, err := registry.FromItem(&list[0])
		if err != nil {
			t.Fatalf("%s: %v, of %s", step.name, err, line)
		}
		if gotKey := registry.NewKey(list[0].AppName, list[0].ID); gotKey != key || carried != whole {
			t.Errorf("%s: arrived as %q with %v, want %q with %v", step.name, gotKey, carried, key, whole)
		}
		if want.Record.Info != nil && !reflect.DeepEqual(visible(got.Record.Info), visible(want.Record.Info)) {
			t.Errorf("%s:\n got %+v\nwant %+v", step.name, *got.Record.Info, *want.Record.Info)
		}
		got.Record.Info, want.Record.Info = nil, nil
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", step.name, got, want)
		}
		peer, _ := newRegistry(t, newClock())
		back, carried, err := registry.FromItem(&list[0])
		if err != nil {
			t.Fatal(err)
		}
		peer.Join(key, back, carried, registry.Origin{Way: registry.ByBatch})
		if got, want := peer.Digest(), r.Digest(); got != want {
			t.Errorf("%s: digest of the peer %016x, want %016x", step.name, got, want)
		}
	}
}

// oddInstance returns the body of a registration with values that a client may
// send and hardly any does.
func oddInstance(rnd *rand.Rand) (eureka.Format, string) {
	texts := []string{`"a"`, `""`, `"na"`, `"\u0000\n\\\""`, `"\u2028é\ud83d\ude00ß"`, `"` + strings.Repeat("x", 300) + `"`, "17", "true", "null"}
	numbers := []string{"0", "1", "-1", "30", `"90"`, "2147483647", "-2147483648", "315360001", `""`, "null", "1.9e2"}
	times := []string{"0", "1", "-1", `"1700000000000"`, "9223372036854775807", "-9223372036854775807", "-9223372036854775808", "253402300800000", "null"}
	states := []string{`"UP"`, `"DOWN"`, `"STARTING"`, `"OUT_OF_SERVICE"`, `"UNKNOWN"`, `"up"`, `"?"`, `""`, "null"}
	metadata := []string{
		`{}`, `null`, `{"@class":"java.util.Collections$EmptyMap"}`, `{"@class":"x","a":"b"}`, `{"a":null,"b":1,"":""}`,
		`{"a":"1","a":"2"}`, `{"instance-id":"","local-ipv4":"192.0.2.1"}`, `{"instance-id":"i-17"}`,
	}
	centers := []string{
		`{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}`, `{"name":"netflix"}`,
		`{"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon","metadata":` + pick(rnd, metadata[2:]) + `}`, `{"name":"AMAZON"}`,
	}
	members := []string{`"app":` + pick(rnd, texts[:7]), `"dataCenterInfo":` + pick(rnd, centers)}
	for _, m := range []struct {
		names  string
		values []string
	}{
		{"instanceId hostName ipAddr", []string{`"h"`, `"\u2028"`, `"\u0000"`, `"H h/ü"`, "17"}},
		{"sid appGroupName homePageUrl statusPageUrl healthCheckUrl secureHealthCheckUrl vipAddress secureVipAddress asgName", texts},
		{"status overriddenStatus overriddenstatus", states},
		{"countryId port securePort", numbers},
		{"metadata", metadata},
		{"lastDirtyTimestamp lastUpdatedTimestamp", times},
		{"isCoordinatingDiscoveryServer actionType", []string{"true", `"ADDED"`, `"DELETED"`, `"x"`, "null"}},
	} {
		for name := range strings.FieldsSeq(m.names) {
			if rnd.IntN(8) > 0 {
				members = append(members, fmt.Sprintf("%q:%s", name, pick(rnd, m.values)))
			}
		}
	}
	var lease []string
	for name := range strings.FieldsSeq("renewalIntervalInSecs durationInSecs") {
		lease = append(lease, fmt.Sprintf("%q:%s", name, pick(rnd, numbers)))
	}
	for name := range strings.FieldsSeq("registrationTimestamp lastRenewalTimestamp evictionTimestamp serviceUpTimestamp") {
		lease = append(lease, fmt.Sprintf("%q:%s", name, pick(rnd, times)))
	}
	members = append(members, `"leaseInfo":{`+strings.Join(lease, ",")+`}`)
	body := `{"instance":{` + strings.Join(members, ",") + `}}`
	if rnd.IntN(3) > 0 {
		return eureka.JSON, body
	}
	info, err := eureka.DecodeInstance(eureka.JSON, []byte(body))
	if err != nil {
		return eureka.JSON, body
	}
	return eureka.XML, string(eureka.XML.AppendInstanceDocument(nil, info))
}

// Whatever a client may register, peers and snapshots can read it.
func TestEverythingRegisteredTravels(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(randomSeed(t), 0))
	for range 400 * *effortFlag {
		format, body := oddInstance(rnd)
		travels(t, format, []byte(body), rnd.IntN(2) == 0)
		if t.Failed() {
			t.Fatalf("of %s", body)
		}
	}
}

func FuzzRegisteredTravels(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		format, body := oddInstance(rnd)
		f.Add(format == eureka.XML, n%2 == 0, []byte(body))
	}
	f.Fuzz(func(t *testing.T, isXML, isReplication bool, body []byte) {
		format := eureka.JSON
		if isXML {
			format = eureka.XML
		}
		travels(t, format, body, isReplication)
	})
}

// The bounds of what a peer tells of a lease, both sides of each.
func TestLeaseBounds(t *testing.T) {
	t.Parallel()
	// The longest duration that Register takes, and the age at which such a
	// lease is retired, in ms.
	const longest = 2_147_483_647_000
	const oldest = 2*longest + 5*60_000 + 1
	for _, tt := range []struct {
		name     string
		dur, age int64
		want     string // part of the error
	}{
		{"none", 0, 0, ""},
		{"longest", longest, 0, ""},
		{"longer", longest + 1, 0, "registryd.dur: 2147483647001 is not in 0..2147483647000"},
		{"negative duration", -1, 0, "registryd.dur: -1 is not in"},
		{"oldest", longest, oldest, ""},
		{"older", 0, oldest + 1, "registryd.age: 4294967594002 is not in 0..4294967594001"},
		{"negative age", 0, -1, "registryd.age: -1 is not in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := registry.Entry{Record: tombstone(5, start, time.Duration(tt.dur)*time.Millisecond)}
			st := sent.State(0)
			st.Age = tt.age
			e, err := registry.FromState(st, nil)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || e.Record.Duration.Milliseconds() != tt.dur || e.Age.Milliseconds() != tt.age {
				t.Errorf("duration %v, age %v, %v; want %d and %d ms", e.Record.Duration, e.Age, err, tt.dur, tt.age)
			}
		})
	}
}

// No lease counts for longer than the bound of this node, and no sum overflows: a
// tombstone is taken for two days and five minutes, whatever its client asked for.
func TestLongestLeaseRetires(t *testing.T) {
	t.Parallel()
	key := registry.NewKey("ORDERS", "i-1")
	const bound = 2*24*time.Hour + 5*time.Minute
	for _, dur := range []time.Duration{24 * time.Hour, 2_147_483_647 * time.Second} {
		for _, tt := range []struct {
			age   time.Duration
			taken bool
		}{{bound, true}, {bound + time.Millisecond, false}, {136 * 365 * 24 * time.Hour, false}} {
			c := newClock()
			c.Add(200 * 365 * 24 * time.Hour)
			r, _ := newRegistry(t, c)
			e := registry.Entry{Record: tombstone(5, start, dur), Age: tt.age}
			if r.Join(key, e, whole, registry.Origin{Way: registry.ByBatch}); r.Len() == 1 != tt.taken {
				t.Errorf("tombstone of %v, age %v: %d entries, want it taken %t", dur, tt.age, r.Len(), tt.taken)
			}
		}
	}
}

// A restored cancel is kept for no longer than one of the longest lease, whatever a
// peer says.
func TestLongestKeepRetires(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	const bound = 2*24*time.Hour + 5*time.Minute
	year := 365 * 24 * time.Hour
	r.Join(registry.NewKey("ORDERS", "i-1"), registry.Entry{Record: tombstone(5, start, 90*time.Second), Age: year, Keep: year}, whole, registry.Origin{Way: registry.ByBatch})
	c.Add(bound)
	if r.Forget(); r.Len() != 1 {
		t.Error("forgotten within two days and five minutes")
	}
	c.Add(time.Millisecond)
	if r.Forget(); r.Len() != 0 {
		t.Error("remembered for more than two days and five minutes")
	}
}

// A lease of an age that no peer would believe is sent as one of the greatest.
func TestOldestAgeTravels(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
	c.Add(200 * 365 * 24 * time.Hour)
	key := registry.NewKey("ORDERS", "i-1")
	e, _, _ := r.Entry(key)
	item := e.Item(key, 0)
	if _, _, err := registry.FromItem(&item); err != nil || e.Age < 136*365*24*time.Hour {
		t.Errorf("age %v: %v, want more than 136 years that a peer takes", e.Age, err)
	}
}
