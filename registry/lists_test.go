package registry_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// crowd does random things to a few instances of a few applications, as
// clients and peers do.
type crowd struct {
	rnd   *rand.Rand
	c     *clock
	r     *registry.Registry
	other *registry.Registry // a peer that took part of the same, to join from
}

func newCrowd(tb testing.TB, seed uint64) *crowd {
	c := newClock()
	r, _ := newRegistry(tb, c)
	other, _ := newRegistry(tb, c)
	return &crowd{rand.New(rand.NewPCG(seed, 0)), c, r, other}
}

// key returns one of the crowd; ids repeat over applications.
func (cr *crowd) key() registry.Key {
	return registry.NewKey(pick(cr.rnd, []string{"orders", "STOCK", "Mail", "a"}), "i-"+strconv.Itoa(cr.rnd.IntN(6)))
}

func (cr *crowd) info(key registry.Key) *eureka.InstanceInfo {
	i := instance(key.App, key.ID, pick(cr.rnd, statuses()), cr.c.Now().UnixMilli()-cr.rnd.Int64N(2000))
	i.HostName = "host-" + strconv.Itoa(cr.rnd.IntN(3))
	if cr.rnd.IntN(8) == 0 {
		i.OverriddenStatus = pick(cr.rnd, statuses())
	}
	if cr.rnd.IntN(3) > 0 {
		i.VIPAddress = new(pick(cr.rnd, []string{"", "v1", "v1,v2", "v2,v1,v3", "v11", "v1,v1"}))
	}
	if cr.rnd.IntN(3) > 0 {
		i.SecureVIPAddress = new(pick(cr.rnd, []string{"s1", "s2,s1"}))
	}
	return i
}

// step does one thing and says what.
func (cr *crowd) step() string {
	key := cr.key()
	r := cr.r
	remote := cr.rnd.IntN(4) == 0 // Happens at the peer first.
	if remote {
		r = cr.other
	}
	var what string
	switch n := cr.rnd.IntN(20); {
	case n < 6:
		what = "register"
		r.Register(cr.info(key), by(cr.rnd.IntN(5) == 0))
	case n < 9:
		what = "renew"
		r.Renew(key, pick(cr.rnd, []int64{eureka.NoTimestamp, start, cr.c.Now().UnixMilli()}), "", by(cr.rnd.IntN(5) == 0))
	case n < 11:
		what = "cancel"
		r.Cancel(key, by(cr.rnd.IntN(5) == 0))
	case n < 14:
		what = "statusUpdate"
		r.SetStatus(key, pick(cr.rnd, statuses()), cr.c.Now().UnixMilli()-1000, by(cr.rnd.IntN(5) == 0))
	case n < 16:
		what = "deleteStatusOverride"
		r.DeleteStatusOverride(key, pick(cr.rnd, statuses()), eureka.NoTimestamp, by(cr.rnd.IntN(5) == 0))
	case n < 18:
		what = "metadata"
		r.SetMetadata(key, map[string]string{"zone": strconv.Itoa(cr.rnd.IntN(3))}, registry.Origin{})
	default:
		remote = true
		what = "nothing"
	}
	if remote {
		if e, evicted, ok := cr.other.Entry(key); ok && !evicted {
			carried := pick(cr.rnd, []registry.Bits{0, registry.Overridden, whole, whole})
			what += fmt.Sprintf(" at a peer, joined with %v", carried)
			cr.r.Join(key, joining{e, carried}.sent(), carried, registry.Origin{Way: registry.ByBatch})
		}
	}
	return what + " " + key.String()
}

// checkLists compares every kind of list with what the full list says, and
// that with its order and hash code.
func checkLists(r *registry.Registry) error {
	all := r.Applications()
	if all.Version != "1" {
		return fmt.Errorf("full list has version %q, want 1", all.Version)
	}
	if want := recount(instances(all)); all.HashCode != want {
		return fmt.Errorf("hash code %q, counted %q", all.HashCode, want)
	}
	if err := checkOrder(all); err != nil {
		return err
	}
	byID := map[string]*eureka.InstanceInfo{}
	for _, a := range all.Applications {
		one, ok := r.Application(strings.ToLower(a.Name))
		if !ok || one.Name != a.Name || !sameInstances(one.Instances, a.Instances, visible) {
			return fmt.Errorf("application %s: %v, %t, differs from the list's", a.Name, one, ok)
		}
		for _, i := range a.Instances {
			got, ok := r.Instance(registry.NewKey(a.Name, i.ID()))
			if !ok || !sameInstances([]*eureka.InstanceInfo{got}, []*eureka.InstanceInfo{i}, visible) {
				return fmt.Errorf("instance %s/%s: %+v, %t, differs from the list's %+v", a.Name, i.ID(), got, ok, i)
			}
			if byID[i.ID()] == nil {
				byID[i.ID()] = i
			}
		}
	}
	if _, ok := r.Application("nobody"); ok {
		return fmt.Errorf("there is an application without instances")
	}
	for n := range 6 {
		id := "i-" + strconv.Itoa(n)
		got, ok := r.InstanceByID(id)
		if want := byID[id]; ok != (want != nil) || ok && !sameInstances([]*eureka.InstanceInfo{got}, []*eureka.InstanceInfo{want}, visible) {
			return fmt.Errorf("instance by id %s: %+v, %t, want %+v", id, got, ok, want)
		}
	}
	for _, v := range []string{"v1", "v2", "v3", "v11", "v", "v1,v2", "s1"} {
		err := checkVIP(r.VIP(v), instances(all), v, func(i *eureka.InstanceInfo) *string { return i.VIPAddress })
		if err != nil {
			return fmt.Errorf("vip %s: %w", v, err)
		}
	}
	for _, v := range []string{"s1", "s2", "v1"} {
		err := checkVIP(r.SVIP(v), instances(all), v, func(i *eureka.InstanceInfo) *string { return i.SecureVIPAddress })
		if err != nil {
			return fmt.Errorf("secure vip %s: %w", v, err)
		}
	}
	return nil
}

// A list of addresses may have blanks.
func TestVIPBlanks(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, newClock())
	i := instance("ORDERS", "i-1", eureka.StatusUp, start)
	i.VIPAddress = new(" a,b , c")
	r.Register(i, registry.Origin{})
	for vip, want := range map[string]int{"a": 1, "b": 1, "c": 1, " c": 0, "d": 0, "a,b": 0} {
		if got := len(instances(r.VIP(vip))); got != want {
			t.Errorf("vip %q: %d instances, want %d", vip, got, want)
		}
	}
}

func checkVIP(got eureka.Applications, all []*eureka.InstanceInfo, vip string, of func(*eureka.InstanceInfo) *string) error {
	var want []*eureka.InstanceInfo
	for _, i := range all {
		if v := of(i); v != nil && slices.Contains(strings.Split(*v, ","), vip) {
			want = append(want, i)
		}
	}
	if !sameInstances(instances(got), want, visible) {
		return fmt.Errorf("%d instances, want %d", len(instances(got)), len(want))
	}
	if got.HashCode != recount(want) {
		return fmt.Errorf("hash code %q, want that of its own instances, %q", got.HashCode, recount(want))
	}
	if got.Version != "-1" {
		return fmt.Errorf("version %q, want -1", got.Version)
	}
	return checkOrder(got)
}

func checkOrder(as eureka.Applications) error {
	for n, a := range as.Applications {
		if len(a.Instances) == 0 {
			return fmt.Errorf("application %s is listed without instances", a.Name)
		}
		if n > 0 && as.Applications[n-1].Name >= a.Name {
			return fmt.Errorf("application %s behind %s", a.Name, as.Applications[n-1].Name)
		}
		for m, i := range a.Instances {
			if i.App != a.Name {
				return fmt.Errorf("instance of %s under %s", i.App, a.Name)
			}
			if m > 0 && a.Instances[m-1].ID() >= i.ID() {
				return fmt.Errorf("instance %s behind %s", i.ID(), a.Instances[m-1].ID())
			}
		}
	}
	return nil
}

func TestListsAgree(t *testing.T) {
	t.Parallel()
	cr := newCrowd(t, randomSeed(t))
	for n := range 800 * *effortFlag {
		what := cr.step()
		cr.c.Add(time.Duration(cr.rnd.IntN(10_000)) * time.Millisecond)
		if cr.rnd.IntN(10) == 0 {
			what += ", evict"
			cr.r.Evict()
		}
		if err := checkLists(cr.r); err != nil {
			t.Fatalf("step %d, %s: %v", n, what, err)
		}
	}
}

func TestOptionsOutOfBounds(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{-time.Second, time.Millisecond, time.Second - 1} {
		if _, err := registry.New(registry.Options{DeltaRetention: d}); err == nil {
			t.Errorf("New took a delta retention of %v", d)
		}
	}
}

// Generation changes if and only if a reader sees a change.
func TestGenerationCountsWhatReadersSee(t *testing.T) {
	t.Parallel()
	cr := newCrowd(t, randomSeed(t))
	for n := range 2500 * *effortFlag {
		before, generation := cr.r.Applications(), cr.r.Generation()
		cr.c.Add(time.Duration(1+cr.rnd.IntN(3000)) * time.Millisecond)
		what := ""
		switch cr.rnd.IntN(20) {
		case 0:
			what = "evict"
			cr.r.Evict()
		default:
			what = cr.step()
		}
		saw := !sameInstances(instances(before), instances(cr.r.Applications()), visible)
		if changed := cr.r.Generation() != generation; changed != saw {
			t.Fatalf("step %d, %s: generation changed = %t, a reader sees a change = %t", n, what, changed, saw)
		}
	}
}

func TestGenerationStays(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	key, gone := registry.NewKey("ORDERS", "i-1"), registry.NewKey("ORDERS", "i-2")
	r.Register(instance("ORDERS", "i-1", eureka.StatusUp, start), registry.Origin{})
	r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{})
	r.Register(instance("ORDERS", "i-2", eureka.StatusUp, start), registry.Origin{})
	r.Cancel(gone, registry.Origin{})
	for name, do := range map[string]func(){
		"renew":                     func() { r.Renew(key, start, "", registry.Origin{}) },
		"renew, caller newer":       func() { r.Renew(key, start+1, "", registry.Origin{}) },
		"renew, unknown":            func() { r.Renew(gone, start, "", registry.Origin{}) },
		"same status":               func() { r.SetStatus(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{}) },
		"no override to remove":     func() { r.DeleteStatusOverride(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{}) },
		"same metadata":             func() { r.SetMetadata(key, map[string]string{"a": "b"}, registry.Origin{}) },
		"cancel of a cancelled one": func() { r.Cancel(gone, registry.Origin{}) },
		"nothing to evict":          func() { r.Evict() },
		"delta":                     func() { r.Delta() },
		"nothing to sweep":          func() { r.SweepDelta() },
		"join of what is known":     func() { e, _, _ := r.Entry(key); r.Join(key, e, whole, registry.Origin{Way: registry.ByBatch}) },
		"heartbeat of what is known": func() {
			e, _, _ := r.Entry(key)
			r.Join(key, joining{e, 0}.sent(), 0, registry.Origin{Way: registry.ByBatch})
		},
		"replica's unwanted register": func() {
			r.Register(instance("ORDERS", "i-2", eureka.StatusUp, start), registry.Origin{Way: registry.ByReplication})
		},
	} {
		c.Add(time.Second)
		before := r.Generation()
		if do(); r.Generation() != before {
			t.Errorf("%s: generation went from %d to %d", name, before, r.Generation())
		}
	}
}

// What readers got is never changed afterwards, nor is what was handed in.
func TestReadersKeepWhatTheyGot(t *testing.T) {
	t.Parallel()
	type kept struct {
		what      string
		got, copy []*eureka.InstanceInfo
	}
	cr := newCrowd(t, randomSeed(t))
	exact := func(i *eureka.InstanceInfo) *eureka.InstanceInfo { return i }
	var all []kept
	keep := func(what string, got []*eureka.InstanceInfo) {
		cp := make([]*eureka.InstanceInfo, len(got))
		for n, i := range got {
			cp[n] = clone(i)
		}
		all = append(all, kept{what, slices.Clip(got), cp})
	}
	for n := range 400 {
		what := fmt.Sprintf("step %d, %s", n, cr.step())
		cr.c.Add(time.Duration(cr.rnd.IntN(5000)) * time.Millisecond)
		if n%10 == 0 {
			cr.r.Evict()
			cr.r.SweepDelta()
		}
		key := cr.key()
		given := cr.info(key)
		keep(what+", register", []*eureka.InstanceInfo{given})
		cr.r.Register(given, registry.Origin{})
		cr.r.SetMetadata(key, map[string]string{"n": strconv.Itoa(n)}, registry.Origin{})
		switch n % 5 {
		case 0:
			as := cr.r.Applications()
			keep(what+", list", instances(as))
			for _, a := range as.Applications {
				keep(what+", application of the list", a.Instances)
			}
		case 1:
			keep(what+", delta", instances(cr.r.Delta()))
		case 2:
			keep(what+", vip", instances(cr.r.VIP("v1")))
		case 3:
			if i, ok := cr.r.Instance(key); ok {
				keep(what+", instance", []*eureka.InstanceInfo{i})
			}
			a, _ := cr.r.Application(key.App)
			keep(what+", application", a.Instances)
		case 4:
			if e, _, ok := cr.r.Entry(key); ok && e.Record.Live {
				keep(what+", entry", []*eureka.InstanceInfo{e.Record.Info})
			}
		}
	}
	for _, k := range all {
		if !sameInstances(k.got, k.copy, exact) {
			t.Fatalf("%s: what was got has changed since", k.what)
		}
	}
}

func TestAllTellsAPeer(t *testing.T) {
	t.Parallel()
	cr := newCrowd(t, randomSeed(t))
	for n := range 500 {
		cr.step()
		cr.c.Add(time.Duration(cr.rnd.IntN(20)) * time.Second)
		if cr.rnd.IntN(10) == 0 {
			cr.r.Evict()
		}
		present := map[registry.Key]bool{}
		for _, i := range instances(cr.r.Applications()) {
			present[registry.NewKey(i.App, i.ID())] = true
		}
		for key, bits := range cr.r.All() {
			e, evicted, ok := cr.r.Entry(key)
			retired := e.Age > 2*e.Record.Duration+5*time.Minute
			if want := map[bool]registry.Bits{true: registry.Registered, false: registry.Cancelled}[e.Record.Live]; !ok || evicted && e.Record.Live || retired || bits != want {
				t.Fatalf("step %d: All gives %v with %v: evicted %t, retired %t, %s", n, key, bits, evicted, retired, text(e))
			}
			delete(present, key)
		}
		for key := range present {
			e, _, _ := cr.r.Entry(key)
			if e.Age <= 2*e.Record.Duration+5*time.Minute {
				t.Fatalf("step %d: All leaves out %v, which readers see", n, key)
			}
		}
	}
	for range cr.r.All() {
		cr.r.Evict() // No lock is held here.
		break
	}
}

// The table of what happens to a slot.
func TestBitsMerge(t *testing.T) {
	t.Parallel()
	const (
		h, r, o, c = registry.Renewed, registry.Registered, registry.Overridden, registry.Cancelled
	)
	for _, tt := range []struct{ b, newer, want registry.Bits }{
		{0, h, h},
		{0, r, r},
		{0, o, o},
		{0, c, c},
		{0, r | o, r | o},
		{h, h, h},
		{h, c, c},
		{r, h, r},
		{r, r, r},
		{r, o, r | o},
		{r, c, c},
		{r, r | o, r | o},
		{o, h, o},
		{o, r, r | o},
		{o, o, o},
		{o, c, c},
		{o, r | o, r | o},
		{r | o, h, r | o},
		{r | o, r, r | o},
		{r | o, o, r | o},
		{r | o, c, c},
		{c, h, c},
		{c, r, c | r},
		{c, o, c | o},
		{c, c, c},
		{c, r | o, c | r | o},
		{c | r, h, c | r},
		{c | r, r, c | r},
		{c | r, o, c | r | o},
		{c | r, c, c},
		{c | r | o, h, c | r | o},
		{c | r | o, c, c},
	} {
		if got := tt.b.Merge(tt.newer); got != tt.want {
			t.Errorf("{%v}.Merge({%v}) = {%v}, want {%v}", tt.b, tt.newer, got, tt.want)
		}
	}
	// A renewal before another action may stay or not: it is not looked at.
	for _, newer := range []registry.Bits{r, o, r | o} {
		if got := h.Merge(newer); got&^h != newer {
			t.Errorf("{H}.Merge({%v}) = {%v}", newer, got)
		}
	}
	for bits, want := range map[registry.Bits]string{h: "H", r: "R", o: "O", c: "C"} {
		if got := bits.String(); got != want {
			t.Errorf("bits %d are spelled %q, want %q", bits, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	if got, want := registry.NewKey("orders", "I-1"), (registry.Key{App: "ORDERS", ID: "I-1"}); got != want {
		t.Errorf("NewKey = %+v, want %+v", got, want)
	}
	if got := registry.NewKey("Orders", "a:b/c").String(); got != "ORDERS/a:b/c" {
		t.Errorf("String = %q", got)
	}
}

// TestAddressesOfHistories finds by address what a look at all instances finds, after
// random histories of registers with other addresses, cancels and evictions.
func TestAddressesOfHistories(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	lists := []string{"", "a", "b", "a,b", " b , c ", "a,a", "c,", ",,"}
	for history := range 20 {
		rnd := rand.New(rand.NewPCG(seed, uint64(history)))
		c := newClock()
		r, _ := newRegistry(t, c)
		for range 300 {
			c.Add(time.Duration(rnd.IntN(20)) * time.Second)
			key := registry.NewKey(fmt.Sprint("APP", rnd.IntN(4)), fmt.Sprint("i-", rnd.IntN(12)))
			switch rnd.IntN(8) {
			case 0:
				r.Cancel(key, registry.Origin{})
			case 1:
				r.Evict()
			case 2:
				r.SetStatus(key, pick(rnd, statuses()), eureka.NoTimestamp, registry.Origin{})
			default:
				i := instance(key.App, key.ID, pick(rnd, statuses()), c.ms.Load())
				if rnd.IntN(4) > 0 {
					i.VIPAddress = new(pick(rnd, lists))
				}
				if rnd.IntN(4) > 0 {
					i.SecureVIPAddress = new(pick(rnd, lists))
				}
				r.Register(i, registry.Origin{})
			}
		}
		all := r.Applications()
		for _, name := range []string{"", "a", "b", "c", "d", " b "} {
			for what, got := range map[string]eureka.Applications{"vip": r.VIP(name), "svip": r.SVIP(name)} {
				var want []*eureka.InstanceInfo
				for _, i := range instances(all) {
					list := i.VIPAddress
					if what == "svip" {
						list = i.SecureVIPAddress
					}
					if list != nil && slices.ContainsFunc(strings.Split(*list, ","), func(s string) bool { return strings.TrimSpace(s) == name }) {
						want = append(want, i)
					}
				}
				if !sameInstances(instances(got), want, shared) || got.HashCode != recount(want) {
					t.Fatalf("history %d: %s %q: %d instances, %s; want %d, %s", history, what, name,
						len(instances(got)), got.HashCode, len(want), recount(want))
				}
			}
		}
	}
}
