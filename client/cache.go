package client

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Defaults of [CacheOptions].
const (
	// DefaultPollInterval is that of Eureka's clients (registryFetchIntervalSeconds).
	DefaultPollInterval = 30 * time.Second
	// DefaultWatchSilence is twice the time after which a node says something to a watcher.
	DefaultWatchSilence = 30 * time.Second
)

const (
	// watchAgain is how long a cache polls before it looks again whether there is a server that
	// can be watched.
	watchAgain = 5 * time.Minute
	// watchDelay is how long a cache waits before it watches again after a stream that has ended.
	// It doubles up to the poll interval.
	watchDelay = time.Second
)

// CacheOptions are the choices of a [Cache]. A zero field means its default.
type CacheOptions struct {
	// PollInterval is the time between two deltas, where changes are not watched. Default 30 s.
	PollInterval time.Duration
	// WatchSilence is how long a stream may be silent before it counts as dead. Default 30 s.
	WatchSilence time.Duration
	// NoWatch polls deltas of every server, as Eureka's clients do. Instances of other regions
	// are in deltas, and not in what is watched.
	NoWatch bool
	// Logger gets a line when the cache is loaded, when the servers can't be reached, when they
	// can again, and when a list had to be loaded again. Default: none.
	Logger *slog.Logger
}

func (o CacheOptions) withDefaults() (CacheOptions, error) {
	o.PollInterval = cmp.Or(o.PollInterval, DefaultPollInterval)
	o.WatchSilence = cmp.Or(o.WatchSilence, DefaultWatchSilence)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(positive("PollInterval", o.PollInterval), positive("WatchSilence", o.WatchSilence))
}

// CacheStats says what a [Cache] has done so far.
type CacheStats struct {
	Watching   bool          // a stream is open; else deltas are polled
	Age        time.Duration // since a server was last heard; since the start, if none was
	Instances  int
	Loads      uint64 // whole lists that were taken
	Changes    uint64 // instances put or removed, beside those of whole lists
	Mismatches uint64 // deltas after which the hash code was not that of the server
	Failures   uint64 // calls that no server answered, and streams that broke
}

// Cache is a copy of what the servers list, in memory, which follows their changes. See
// [Cache.Run]. All other methods may be called from any goroutine, also before Run and after it:
// they answer from memory, and never wait for a server.
type Cache struct {
	client *Client
	opts   CacheOptions
	log    *slog.Logger

	started atomic.Bool
	ready   chan struct{} // closed with the first list

	loads, changes, mismatches, failures atomic.Uint64
	watching                             atomic.Bool
	heard                                atomic.Int64 // Unix ms

	mu      sync.RWMutex                      // guards what follows; no call is made under it
	apps    map[string][]*eureka.InstanceInfo // written by the goroutine of Run alone
	count   int
	waiting map[string]chan struct{} // by application, "": any

	// Owned by the goroutine of Run.
	counts  eureka.StatusCounts
	lastID  string // of the last event of the stream
	failing bool
}

// NewCache returns an empty cache of what the servers of a client list. It makes no request. The
// error names each option that is out of bounds.
func NewCache(c *Client, opts CacheOptions) (*Cache, error) {
	opts, err := opts.withDefaults()
	if c == nil {
		err = errors.Join(errors.New("client: the client is nil"), err)
	}
	if err != nil {
		return nil, err
	}
	cache := &Cache{
		client: c, opts: opts, log: opts.Logger.With("component", "client"),
		ready: make(chan struct{}), apps: map[string][]*eureka.InstanceInfo{}, waiting: map[string]chan struct{}{},
	}
	cache.heard.Store(time.Now().UnixMilli())
	return cache, nil
}

// Run follows the servers until ctx ends, and returns nil then. It may be called once, and starts
// nothing that outlives it.
//
// It watches the first server that can be watched: GET /v1/watch of a registryd node, which sends
// the list and then each change within some 20 ms. Where there is none, as with Java servers, it
// loads the list once and polls deltas, and loads the list again when the hash code of the server
// is not that of the copy. It goes on with another server when one fails, and keeps what it has
// while none answers.
func (c *Cache) Run(ctx context.Context) error {
	if c.started.Swap(true) {
		return errors.New("client: the cache has been run already")
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	delay, polling := watchDelay, time.Time{} // since when there is nothing to watch
	for ctx.Err() == nil {
		wait := c.opts.PollInterval
		if c.opts.NoWatch || !polling.IsZero() && time.Since(polling) < watchAgain {
			c.called(ctx, c.poll(ctx))
		} else {
			began := time.Now()
			took, err := c.watch(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, errNoWatch):
				polling = time.Now()
				c.called(ctx, c.poll(ctx))
			default:
				polling = time.Time{}
				if took {
					c.failed(ctx, err)
				} else { // full, or not ready: a list may be had all the same
					c.called(ctx, c.poll(ctx))
				}
				if time.Since(began) > c.opts.PollInterval {
					delay = watchDelay
				}
				wait = min(delay, c.opts.PollInterval)
				delay = min(2*delay, c.opts.PollInterval)
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// called notes how a call ended.
func (c *Cache) called(ctx context.Context, err error) {
	if err != nil {
		c.failed(ctx, err)
	}
}

// Ready is closed when the cache has a list for the first time.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// Instances returns the instances of an application, spelled in any case, whatever their status,
// by id. Nobody may change them, or the slice.
func (c *Cache) Instances(app string) []*eureka.InstanceInfo {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.apps[eureka.Upper(app)]
}

// Up returns the instances of an application that are UP, by id. Nobody may change them.
func (c *Cache) Up(app string) []*eureka.InstanceInfo {
	var out []*eureka.InstanceInfo
	for _, i := range c.Instances(app) {
		if i.Status == eureka.StatusUp {
			out = append(out, i)
		}
	}
	return out
}

// Applications returns the names of all applications, sorted.
func (c *Cache) Applications() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]string, 0, len(c.apps))
	for name := range c.apps {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Changed returns a channel that is closed with the next change of an application, or of any if
// app is empty. Take it before you read, so that you miss nothing:
//
//	for {
//		changed := cache.Changed("ORDERS")
//		use(cache.Up("ORDERS"))
//		<-changed
//	}
func (c *Cache) Changed(app string) <-chan struct{} {
	app = eureka.Upper(app)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[app] == nil {
		c.waiting[app] = make(chan struct{})
	}
	return c.waiting[app]
}

// Stats says what the cache has done so far.
func (c *Cache) Stats() CacheStats {
	c.mu.RLock()
	count := c.count
	c.mu.RUnlock()
	return CacheStats{
		Watching: c.watching.Load(), Age: max(0, time.Since(time.UnixMilli(c.heard.Load()))), Instances: count,
		Loads: c.loads.Load(), Changes: c.changes.Load(), Mismatches: c.mismatches.Load(), Failures: c.failures.Load(),
	}
}

// poll takes the next delta, or the whole list.
func (c *Cache) poll(ctx context.Context) error {
	if c.loads.Load() == 0 {
		return c.load(ctx)
	}
	delta, err := c.client.Delta(ctx)
	switch refusal, answered := errors.AsType[*StatusError](err); {
	case answered && (refusal.Code == 403 || refusal.Code == 404): // a server with deltas switched off
		return c.load(ctx)
	case err != nil:
		return err
	}
	c.succeeded()
	c.apply(delta)
	ours := c.counts.HashCode()
	if ours == delta.HashCode {
		return nil
	}
	c.mismatches.Add(1)
	c.log.Info("hash code differs, loading the list", "theirs", delta.HashCode, "ours", ours)
	return c.load(ctx)
}

// load takes the whole list.
func (c *Cache) load(ctx context.Context) error {
	apps, err := c.client.Applications(ctx)
	if err != nil {
		return err
	}
	c.replace(apps)
	c.succeeded()
	return nil
}

// replace takes a whole list.
func (c *Cache) replace(list eureka.Applications) {
	apps, count := map[string][]*eureka.InstanceInfo{}, 0
	for _, app := range list.Applications {
		if len(app.Instances) == 0 {
			continue
		}
		all := slices.Clone(app.Instances)
		slices.SortFunc(all, byID)
		apps[eureka.Upper(app.Name)] = all
		count += len(all)
	}
	c.counts = list.StatusCounts()
	c.mu.Lock()
	c.apps, c.count = apps, count
	for _, waiting := range c.waiting {
		close(waiting)
	}
	clear(c.waiting)
	c.mu.Unlock()
	if c.loads.Add(1) == 1 {
		close(c.ready)
		c.log.Info("loaded", "applications", len(apps), "instances", count)
	}
}

func byID(a, b *eureka.InstanceInfo) int { return strings.Compare(a.ID(), b.ID()) }

// apply takes a delta.
func (c *Cache) apply(delta eureka.Applications) {
	for _, app := range delta.Applications {
		for _, i := range app.Instances {
			if i.ActionType == eureka.Deleted {
				c.remove(app.Name, i.ID())
			} else {
				c.put(app.Name, i)
			}
		}
	}
}

// put adds an instance, or puts it in another's place. Slices are replaced, never changed:
// readers have them.
func (c *Cache) put(app string, i *eureka.InstanceInfo) {
	app = eureka.Upper(app)
	old := c.apps[app]
	at, found := slices.BinarySearchFunc(old, i, byID)
	switch {
	case !found:
		c.changed(app, slices.Insert(slices.Clone(old), at, i), +1)
	case !same(old[at], i): // deltas tell again what is known already
		c.counts.Remove(old[at].Status)
		next := slices.Clone(old)
		next[at] = i
		c.changed(app, next, 0)
	default:
		return
	}
	c.counts.Add(i.Status)
}

// same reports whether a reader would see no difference, but for the lease's times. Timestamps
// don't tell: they count milliseconds, and a server may change an instance twice within one.
func same(a, b *eureka.InstanceInfo) bool {
	x, y := *a, *b
	x.ActionType, x.LeaseInfo = "", lasting(x.LeaseInfo)
	y.ActionType, y.LeaseInfo = "", lasting(y.LeaseInfo)
	return x.LastUpdatedTimestamp == y.LastUpdatedTimestamp && reflect.DeepEqual(x, y)
}

// lasting leaves out what heartbeats change.
func lasting(l eureka.LeaseInfo) eureka.LeaseInfo {
	return eureka.LeaseInfo{RenewalIntervalInSecs: l.RenewalIntervalInSecs, DurationInSecs: l.DurationInSecs}
}

// remove takes an instance out.
func (c *Cache) remove(app, id string) {
	app = eureka.Upper(app)
	old := c.apps[app]
	at, found := slices.BinarySearchFunc(old, id, func(i *eureka.InstanceInfo, id string) int {
		return strings.Compare(i.ID(), id)
	})
	if found {
		c.counts.Remove(old[at].Status)
		c.changed(app, slices.Delete(slices.Clone(old), at, at+1), -1)
	}
}

// changed puts next in the place of an application's instances, and wakes who waits.
func (c *Cache) changed(app string, next []*eureka.InstanceInfo, more int) {
	c.changes.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += more
	if len(next) == 0 {
		delete(c.apps, app)
	} else {
		c.apps[app] = next
	}
	for _, name := range []string{app, ""} {
		if waiting := c.waiting[name]; waiting != nil {
			close(waiting)
			delete(c.waiting, name)
		}
	}
}

// failed counts a failure, unless it comes of the end, and tells the first of a row.
func (c *Cache) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.failures.Add(1)
	if !c.failing {
		c.failing = true
		c.log.Warn("a call failed, the copy stays as it is", "err", err)
	}
}

func (c *Cache) succeeded() {
	c.heard.Store(time.Now().UnixMilli())
	if c.failing {
		c.failing = false
		c.log.Info("calls succeed again", "failures", c.failures.Load())
	}
}
