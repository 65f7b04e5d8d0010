package page

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// maxAge lets parts of the list be as old as they are: only what changed is made anew.
// The times of renewals come from elsewhere.
const maxAge = 365 * 24 * time.Hour

// maxZones bounds the zones that can be chosen.
const maxZones = 50

// list is the registry's list in the order that people want: troubled instances first,
// then natural order by application and id. A look at the registry costs what changed
// since the one before, and a few nanoseconds for each 64 instances.
type list struct {
	reg *registry.Registry

	mu         sync.Mutex
	generation uint64
	parts      map[*registry.Part]struct{}
	all        []*eureka.InstanceInfo // in natural order
	troubled   []*eureka.InstanceInfo // of these, those whose status is not UP
	statuses   map[eureka.Status]int
	zones      map[string]int
	apps       map[string]int
	overdue    map[registry.Key]struct{}
	lateTotal  int
	lateApps   int
	counted    uint64 // how often overdue was counted
	found      map[query]*finding
}

// finding is what a query found: the troubled ones, and all of them, the troubled ones
// too. Both are in natural order.
type finding struct {
	generation, counted uint64
	troubled, all       []*eureka.InstanceInfo
	isTroubled          map[*eureka.InstanceInfo]struct{} // nil: all was not asked for
}

// len returns how many instances were found.
func (f *finding) len() int {
	if f.isTroubled == nil {
		return len(f.troubled)
	}
	return len(f.all)
}

// shown returns the instances from a place on, at most size.
func (f *finding) shown(from, size int) []*eureka.InstanceInfo {
	out := make([]*eureka.InstanceInfo, 0, size)
	if from < len(f.troubled) {
		out = append(out, f.troubled[from:min(len(f.troubled), from+size)]...)
	}
	skip := max(0, from-len(f.troubled))
	for _, i := range f.all {
		if len(out) == size {
			break
		}
		if _, is := f.isTroubled[i]; is {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		out = append(out, i)
	}
	return out
}

// query is what a reader wants to see of the list. The zero value is all of it.
type query struct {
	Text    string        // in any of what describes an instance, in any case
	App     string        // upper case
	Status  eureka.Status // or trouble
	Zone    string
	Trouble bool // troubled ones alone
}

// isAll reports whether every instance fits.
func (q query) isAll() bool { return q == query{} }

func newList(reg *registry.Registry) *list {
	l := &list{reg: reg}
	l.reset()
	return l
}

// reset forgets everything. mu is held, or nobody else knows l yet.
func (l *list) reset() {
	l.generation, l.counted = 0, 0
	l.parts = map[*registry.Part]struct{}{}
	l.all, l.troubled = nil, nil
	l.statuses, l.zones, l.apps = map[eureka.Status]int{}, map[string]int{}, map[string]int{}
	l.overdue, l.found = map[registry.Key]struct{}{}, map[query]*finding{}
	l.lateTotal, l.lateApps = 0, 0
}

// forget frees the memory of a list that nobody looks at.
func (l *list) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reset()
}

// refresh brings the list up to date. mu is held.
func (l *list) refresh() {
	if l.generation != 0 && l.generation == l.reg.Generation() {
		return
	}
	now := l.reg.List(maxAge)
	parts := make(map[*registry.Part]struct{}, len(now.Parts))
	var made []*registry.Part
	for _, p := range now.Parts {
		if _, known := l.parts[p]; !known {
			made = append(made, p)
		}
		parts[p] = struct{}{}
	}
	gone := map[*eureka.InstanceInfo]struct{}{}
	for p := range l.parts {
		if _, stays := parts[p]; !stays {
			for i := range p.Views() {
				gone[i] = struct{}{}
			}
		}
	}
	var come []*eureka.InstanceInfo
	for _, p := range made {
		for i := range p.Views() {
			if _, stays := gone[i]; stays {
				delete(gone, i)
				continue
			}
			come = append(come, i)
		}
	}
	for i := range gone {
		l.count(i, -1)
		if key := keyOf(i); len(l.overdue) > 0 {
			if _, was := l.overdue[key]; was { // until they are counted again
				delete(l.overdue, key)
				l.lateTotal--
				l.counted++
			}
		}
	}
	for _, i := range come {
		l.count(i, 1)
	}
	l.all = replace(l.all, gone, come)
	notUp := func(i *eureka.InstanceInfo) bool { return i.Status != eureka.StatusUp }
	l.troubled = replace(l.troubled, gone, filter(come, notUp))
	l.parts, l.generation = parts, now.Generation
}

// count adds an instance to the sums, or takes it out. mu is held.
func (l *list) count(i *eureka.InstanceInfo, by int) {
	add(l.statuses, i.Status, by)
	add(l.zones, zoneOf(i), by)
	add(l.apps, i.App, by)
}

func add[K comparable](sums map[K]int, key K, by int) {
	if sums[key] += by; sums[key] == 0 {
		delete(sums, key)
	}
}

// replace returns a sorted list without what is gone and with what has come. Few changes
// in a long list cost a search each, many cost one pass.
func replace(
	all []*eureka.InstanceInfo, gone map[*eureka.InstanceInfo]struct{}, come []*eureka.InstanceInfo,
) []*eureka.InstanceInfo {
	const few = 32
	if len(gone)+len(come) <= few {
		for i := range gone {
			at, _ := slices.BinarySearchFunc(all, i, natural)
			for ; at < len(all) && natural(all[at], i) == 0; at++ {
				if all[at] == i {
					all = slices.Delete(all, at, at+1)
					break
				}
			}
		}
		for _, i := range come {
			at, _ := slices.BinarySearchFunc(all, i, natural)
			all = slices.Insert(all, at, i)
		}
		return all
	}
	slices.SortFunc(come, natural)
	out := make([]*eureka.InstanceInfo, 0, len(all)+len(come))
	for _, i := range all {
		if _, leaves := gone[i]; leaves {
			continue
		}
		for len(come) > 0 && natural(come[0], i) < 0 {
			out, come = append(out, come[0]), come[1:]
		}
		out = append(out, i)
	}
	return append(out, come...)
}

func filter(all []*eureka.InstanceInfo, keep func(*eureka.InstanceInfo) bool) []*eureka.InstanceInfo {
	var out []*eureka.InstanceInfo
	for _, i := range all {
		if keep(i) {
			out = append(out, i)
		}
	}
	return out
}

// maxOverdue bounds the overdue instances that are put in front. Others are shown as
// overdue where they stand.
const maxOverdue = 1000

// countOverdue looks for leases that are over. It costs a pass over all instances.
func (l *list) countOverdue() {
	overdue, total := l.reg.Overdue(maxOverdue)
	keys := make(map[registry.Key]struct{}, len(overdue))
	apps := map[string]struct{}{}
	for _, o := range overdue {
		keys[o.Key] = struct{}{}
		apps[o.Key.App] = struct{}{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
	l.lateTotal, l.lateApps = total, len(apps)
	same := len(keys) == len(l.overdue)
	for k := range keys {
		_, known := l.overdue[k]
		same = same && known
	}
	if same {
		return
	}
	l.overdue = keys
	l.counted++
}

// lates returns overdue instances whose status is UP. mu is held.
func (l *list) lates() []*eureka.InstanceInfo {
	if len(l.overdue) == 0 {
		return nil
	}
	var out []*eureka.InstanceInfo
	for key := range l.overdue {
		at, is := slices.BinarySearchFunc(l.all, key, func(i *eureka.InstanceInfo, key registry.Key) int {
			return cmp.Or(compareNatural(i.App, key.App), compareNatural(i.ID(), key.ID))
		})
		if is && l.all[at].Status == eureka.StatusUp {
			out = append(out, l.all[at])
		}
	}
	return out
}

// totals are the sums of the whole list.
type totals struct {
	Instances, Troubled int
	Late, LateApps      int // whose lease is over; of how many applications
	Apps                int
	Statuses            []statusCount
	Zones               []string
}

type statusCount struct {
	Status eureka.Status
	Count  int
}

// Words is the status as people say it.
func (s statusCount) Words() string { return statusWords(s.Status) }

// cut is a page of what a query found.
type cut struct {
	Found    int // on all pages
	Troubled int // of these, the first ones
	From     int // of the first one here, from 0
	Shown    []*eureka.InstanceInfo
}

// sums returns the sums, up to date.
func (l *list) sums() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
	t := totals{
		Instances: len(l.all), Troubled: len(l.troubled), Late: l.lateTotal, LateApps: l.lateApps, Apps: len(l.apps),
	}
	for s, n := range l.statuses {
		t.Statuses = append(t.Statuses, statusCount{s, n})
	}
	slices.SortFunc(t.Statuses, func(a, b statusCount) int {
		return cmp.Or(cmp.Compare(rank(a.Status), rank(b.Status)), strings.Compare(string(a.Status), string(b.Status)))
	})
	for z := range l.zones {
		if z != "" {
			t.Zones = append(t.Zones, z)
		}
	}
	slices.SortFunc(t.Zones, compareNatural)
	t.Zones = t.Zones[:min(len(t.Zones), maxZones)]
	return t
}

// size returns how many instances an application has.
func (l *list) size(app string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apps[app]
}

// find returns size instances that fit q, from the page'th page on, counted from 0. A page
// that is not there is the last one.
func (l *list) find(q query, page, size int) cut {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
	f := l.search(q)
	c := cut{Found: f.len(), Troubled: len(f.troubled)}
	last := max(0, (c.Found-1)/size)
	c.From = min(max(0, page), last) * size
	c.Shown = f.shown(c.From, size)
	return c
}

// maxFound bounds the queries whose findings are kept.
const maxFound = 64

// search returns what fits q. Readers of one query share its result until something
// changes. mu is held.
func (l *list) search(q query) *finding {
	if f := l.found[q]; f != nil && f.generation == l.generation && f.counted == l.counted {
		return f
	}
	f := &finding{generation: l.generation, counted: l.counted}
	f.troubled = filter(slices.Concat(l.troubled, l.lates()), q.fits)
	slices.SortFunc(f.troubled, natural)
	if !q.Trouble {
		f.isTroubled = make(map[*eureka.InstanceInfo]struct{}, len(f.troubled))
		for _, i := range f.troubled {
			f.isTroubled[i] = struct{}{}
		}
		f.all = l.all // as long as the generation stands
		if !q.isAll() {
			f.all = filter(l.all, q.fits)
		}
	}
	if len(l.found) >= maxFound {
		clear(l.found)
	}
	l.found[q] = f
	return f
}

// fits reports whether an instance is wanted.
func (q query) fits(i *eureka.InstanceInfo) bool {
	switch {
	case q.App != "" && i.App != q.App,
		q.Status != "" && i.Status != q.Status,
		q.Zone != "" && zoneOf(i) != q.Zone:
		return false
	case q.Text == "":
		return true
	}
	for word := range strings.FieldsSeq(q.Text) {
		if !mentions(i, word) {
			return false
		}
	}
	return true
}

func mentions(i *eureka.InstanceInfo, word string) bool {
	for _, text := range []string{i.App, i.ID(), i.HostName, i.IPAddr, string(i.Status), zoneOf(i)} {
		if containsFold(text, word) {
			return true
		}
	}
	if i.VIPAddress != nil && containsFold(*i.VIPAddress, word) {
		return true
	}
	for name, value := range i.Metadata {
		if containsFold(value, word) || containsFold(name, word) {
			return true
		}
	}
	return false
}

// containsFold reports whether text has word in it, in any case.
func containsFold(text, word string) bool {
	if word == "" {
		return true
	}
	for n := 0; n+len(word) <= len(text); n++ {
		if strings.EqualFold(text[n:n+len(word)], word) {
			return true
		}
	}
	return false
}

// keyOf returns the key of an instance in a list.
func keyOf(i *eureka.InstanceInfo) registry.Key { return registry.NewKey(i.App, i.ID()) }

// zoneOf returns the zone of an instance as Spring's and Netflix's clients read it; "" if
// it has none.
func zoneOf(i *eureka.InstanceInfo) string {
	return cmp.Or(i.Metadata["zone"], i.DataCenterInfo.Metadata["availability-zone"])
}

// rank orders statuses: those that need a look first.
func rank(s eureka.Status) int {
	switch s {
	case eureka.StatusDown:
		return 0
	case eureka.StatusOutOfService:
		return 1
	case eureka.StatusStarting:
		return 2
	case eureka.StatusUp:
		return 4
	default:
		return 3
	}
}

// natural orders by application and id, numbers in them by their value.
func natural(a, b *eureka.InstanceInfo) int {
	if c := compareNatural(a.App, b.App); c != 0 {
		return c
	}
	return compareNatural(a.ID(), b.ID())
}

// compareNatural compares texts. Runs of digits count as numbers, so demo-3 comes before
// demo-28.
func compareNatural(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if isDigit(a[i]) && isDigit(b[j]) {
			m, n := i, j
			for i < len(a) && isDigit(a[i]) {
				i++
			}
			for j < len(b) && isDigit(b[j]) {
				j++
			}
			x, y := strings.TrimLeft(a[m:i], "0"), strings.TrimLeft(b[n:j], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		if a[i] != b[j] {
			return cmp.Compare(a[i], b[j])
		}
		i, j = i+1, j+1
	}
	return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), strings.Compare(a, b))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// stamp changes with what readers see of the list.
func (l *list) stamp() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reg.Generation()<<16 | l.counted&0xffff
}
