package api

import (
	"cmp"
	"hash/maphash"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const (
	// maxFetchers bounds the clients that are remembered with what they read. Beyond it one
	// that has not come for long is forgotten, and counted.
	maxFetchers = 20_000
	// fetcherShards are the parts of the table, each with its own lock.
	fetcherShards = 16
	// firstInterval is taken for the interval of a client that came once; Eureka's
	// registryFetchIntervalSeconds.
	firstInterval = 30 * time.Second
	// minInterval and maxInterval bound what is taken for a client's interval.
	minInterval = time.Second
	maxInterval = 10 * time.Minute
	// recentIntervals is for how many of its intervals a client counts as one that reads.
	recentIntervals = 3
	// maxIdentity bounds each text that tells clients apart, in bytes.
	maxIdentity = 200
	// maxFetched bounds the name of what a client fetches: the longest is an application and an id.
	maxFetched = 2*registry.MaxName + 1
)

// reads is what a client fetches.
type reads uint8

const (
	readsAll reads = iota // full lists and deltas
	readsApp
	readsVIP
	readsSVIP
	readsInstance
	readsID
	watchesAll // by /v1/watch: how far is a sequence number
	watchesApp
)

func (r reads) String() string {
	return [...]string{"all", "application", "vip", "svip", "instance", "instance-id", "watch", "watch"}[r]
}

// watches reports whether how far a client is, is a sequence number of the history, and not a
// generation of the registry.
func (r reads) watches() bool { return r == watchesAll || r == watchesApp }

// fetcher is one client with one thing that it fetches.
type fetcher struct {
	client   identity
	reads    reads
	of       string // the application, vip or id
	last     time.Time
	interval time.Duration // between its last fetches; 0: it came once
	upTo     uint64        // the generation, or the sequence number, that it has been served
}

// identity is what tells clients apart: where they ask from, and what they say they are.
type identity struct{ address, name, version, id, agent string }

// fetchers are the clients that have fetched lately. A fetch costs two hashes and a look into
// a map.
type fetchers struct {
	seed   maphash.Seed
	shards [fetcherShards]struct {
		sync.Mutex
		known map[uint64]*fetcher
	}
	size      atomic.Int64
	forgotten prometheus.Counter
}

func newFetchers() *fetchers {
	return &fetchers{seed: maphash.MakeSeed(), forgotten: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "registryd_api_forgotten_fetchers_total",
		Help: "Clients that have fetched and are forgotten because there are too many; a drain does not wait for them.",
	})}
}

func (f *fetchers) gauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "registryd_api_fetchers",
		Help: "Clients remembered with what they fetch, each as often as that is several things.",
	}, func() float64 { return float64(f.size.Load()) })
}

// The headers by which Eureka's clients say who they are.
const (
	identityName    = "Discoveryidentity-Name"
	identityVersion = "Discoveryidentity-Version"
	identityID      = "Discoveryidentity-Id"
)

// identify returns who asks, with texts of the request, and the key of that with what is
// fetched.
func (f *fetchers) identify(r *http.Request, what reads, of string) (who identity, key uint64) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || what.watches() { // each watcher by itself
		host = r.RemoteAddr
	}
	first := func(name string) string {
		if v := r.Header[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	who = identity{
		address: host, name: first(identityName), version: first(identityVersion), id: first(identityID),
		agent: first("User-Agent"),
	}
	var h maphash.Hash
	h.SetSeed(f.seed)
	for _, s := range [...]string{who.address, who.name, who.version, who.id, who.agent, of} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	h.WriteByte(byte(what))
	return who, h.Sum64()
}

// ToolAgent begins the User-Agent of this program's own commands, which look at lists and
// send no requests to instances. A drain does not wait for them.
const ToolAgent = "registryd "

// isTool reports whether one of this program's commands asks.
func isTool(r *http.Request) bool {
	agent := r.Header["User-Agent"]
	return len(agent) > 0 && strings.HasPrefix(agent[0], ToolAgent)
}

// served notes that a client has been served what it asked for, as of a generation, or a
// sequence number. The whole answer was written.
func (f *fetchers) served(r *http.Request, what reads, of string, upTo uint64) {
	if isTool(r) {
		return
	}
	who, key := f.identify(r, what, of)
	now := time.Now()
	shard := &f.shards[key%fetcherShards]
	shard.Lock()
	defer shard.Unlock()
	if known := shard.known[key]; known != nil {
		known.came(now)
		known.upTo = max(known.upTo, upTo)
		return
	}
	if shard.known == nil {
		shard.known = make(map[uint64]*fetcher)
	}
	if len(shard.known) >= maxFetchers/fetcherShards {
		f.forget(shard.known)
	}
	shard.known[key] = &fetcher{
		client: identity{kept(who.address), kept(who.name), kept(who.version), kept(who.id), kept(who.agent)},
		reads:  what, of: strings.Clone(of[:min(len(of), maxFetched)]), last: now, upTo: upTo,
	}
	f.size.Add(1)
}

// gone forgets a watcher that has ended.
func (f *fetchers) gone(r *http.Request, what reads, of string) {
	_, key := f.identify(r, what, of)
	shard := &f.shards[key%fetcherShards]
	shard.Lock()
	defer shard.Unlock()
	if shard.known[key] != nil {
		delete(shard.known, key)
		f.size.Add(-1)
	}
}

// kept is a text of a request that outlives it, cut.
func kept(s string) string { return strings.Clone(s[:min(len(s), maxIdentity)]) }

// came brings the interval up to date. A retry at once is no interval.
func (f *fetcher) came(now time.Time) {
	if gap := now.Sub(f.last); gap >= minInterval {
		f.interval = min(gap, maxInterval)
	}
	f.last = now
}

// reading reports whether a client still seems to come, and after how long it does so.
func (f *fetcher) reading(now time.Time) (bool, time.Duration) {
	if f.interval == 0 { // it may never come again: somebody with curl
		return now.Sub(f.last) < firstInterval*3/2, firstInterval
	}
	return now.Sub(f.last) < recentIntervals*f.interval, f.interval
}

// forget makes room: of some that are there, the one that has not come for longest goes. The
// shard's lock is held.
func (f *fetchers) forget(known map[uint64]*fetcher) {
	var oldest uint64
	var last time.Time
	looked := 0
	for key, one := range known { // in an order that Go draws
		if looked == 0 || one.last.Before(last) {
			oldest, last = key, one.last
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(known, oldest)
	f.size.Add(-1)
	f.forgotten.Inc()
}

// sweep forgets who does not come any more.
func (f *fetchers) sweep(now time.Time) {
	for i := range f.shards {
		shard := &f.shards[i]
		shard.Lock()
		for key, one := range shard.known {
			if reading, _ := one.reading(now); !reading {
				delete(shard.known, key)
				f.size.Add(-1)
			}
		}
		shard.Unlock()
	}
}

// of returns copies of those who fetch something that an instance is in, and come still.
func (f *fetchers) of(i *eureka.InstanceInfo, key registry.Key, now time.Time) []fetcher {
	var out []fetcher
	for n := range f.shards {
		shard := &f.shards[n]
		shard.Lock()
		for _, one := range shard.known {
			if reading, _ := one.reading(now); reading && one.sees(i, key) {
				out = append(out, *one)
			}
		}
		shard.Unlock()
	}
	slices.SortFunc(out, func(a, b fetcher) int {
		return cmp.Or(cmp.Compare(a.client.address, b.client.address), cmp.Compare(a.client.id, b.client.id),
			cmp.Compare(a.client.name, b.client.name), cmp.Compare(a.reads, b.reads))
	})
	return out
}

// sees reports whether what a client fetches has the instance in it.
func (f *fetcher) sees(i *eureka.InstanceInfo, key registry.Key) bool {
	switch f.reads {
	case readsAll, watchesAll:
		return true
	case readsApp, watchesApp:
		return f.of == key.App
	case readsInstance:
		return f.of == key.App+"/"+key.ID
	case readsID:
		return f.of == key.ID
	case readsVIP:
		return hasName(i.VIPAddress, f.of)
	case readsSVIP:
		return hasName(i.SecureVIPAddress, f.of)
	}
	return false
}

// hasName reports whether a list of vips has one, in any case.
func hasName(list *string, vip string) bool {
	if list == nil {
		return false
	}
	for one := range strings.SplitSeq(*list, ",") {
		if strings.EqualFold(strings.TrimSpace(one), vip) {
			return true
		}
	}
	return false
}
