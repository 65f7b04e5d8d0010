package registry_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// plainInstance and fullInstance are PLAIN and FULL of testdata/hash.py.
func plainInstance() *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		HostName:       "host",
		App:            "ORDERS",
		IPAddr:         "10.0.0.1",
		Port:           eureka.Port{Number: 7001, Enabled: true},
		SecurePort:     eureka.Port{Number: 7002},
		CountryID:      1,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:      eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
	}
}

func fullInstance() *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID:       new("orders-1"),
		HostName:         "host-ä.example",
		App:              "ORDERS",
		IPAddr:           "10.0.0.2",
		SID:              "s-1",
		Status:           eureka.StatusUp,
		OverriddenStatus: eureka.StatusUnknown,
		Port:             eureka.Port{Number: 8080, Enabled: true},
		SecurePort:       eureka.Port{Number: 8443, Enabled: true},
		CountryID:        49,
		DataCenterInfo: eureka.DataCenterInfo{
			Name:     eureka.Amazon,
			Metadata: map[string]string{"availability-zone": "eu-1a", "instance-id": "i-0abc"},
		},
		LeaseInfo:            eureka.LeaseInfo{RenewalIntervalInSecs: 5, DurationInSecs: 15},
		Metadata:             map[string]string{"z": "日本", "zone": "1", "Zone": "2", "a": "", "é": "x"},
		AppGroupName:         new("SHOP"),
		HomePageURL:          new("http://h/"),
		StatusPageURL:        new("http://h/info"),
		HealthCheckURL:       new("http://h/health"),
		SecureHealthCheckURL: new("https://h/health"),
		VIPAddress:           new("orders,orders-v2"),
		SecureVIPAddress:     new("orders"),
		ASGName:              new("asg-7"),
	}
}

func liveOf(i *eureka.InstanceInfo, ldt int64, base eureka.Status) *registry.Record {
	return &registry.Record{Version: 1, Live: true, Info: i, LastDirty: ldt, Base: base, Duration: 90 * time.Second}
}

// The values come from testdata/hash.py.
func TestHashRecordGolden(t *testing.T) {
	t.Parallel()
	emptyTexts := plainInstance()
	emptyTexts.InstanceID, emptyTexts.VIPAddress, emptyTexts.ASGName = new(""), new(""), new("")
	negative := plainInstance()
	negative.CountryID = -1
	for _, tt := range []struct {
		name   string
		record *registry.Record
		want   string
	}{
		{"plain", liveOf(plainInstance(), 1_700_000_000_000, eureka.StatusUp), "10205a9d595ec49c"},
		{"full", liveOf(fullInstance(), 1_700_000_000_123, eureka.StatusOutOfService), "05146494461442f4"},
		{"empty texts", liveOf(emptyTexts, 0, eureka.StatusUnknown), "72007ef3105ee1cf"},
		{"before 1970", liveOf(negative, -1, eureka.StatusDown), "b2047c0bf22bffae"},
		{"tombstone", &registry.Record{Version: 7, LastDirty: 1_700_000_000_000, Duration: 90 * time.Second}, "e654664c6b7a8720"},
		{"tombstone, old", &registry.Record{Version: 7, LastDirty: -5, Base: eureka.StatusUnknown, Duration: 1500 * time.Millisecond}, "f91967438243f414"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.record.Hash = 1 // Is not read.
			if got := hex16(registry.HashRecord(tt.record)); got != tt.want {
				t.Errorf("HashRecord = %s, want %s", got, tt.want)
			}
			tt.record.Version = 99
			if got := hex16(registry.HashRecord(tt.record)); got != tt.want {
				t.Errorf("with another version %s, want %s", got, tt.want)
			}
		})
	}
}

// The values come from testdata/hash.py.
func TestOverrideHashGolden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o    registry.Override
		want string
	}{
		{registry.Override{}, "3e7077fd2f66d689"},
		{registry.Override{Version: 3, Status: eureka.StatusUnknown}, "f5f925286bb6bc1a"},
		{registry.Override{Version: 3, Set: true, Status: eureka.StatusUp}, "409e92b9d2d059c8"},
		{registry.Override{Version: 9, Set: true, Status: eureka.StatusOutOfService}, "fb428e5450da3071"},
	} {
		if got := hex16(tt.o.Hash()); got != tt.want {
			t.Errorf("hash of %s = %s, want %s", overrideText(tt.o), got, tt.want)
		}
	}
}

func hex16(h uint64) string {
	s := strconv.FormatUint(h, 16)
	return "0000000000000000"[len(s):] + s
}

// Every field of an instance either changes the hash or, on purpose, doesn't.
func TestHashRecordCoversEveryField(t *testing.T) {
	t.Parallel()
	type change struct {
		name    string // the field of InstanceInfo
		matters bool
		do      func(*eureka.InstanceInfo)
	}
	changes := []change{
		{"InstanceID", true, func(i *eureka.InstanceInfo) { i.InstanceID = nil }},
		{"InstanceID", true, func(i *eureka.InstanceInfo) { i.InstanceID = new("") }},
		{"HostName", true, func(i *eureka.InstanceInfo) { i.HostName = "x" }},
		{"App", true, func(i *eureka.InstanceInfo) { i.App = "X" }},
		{"IPAddr", true, func(i *eureka.InstanceInfo) { i.IPAddr = "x" }},
		{"SID", true, func(i *eureka.InstanceInfo) { i.SID = "" }},
		{"Status", false, func(i *eureka.InstanceInfo) { i.Status = eureka.StatusDown }},
		{"OverriddenStatus", false, func(i *eureka.InstanceInfo) { i.OverriddenStatus = eureka.StatusDown }},
		{"Port", true, func(i *eureka.InstanceInfo) { i.Port.Number++ }},
		{"Port", true, func(i *eureka.InstanceInfo) { i.Port.Enabled = false }},
		{"SecurePort", true, func(i *eureka.InstanceInfo) { i.SecurePort.Number++ }},
		{"SecurePort", true, func(i *eureka.InstanceInfo) { i.SecurePort.Enabled = false }},
		{"SecurePort", true, func(i *eureka.InstanceInfo) { i.Port, i.SecurePort = i.SecurePort, i.Port }},
		{"CountryID", true, func(i *eureka.InstanceInfo) { i.CountryID++ }},
		{"DataCenterInfo", true, func(i *eureka.InstanceInfo) { i.DataCenterInfo.Name = eureka.Netflix }},
		{"DataCenterInfo", true, func(i *eureka.InstanceInfo) { i.DataCenterInfo.Metadata = nil }},
		{"DataCenterInfo", true, func(i *eureka.InstanceInfo) { i.DataCenterInfo.Metadata["instance-id"] = "x" }},
		{"LeaseInfo", true, func(i *eureka.InstanceInfo) { i.LeaseInfo.RenewalIntervalInSecs++ }},
		{"LeaseInfo", true, func(i *eureka.InstanceInfo) { i.LeaseInfo.DurationInSecs++ }},
		{"LeaseInfo", false, func(i *eureka.InstanceInfo) { i.LeaseInfo.RegistrationTimestamp = 5 }},
		{"LeaseInfo", false, func(i *eureka.InstanceInfo) { i.LeaseInfo.LastRenewalTimestamp = 5 }},
		{"LeaseInfo", false, func(i *eureka.InstanceInfo) { i.LeaseInfo.EvictionTimestamp = 5 }},
		{"LeaseInfo", false, func(i *eureka.InstanceInfo) { i.LeaseInfo.ServiceUpTimestamp = 5 }},
		{"Metadata", true, func(i *eureka.InstanceInfo) { i.Metadata["a"] = "x" }},
		{"Metadata", true, func(i *eureka.InstanceInfo) { delete(i.Metadata, "a") }},
		{"Metadata", true, func(i *eureka.InstanceInfo) { i.Metadata["zone"], i.Metadata["Zone"] = "2", "1" }},
		{"AppGroupName", true, func(i *eureka.InstanceInfo) { i.AppGroupName = nil }},
		{"HomePageURL", true, func(i *eureka.InstanceInfo) { i.HomePageURL = nil }},
		{"StatusPageURL", true, func(i *eureka.InstanceInfo) { i.StatusPageURL = new("") }},
		{"HealthCheckURL", true, func(i *eureka.InstanceInfo) { i.HealthCheckURL = nil }},
		{"SecureHealthCheckURL", true, func(i *eureka.InstanceInfo) { i.SecureHealthCheckURL = new("x") }},
		{"VIPAddress", true, func(i *eureka.InstanceInfo) { i.VIPAddress = nil }},
		{"SecureVIPAddress", true, func(i *eureka.InstanceInfo) { i.VIPAddress, i.SecureVIPAddress = i.SecureVIPAddress, i.VIPAddress }},
		{"ASGName", true, func(i *eureka.InstanceInfo) { i.ASGName = nil }},
		{"IsCoordinatingDiscoveryServer", false, func(i *eureka.InstanceInfo) { i.IsCoordinatingDiscoveryServer = true }},
		{"LastUpdatedTimestamp", false, func(i *eureka.InstanceInfo) { i.LastUpdatedTimestamp = 5 }},
		{"ActionType", false, func(i *eureka.InstanceInfo) { i.ActionType = eureka.Deleted }},
	}
	want := registry.HashRecord(liveOf(fullInstance(), 5, eureka.StatusUp))
	seen := map[uint64]string{want: "the original"}
	for _, c := range changes {
		i := fullInstance()
		c.do(i)
		got := registry.HashRecord(liveOf(i, 5, eureka.StatusUp))
		if (got != want) != c.matters {
			t.Errorf("%s: hash changed = %t, want %t", c.name, got != want, c.matters)
		}
		if other, ok := seen[got]; ok && c.matters {
			t.Errorf("%s: same hash as %s", c.name, other)
		}
		seen[got] = c.name
	}
	if registry.HashRecord(liveOf(fullInstance(), 6, eureka.StatusUp)) == want {
		t.Error("lastDirtyTimestamp doesn't matter")
	}
	if registry.HashRecord(liveOf(fullInstance(), 5, eureka.StatusDown)) == want {
		t.Error("base doesn't matter")
	}
	// The record's own LastDirty counts, not twice.
	i := fullInstance()
	i.LastDirtyTimestamp = 77
	if registry.HashRecord(liveOf(i, 5, eureka.StatusUp)) != want {
		t.Error("the instance's lastDirtyTimestamp matters beside the record's")
	}
	fields := reflect.TypeFor[eureka.InstanceInfo]()
	for f := range fields.Fields() {
		name := f.Name
		if name != "LastDirtyTimestamp" && !slices.ContainsFunc(changes, func(c change) bool { return c.name == name }) {
			t.Errorf("field %s: decide whether it is part of the hash", name)
		}
	}
}

// Whatever Eureka's formats write alike hashes alike.
func TestHashRecordOfEqualTexts(t *testing.T) {
	t.Parallel()
	hash := func(do func(*eureka.InstanceInfo)) uint64 {
		i := plainInstance()
		do(i)
		return registry.HashRecord(liveOf(i, 5, eureka.StatusUp))
	}
	plain := hash(func(*eureka.InstanceInfo) {})
	for name, do := range map[string]func(*eureka.InstanceInfo){
		"sid na":         func(i *eureka.InstanceInfo) { i.SID = "na" },
		"sid unknown":    func(i *eureka.InstanceInfo) { i.SID = "unknown" },
		"empty metadata": func(i *eureka.InstanceInfo) { i.Metadata = map[string]string{} },
	} {
		if got := hash(do); got != plain {
			t.Errorf("%s: hash %x, want that of none, %x", name, got, plain)
		}
	}
	if hash(func(i *eureka.InstanceInfo) { i.SID = "x" }) == plain {
		t.Error("another sid hashes as none")
	}
}

// An instance hashes alike before and after it has travelled, in both formats.
func TestHashRecordSurvivesTravel(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(randomSeed(t), 0))
	for _, f := range []eureka.Format{eureka.JSON, eureka.XML} {
		for range 300 {
			i := randomInfo(rnd)
			want := registry.HashRecord(liveOf(i, i.LastDirtyTimestamp, eureka.StatusUp))
			for hop := range 2 {
				body := f.AppendInstanceDocument(nil, i)
				again, err := eureka.DecodeInstance(f, body)
				if err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				if got := registry.HashRecord(liveOf(again, again.LastDirtyTimestamp, eureka.StatusUp)); got != want {
					t.Fatalf("hop %d: hash %x, want %x:\n%s", hop, got, want, body)
				}
				i = again
			}
		}
	}
}

// randomInfo returns an instance as decoding leaves it, with any text.
func randomInfo(rnd *rand.Rand) *eureka.InstanceInfo {
	texts := []string{"", "na", "a", "A b", "ä\"<&>\n", "日本", "\u2028", "x,y", "null", "\U0001F600"}
	optional := func() *string {
		if rnd.IntN(3) == 0 {
			return nil
		}
		return new(pick(rnd, texts))
	}
	pairs := func() map[string]string {
		m := map[string]string{}
		for range rnd.IntN(4) {
			m["k"+strconv.Itoa(rnd.IntN(6))] = pick(rnd, texts)
		}
		return m
	}
	i := &eureka.InstanceInfo{
		InstanceID:           optional(),
		HostName:             pick(rnd, texts),
		App:                  pick(rnd, []string{"ORDERS", "Ä B"}),
		IPAddr:               pick(rnd, texts),
		SID:                  pick(rnd, []string{"", "na", "unknown", "7"}),
		Status:               pick(rnd, statuses()),
		OverriddenStatus:     pick(rnd, statuses()),
		Port:                 eureka.Port{Number: rnd.IntN(65536), Enabled: rnd.IntN(2) == 0},
		SecurePort:           eureka.Port{Number: rnd.IntN(65536), Enabled: rnd.IntN(2) == 0},
		CountryID:            rnd.IntN(100),
		DataCenterInfo:       eureka.DataCenterInfo{Name: pick(rnd, []string{eureka.MyOwn, eureka.Netflix})},
		LeaseInfo:            eureka.LeaseInfo{RenewalIntervalInSecs: 1 + rnd.IntN(60), DurationInSecs: 1 + rnd.IntN(200), LastRenewalTimestamp: rnd.Int64N(1e12)},
		Metadata:             pairs(),
		HomePageURL:          optional(),
		StatusPageURL:        optional(),
		HealthCheckURL:       optional(),
		SecureHealthCheckURL: optional(),
		VIPAddress:           optional(),
		SecureVIPAddress:     optional(),
		ASGName:              optional(),
		LastUpdatedTimestamp: rnd.Int64N(1e12),
		LastDirtyTimestamp:   start + rnd.Int64N(1e6),
		ActionType:           eureka.Added,
	}
	if rnd.IntN(3) == 0 {
		i.AppGroupName = new(pick(rnd, []string{"", "SHOP"}))
	}
	if rnd.IntN(3) == 0 {
		i.DataCenterInfo = eureka.DataCenterInfo{Name: eureka.Amazon, Metadata: pairs()}
	}
	return i
}

// What a node stores hashes as its copies on other nodes do, whatever a client
// has put into the metadata.
func TestStoredRecordSurvivesTravel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		pairs map[string]string
	}{
		{"plain", map[string]string{"zone": "1"}},
		{"empty value", map[string]string{"zone": ""}},
		{"empty key", map[string]string{"": "x"}},
		{"Jackson's marker", map[string]string{"@class": "x"}},
		{"not UTF-8", map[string]string{"zone": "a\xffb"}},
		{"key not UTF-8", map[string]string{"a\xffb": "1"}},
		{"control characters", map[string]string{"zone": "\x00\x01\t"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newRegistry(t, newClock())
			key := registry.NewKey("ORDERS", "i-1")
			r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
			if got := r.SetMetadata(key, tt.pairs, registry.Origin{}); got != registry.OK {
				t.Fatalf("SetMetadata = %v, want 200", got)
			}
			e, _, _ := r.Entry(key)
			body := eureka.JSON.AppendInstanceDocument(nil, e.Record.Info)
			info, err := eureka.DecodeInstance(eureka.JSON, body)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if _, err := registry.FromState(e.State(0), info); err != nil {
				t.Errorf("a peer refuses it: %v", err)
			}
		})
	}
}

// A caller in this process may leave the lease out, as decoding never does.
func TestRegisterWithoutLease(t *testing.T) {
	t.Parallel()
	for _, given := range []eureka.LeaseInfo{{}, {DurationInSecs: -1, RenewalIntervalInSecs: -1}} {
		r, _ := newRegistry(t, newClock())
		i := instance("ORDERS", "i-1", eureka.StatusUp, start)
		i.LeaseInfo = given
		r.Register(i, registry.Origin{})
		e, _, _ := r.Entry(registry.NewKey("ORDERS", "i-1"))
		if e.Record.Duration != 90*time.Second {
			t.Errorf("%+v: duration %v, want Eureka's default of 90 s", given, e.Record.Duration)
		}
		info, err := eureka.DecodeInstance(eureka.JSON, eureka.JSON.AppendInstanceDocument(nil, e.Record.Info))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := registry.FromState(e.State(0), info); err != nil {
			t.Errorf("%+v: a peer refuses it: %v", given, err)
		}
	}
}
