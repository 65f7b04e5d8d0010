package registry_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// versions is the table in docs/convergence.md of a client's actions, written down a
// second time: for one instance, in milliseconds.
type versions struct {
	now, upSince int64

	exists  bool
	r       recordModel
	o       registry.Override
	renewed int64
	longest int64 // term, ms

	accepted int64 // when the record's timestamp was stored
	evicted  bool

	bits registry.Bits // of the last action
}

type recordModel struct {
	v              int64
	live           bool
	ldt            int64
	base           eureka.Status
	host           string
	metadata       map[string]string
	duration, ival int64 // ms
}

func (m *versions) known() int64  { return max(m.r.v, m.o.Version) }
func (m *versions) next() int64   { return max(m.now, m.known()+1) }
func (m *versions) present() bool { return m.exists && m.r.live && !m.evicted }

func (m *versions) status() eureka.Status {
	switch {
	case m.o.Version > m.r.v:
		return m.o.Status
	case m.o.Set && (m.r.base == eureka.StatusUp || m.r.base == eureka.StatusOutOfService):
		return m.o.Status
	default:
		return m.r.base
	}
}

// term is the duration, or the interval (of an hour at most) and 5 s.
func (m *versions) term() int64 { return max(m.r.duration, min(m.r.ival, 3_600_000)+5000) }

func (m *versions) lease() {
	m.renewed = m.now
	m.bits |= registry.Renewed
}

func (m *versions) register(i *eureka.InstanceInfo) (stored bool) {
	ldt := i.LastDirtyTimestamp
	if ldt == eureka.NoTimestamp {
		ldt = m.now
	}
	if m.present() && ldt < min(m.r.ldt, m.accepted) {
		m.lease()
		return false
	}
	present, status := m.present(), eureka.Status("")
	if present {
		status = m.status()
	}
	if i.OverriddenStatus != eureka.StatusUnknown && !m.o.Set {
		m.o = registry.Override{Version: m.known() + 1, Set: true, Status: i.OverriddenStatus}
		m.bits |= registry.Overridden
	}
	base := i.Status
	if present && !m.o.Set && active(base) && active(status) {
		base = status
	}
	m.r = recordModel{
		v: m.next(), live: true, ldt: ldt, base: base, host: i.HostName, metadata: i.Metadata,
		duration: int64(i.LeaseInfo.DurationInSecs) * 1000, ival: int64(i.LeaseInfo.RenewalIntervalInSecs) * 1000,
	}
	m.exists, m.evicted, m.renewed, m.accepted = true, false, m.now, m.now
	m.longest = max(m.longest, m.term())
	m.bits |= registry.Registered
	return true
}

// active reports whether rules 2 and 4 look any further than the reported status.
func active(s eureka.Status) bool {
	return s == eureka.StatusUp || s == eureka.StatusOutOfService
}

func (m *versions) renew(t int64) registry.Outcome {
	if !m.present() || m.status() == eureka.StatusUnknown {
		return registry.NotFound
	}
	m.lease()
	if t > m.r.ldt {
		return registry.NotFound
	}
	return registry.OK
}

func (m *versions) cancel() registry.Outcome {
	if !m.exists || !m.r.live {
		return registry.NotFound
	}
	outcome := registry.OK
	if !m.present() {
		outcome = registry.NotFound
	}
	v := m.next()
	m.r = recordModel{v: v, ldt: m.r.ldt, duration: m.r.duration}
	m.o = registry.Override{Version: v, Status: eureka.StatusUnknown}
	m.renewed = m.now
	m.bits = registry.Cancelled
	return outcome
}

func (m *versions) override(set bool, s eureka.Status, t int64) registry.Outcome {
	switch {
	case !m.present():
		return registry.NotFound
	case set && m.status() == s, !set && !m.o.Set:
		m.lease()
		return registry.OK
	}
	if t > m.r.ldt {
		m.r.ldt, m.accepted = t, m.now
		m.r.v++
		m.bits |= registry.Registered
	}
	m.o = registry.Override{Version: m.next(), Set: set, Status: s}
	m.renewed = m.now
	m.bits |= registry.Overridden
	return registry.OK
}

func (m *versions) metadata(pairs map[string]string) registry.Outcome {
	if !m.present() {
		return registry.NotFound
	}
	merged := map[string]string{}
	maps.Copy(merged, m.r.metadata)
	maps.Copy(merged, pairs)
	if maps.Equal(merged, m.r.metadata) {
		m.lease()
		return registry.OK
	}
	base := m.status()
	m.r.v, m.r.metadata, m.r.base = m.r.v+1, merged, base
	m.renewed = m.now
	m.bits |= registry.Registered
	return registry.OK
}

func (m *versions) evict() (evicted int) {
	if m.present() && max(m.renewed, m.upSince)+m.term() < m.now {
		m.evicted = true
		evicted = 1
	}
	if m.exists && (m.evicted || !m.r.live) && m.renewed+2*m.longest+300_000 < m.now {
		*m = versions{now: m.now, upSince: m.upSince}
	}
	return evicted
}

// versionAction is a client's action with any timestamp, or an eviction; the
// clock only goes forwards.
func versionAction(rnd *rand.Rand) action {
	a := pastAction(rnd)
	if rnd.IntN(6) == 0 {
		a.kind = evict
	}
	if a.ldt != eureka.NoTimestamp && rnd.IntN(2) == 0 {
		a.ldt = start + pick(rnd, []int64{0, 1, 700, 60_000, 3_600_000}) + rnd.Int64N(3)
	}
	switch rnd.IntN(6) {
	case 0:
		a.after = time.Duration(rnd.IntN(200)) * time.Second
	case 1:
		a.after = pick(rnd, []time.Duration{35_000, 35_001, 90_000, 90_001, 480_000, 480_001, 605_000, 605_001, 1_510_000, 1_510_001}) * time.Millisecond
	case 2:
		a.after = time.Duration(rnd.IntN(3)) * time.Millisecond
	}
	return a
}

// crookedAction is a client's action under a clock that stands still or steps
// back.
func crookedAction(rnd *rand.Rand) action {
	a := versionAction(rnd)
	for a.kind == evict {
		a = versionAction(rnd)
	}
	a.after = pick(rnd, []time.Duration{0, 0, 1, 5, -1, -5, -3000}) * time.Millisecond
	return a
}

func (a action) versionInfo() *eureka.InstanceInfo {
	i := a.info()
	switch a.content {
	case 1:
		i.LeaseInfo.DurationInSecs = 35 // As long as the renewal interval and 5 s.
	case 2:
		i.LeaseInfo.DurationInSecs, i.LeaseInfo.RenewalIntervalInSecs = 90, 600
	}
	return i
}

func sameVersions(tb testing.TB, history []action, leases bool) error {
	c := newClock()
	r, sink := newRegistry(tb, c)
	key := registry.NewKey("orders", "i-1")
	m := versions{now: start, upSince: start}
	for n, a := range history {
		c.Add(a.after)
		m.now, m.bits = c.Now().UnixMilli(), 0
		got, want := registry.OK, registry.OK
		switch a.kind {
		case register:
			i := a.versionInfo()
			if got, want := r.Register(i, registry.Origin{}) == registry.OK, m.register(i); got != want {
				return fmt.Errorf("step %d, %v: stored = %t, want %t", n, a, got, want)
			}
		case renew:
			got, _ = r.Renew(key, a.ldt, "", registry.Origin{})
			want = m.renew(a.ldt)
		case cancel:
			got, want = r.Cancel(key, registry.Origin{}), m.cancel()
		case setStatus:
			got, want = r.SetStatus(key, a.status, a.ldt, registry.Origin{}), m.override(true, a.status, a.ldt)
		case deleteStatus:
			got, want = r.DeleteStatusOverride(key, a.status, a.ldt, registry.Origin{}), m.override(false, a.status, a.ldt)
		case metadata:
			got, want = r.SetMetadata(key, a.pairs, registry.Origin{}), m.metadata(a.pairs)
		case evict:
			if got, want := r.Evict(), m.evict(); got != want {
				return fmt.Errorf("step %d, %v: evicted %d, want %d", n, a, got, want)
			}
			if got, want := r.Evict(), m.evict(); got != want {
				return fmt.Errorf("step %d, %v: evicted %d more, want %d", n, a, got, want)
			}
		}
		if got != want {
			return fmt.Errorf("step %d, %v: outcome %v, want %v", n, a, got, want)
		}
		if err := m.compare(r, key, leases); err != nil {
			return fmt.Errorf("step %d, %v: %w", n, a, err)
		}
		var bits registry.Bits
		for _, ch := range sink.take() {
			bits |= ch.Bits
			if ch.Key != key || ch.IsReplication {
				return fmt.Errorf("step %d, %v: Sink got %+v", n, a, ch)
			}
		}
		if bits != m.bits {
			return fmt.Errorf("step %d, %v: Sink got bits %v, want %v", n, a, bits, m.bits)
		}
	}
	return nil
}

func (m *versions) compare(r *registry.Registry, key registry.Key, leases bool) error {
	e, evicted, ok := r.Entry(key)
	if ok != m.exists {
		return fmt.Errorf("an entry = %t, want %t", ok, m.exists)
	}
	if want := map[bool]int{true: 1}[m.exists]; r.Len() != want {
		return fmt.Errorf("%d entries, want %d", r.Len(), want)
	}
	i, present := r.Instance(key)
	if present != m.present() {
		return fmt.Errorf("present = %t, want %t", present, m.present())
	}
	if !ok {
		return nil
	}
	if e.Override != m.o {
		return fmt.Errorf("override %s, want %s", overrideText(e.Override), overrideText(m.o))
	}
	got := recordModel{
		v: e.Record.Version, live: e.Record.Live, ldt: e.Record.LastDirty, base: e.Record.Base,
		duration: e.Record.Duration.Milliseconds(),
	}
	if e.Record.Live {
		got.host, got.ival = e.Record.Info.HostName, int64(e.Record.Info.LeaseInfo.RenewalIntervalInSecs)*1000
		if e.Record.Info.LastDirtyTimestamp != e.Record.LastDirty {
			return fmt.Errorf("instance of %s in a record of %s", ms(e.Record.Info.LastDirtyTimestamp), ms(e.Record.LastDirty))
		}
	} else {
		got.base = ""
		if e.Record.Info != nil {
			return fmt.Errorf("a tombstone with data: %+v", e.Record.Info)
		}
	}
	want := m.r
	want.metadata = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("record %+v, want %+v", got, want)
	}
	if e.Record.Live && !maps.Equal(e.Record.Info.Metadata, m.r.metadata) {
		return fmt.Errorf("metadata %v, want %v", e.Record.Info.Metadata, m.r.metadata)
	}
	if h := registry.HashRecord(&e.Record); h != e.Record.Hash {
		return fmt.Errorf("record carries hash %x, its content has %x", e.Record.Hash, h)
	}
	if m.r.live && evicted != m.evicted {
		return fmt.Errorf("evicted = %t, want %t", evicted, m.evicted)
	}
	if age := m.now - m.renewed; leases && e.Age.Milliseconds() != age {
		return fmt.Errorf("lease %v old, want %d ms", e.Age, age)
	}
	if !present {
		return nil
	}
	if s := registry.Visible(&e.Record, &e.Override); s != m.status() || i.Status != s {
		return fmt.Errorf("status %s, Visible says %s, want %s", i.Status, s, m.status())
	}
	overridden := eureka.StatusUnknown
	if m.o.Set {
		overridden = m.o.Status
	}
	if i.OverriddenStatus != overridden || e.Override.Overridden() != overridden {
		return fmt.Errorf("overriddenStatus %s and %s, want %s", i.OverriddenStatus, e.Override.Overridden(), overridden)
	}
	if i.LastDirtyTimestamp != m.r.ldt || i.HostName != m.r.host || !maps.Equal(i.Metadata, m.r.metadata) {
		return fmt.Errorf("readers see %+v, want %+v", i, m.r)
	}
	return nil
}

func TestVersionsOfClientsActions(t *testing.T) {
	t.Parallel()
	checkHistories(t, 3500, 16, versionAction, func(h []action) error { return sameVersions(t, h, true) })
}

// v = max(now, known + 1), whatever the clock does.
func TestVersionsUnderCrookedClocks(t *testing.T) {
	t.Parallel()
	checkHistories(t, 2000, 16, crookedAction, func(h []action) error { return sameVersions(t, h, false) })
}

// A node's parts never go back, also under crooked clocks and with tombstones.
func TestVersionsOnlyGrow(t *testing.T) {
	t.Parallel()
	checkHistories(t, 2000, 16, crookedAction, func(history []action) error {
		c := newClock()
		r, _ := newRegistry(t, c)
		key := registry.NewKey("orders", "i-1")
		var last registry.Entry
		for n, a := range history {
			c.Add(a.after)
			switch a.kind {
			case register:
				r.Register(a.info(), registry.Origin{})
			case renew, evict:
				r.Renew(key, a.ldt, "", registry.Origin{})
			case cancel:
				r.Cancel(key, registry.Origin{})
			case setStatus:
				r.SetStatus(key, a.status, a.ldt, registry.Origin{})
			case deleteStatus:
				r.DeleteStatusOverride(key, a.status, a.ldt, registry.Origin{})
			case metadata:
				r.SetMetadata(key, a.pairs, registry.Origin{})
			}
			e, _, _ := r.Entry(key)
			if last.Record.After(&e.Record) || last.Override.After(&e.Override) {
				return fmt.Errorf("step %d, %v: went back from %s to %s", n, a, part(last), part(e))
			}
			last = e
		}
		return nil
	})
}

// Every accepted register gets a new version, also one that repeats the old.
func TestRepeatedRegisterGetsNewVersion(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	key := registry.NewKey("ORDERS", "i-1")
	var last int64
	for n := range 3 {
		if r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{}) != registry.OK {
			t.Fatalf("register %d was not stored", n)
		}
		e, _, _ := r.Entry(key)
		if want := start + int64(n); e.Record.Version != want || e.Record.Version <= last {
			t.Errorf("register %d, clock standing still: version %s, want %s", n, ms(e.Record.Version), ms(want))
		}
		last = e.Record.Version
	}
}
