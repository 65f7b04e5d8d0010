package registry_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the random tests; 0 takes a new one each run")
	effortFlag = flag.Int("effort", 1, "factor for the number of random histories")
)

// start is when the fake clocks start, ms since 1970.
const start int64 = 1_700_000_000_000

// clock is the time of a test. It moves only when the test says so, also
// backwards.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(start)
	return c
}

func (c *clock) Now() time.Time      { return time.UnixMilli(c.ms.Load()) }
func (c *clock) Add(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// recorder is a Sink that keeps what it gets until it is taken.
type recorder struct {
	mu      sync.Mutex
	changes []registry.Change
}

func (r *recorder) Changed(c registry.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
}

func (r *recorder) take() []registry.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	changes := r.changes
	r.changes = nil
	return changes
}

// newRegistry returns a registry that goes by c, and its Sink.
func newRegistry(tb testing.TB, c *clock) (*registry.Registry, *recorder) {
	tb.Helper()
	sink := new(recorder)
	r, err := registry.New(registry.Options{Sink: sink, Now: c.Now})
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return r, sink
}

// statuses are the five.
func statuses() []eureka.Status {
	return []eureka.Status{
		eureka.StatusUp, eureka.StatusDown, eureka.StatusStarting,
		eureka.StatusOutOfService, eureka.StatusUnknown,
	}
}

func pick[T any](rnd *rand.Rand, of []T) T { return of[rnd.IntN(len(of))] }

// instance returns what a client would post: the default lease, no override.
func instance(app, id string, status eureka.Status, ldt int64) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID:         &id,
		HostName:           id + ".example",
		App:                app,
		IPAddr:             "10.0.0.1",
		Status:             status,
		OverriddenStatus:   eureka.StatusUnknown,
		Port:               eureka.Port{Number: 8080, Enabled: true},
		SecurePort:         eureka.Port{Number: eureka.DefaultSecurePort},
		CountryID:          eureka.DefaultCountryID,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: eureka.DefaultRenewalInterval, DurationInSecs: eureka.DefaultDuration},
		LastDirtyTimestamp: ldt,
	}
}

// clone returns a deep copy.
func clone(i *eureka.InstanceInfo) *eureka.InstanceInfo {
	if i == nil {
		return nil
	}
	c := *i
	for _, p := range []**string{
		&c.InstanceID, &c.AppGroupName, &c.HomePageURL, &c.StatusPageURL, &c.HealthCheckURL,
		&c.SecureHealthCheckURL, &c.VIPAddress, &c.SecureVIPAddress, &c.ASGName,
	} {
		if *p != nil {
			s := **p
			*p = &s
		}
	}
	c.Metadata = maps.Clone(i.Metadata)
	c.DataCenterInfo.Metadata = maps.Clone(i.DataCenterInfo.Metadata)
	return &c
}

func client(i *eureka.InstanceInfo) *eureka.InstanceInfo {
	c := *i
	c.Status, c.OverriddenStatus, c.ActionType, c.LastUpdatedTimestamp = "", "", "", 0
	c.LeaseInfo = eureka.LeaseInfo{
		RenewalIntervalInSecs: i.LeaseInfo.RenewalIntervalInSecs,
		DurationInSecs:        i.LeaseInfo.DurationInSecs,
	}
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	return &c
}

// visible returns everything of an instance that a reader sees, except the time
// of the last renewal.
func visible(i *eureka.InstanceInfo) *eureka.InstanceInfo {
	c := *i
	c.LeaseInfo.LastRenewalTimestamp = 0
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	return &c
}

// shared returns what readers of two nodes that agree see alike.
func shared(i *eureka.InstanceInfo) *eureka.InstanceInfo {
	c := client(i)
	c.Status, c.OverriddenStatus = i.Status, i.OverriddenStatus
	return c
}

// sameInstances reports whether two lists hold the same, seen through view.
func sameInstances(a, b []*eureka.InstanceInfo, view func(*eureka.InstanceInfo) *eureka.InstanceInfo) bool {
	return slices.EqualFunc(a, b, func(x, y *eureka.InstanceInfo) bool {
		return x == y || reflect.DeepEqual(view(x), view(y))
	})
}

func instances(as eureka.Applications) []*eureka.InstanceInfo {
	var all []*eureka.InstanceInfo
	for _, a := range as.Applications {
		all = append(all, a.Instances...)
	}
	return all
}

// recount works out apps__hashcode from nothing but the list.
func recount(all []*eureka.InstanceInfo) string {
	counts := map[string]int{}
	for _, i := range all {
		counts[string(i.Status)]++
	}
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(counts)) {
		b.WriteString(s + "_" + strconv.Itoa(counts[s]) + "_")
	}
	return b.String()
}

// live returns the record of an instance, with its hash.
func live(info *eureka.InstanceInfo, version int64, base eureka.Status) registry.Record {
	r := registry.Record{
		Version:   version,
		Live:      true,
		Info:      info,
		LastDirty: info.LastDirtyTimestamp,
		Base:      base,
		Duration:  time.Duration(info.LeaseInfo.DurationInSecs) * time.Second,
	}
	r.Hash = registry.HashRecord(&r)
	return r
}

// tombstone returns the record that a cancel leaves, with its hash.
func tombstone(version, ldt int64, duration time.Duration) registry.Record {
	r := registry.Record{Version: version, LastDirty: ldt, Base: eureka.StatusUnknown, Duration: duration}
	r.Hash = registry.HashRecord(&r)
	return r
}

// part prints the parts of an entry that travel.
func part(e registry.Entry) string {
	return fmt.Sprintf("%s %s", recordText(&e.Record), overrideText(e.Override))
}

func recordText(r *registry.Record) string {
	state, content := "dead", ""
	if r.Live {
		state, content = "live", fmt.Sprintf(" base=%s %s %v", r.Base, r.Info.HostName, r.Info.Metadata)
	}
	return fmt.Sprintf("R{v=%s %s ldt=%s dur=%s hash=%x%s}", ms(r.Version), state, ms(r.LastDirty), r.Duration, r.Hash, content)
}

func overrideText(o registry.Override) string {
	return fmt.Sprintf("O{v=%s set=%t %s}", ms(o.Version), o.Set, o.Status)
}

// ms prints a time as the test meant it: around the start, or as it is.
func ms(v int64) string {
	if d := v - start; d > -1e9 && d < 1e9 {
		return fmt.Sprintf("start%+d", d)
	}
	return strconv.FormatInt(v, 10)
}

// randomSeed returns the seed of a test, and tells it if the test fails.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("rerun with -seed %d", seed)
		}
	})
	return seed
}

// checkHistories runs n random histories of up to length actions, and reports
// the first that fails, shortened as far as leaving out actions does it.
func checkHistories[A any](t *testing.T, n, length int, random func(*rand.Rand) A, run func([]A) error) {
	t.Helper()
	seed := randomSeed(t)
	for i := range n * *effortFlag {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		history := make([]A, 1+rnd.IntN(length))
		for j := range history {
			history[j] = random(rnd)
		}
		err := run(history)
		if err == nil {
			continue
		}
		history, err = shorten(history, err, run)
		var b strings.Builder
		for _, a := range history {
			fmt.Fprintf(&b, "\n  %v", a)
		}
		t.Fatalf("history %d, shortened to:%s\n%v", i, b.String(), err)
	}
}

func shorten[A any](history []A, err error, run func([]A) error) ([]A, error) {
	for again := true; again; {
		again = false
		for i := range history {
			fewer := slices.Delete(slices.Clone(history), i, i+1)
			if e := run(fewer); e != nil {
				history, err, again = fewer, e, true
				break
			}
		}
	}
	return history, err
}

// by is the origin of a change of a client, or by a Java peer.
func by(isReplication bool) registry.Origin {
	if isReplication {
		return registry.Origin{Way: registry.ByReplication}
	}
	return registry.Origin{}
}
