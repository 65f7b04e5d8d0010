package simulate

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// phase is a client's state in its own view.
type phase uint8

const (
	down phase = iota
	running
	cancelled // it was answered so
)

// client is an instance, over all its restarts, by the rules of Eureka's
// DiscoveryClient. Its goroutine owns what is not atomic.
type client struct {
	world    *world
	id       int
	key      registry.Key
	rng      *rand.Rand
	interval time.Duration // of its renewals, usually
	lease    lease
	off      time.Duration // of its clock
	frozen   bool          // it never moves its timestamp
	adjusted bool          // it has moved it back

	node   int // its server
	gen    int // of its data
	dirty  int64
	status eureka.Status

	phase   phase
	changed time.Time // when phase became what it is
	heard   time.Time // when a server last answered it 200 or 204
	late    time.Time // when a request that it had given up was served
	// overridden is the last override that an operator set; "": there is none, or
	// it is unknown which one is the last.
	overridden   eureka.Status
	overriddenAt time.Time // when the last override, removal or cancel was served

	// apart is when those have retired its former life who knew it when it registered
	// at a node that did not.
	apart    time.Time // guarded by world.mu
	restored time.Time // guarded by world.mu; when a node last loaded a snapshot with a cancel of it
	// forgotten is why no node knows its cancel any more, where that is expected; "" is
	// not, or some node does.
	forgotten string // guarded by world.mu
	lost      bool   // its last acknowledged change was lost in a crash with every node that knew it

	asked   lease         // guarded by world.mu; what it asked for last
	longest time.Duration // guarded by world.mu; the greatest term that a node ever gave it
	fresh   time.Duration // guarded by world.mu; the same, since it registered at a node that did not know it
	renewed time.Time     // guarded by world.mu; when any node last served a request that renews its lease
}

func newClient(w *world, id int) *client {
	rng := rand.New(rand.NewPCG(w.plan.seed, 0x636c0000+uint64(id)))
	c := &client{
		world: w, id: id, key: registry.NewKey(fmt.Sprint("APP", id%2), fmt.Sprint("i", id)), rng: rng,
		interval: 10*time.Second + rand64(rng, 20*time.Second), node: rng.IntN(w.plan.nodes),
	}
	switch rng.IntN(6) {
	case 0:
		c.off = time.Duration((2*rng.Float64() - 1) * float64(time.Hour))
	case 1:
		c.frozen = true
	}
	c.dirty = c.clock()
	c.lease = lease{c.interval, usual}
	c.ask(0)
	return c
}

// ask makes the client ask for a lease of another length from now on, in one of
// n+1 cases.
func (c *client) ask(n int) {
	if c.world.plan.mixed {
		rng := rand.New(rand.NewPCG(c.world.plan.seed, 0x6c650000+uint64(c.id)<<8+uint64(c.gen)))
		if rng.IntN(n+1) == 0 {
			c.lease = drawLease(rng, c.interval)
		}
	}
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.asked = c.lease
}

func (c *client) clock() int64 { return time.Now().Add(c.off).UnixMilli() }

func (c *client) set(p phase) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.phase, c.changed, c.forgotten = p, time.Now(), ""
}

func (c *client) answered() {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.heard = time.Now()
}

// found notes that a node knows the latest of this client.
func (c *client) found() {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.lost = false
}

// over reports whether no more changes may be made.
func (c *client) over() bool { return c.world.since() >= c.world.plan.faults }

// run lives one life after the other.
func (c *client) run() {
	time.Sleep(rand64(c.rng, 20*time.Second))
	for !c.over() {
		c.live()
		if c.over() && c.phase == running {
			return
		}
		switch c.phase {
		case cancelled:
			time.Sleep(300*time.Millisecond + rand64(c.rng, 7700*time.Millisecond))
			if c.world.plan.quits || c.rng.IntN(3) == 0 {
				time.Sleep(rand64(c.rng, 2*time.Minute))
			}
		default:
			time.Sleep(time.Second + rand64(c.rng, 2*time.Minute))
		}
		if c.rng.IntN(8) == 0 || c.world.plan.away && c.rng.IntN(2) == 0 {
			return
		}
		if c.rng.IntN(2) == 0 {
			c.node = c.rng.IntN(c.world.plan.nodes)
		}
	}
}

// live registers, renews, and ends in some way, or continues to the end of the
// run.
func (c *client) live() {
	c.gen++
	c.adjust()
	c.status = [...]eureka.Status{
		eureka.StatusUp, eureka.StatusUp, eureka.StatusUp, eureka.StatusStarting, eureka.StatusOutOfService,
	}[c.rng.IntN(5)]
	c.move()
	c.set(running)
	c.ask(2)
	c.world.logf("i%d starts, gen %d, %s, dirty %d, lease %v", c.id, c.gen, c.status, c.dirty, c.lease)
	c.register()
	for {
		pause := c.lease.interval + rand64(c.rng, min(time.Second, c.lease.interval/4))
		time.Sleep(min(pause, c.world.plan.end()-c.world.since()))
		if c.world.since() > c.world.plan.end()-2*time.Second {
			return
		}
		c.renew()
		if c.over() || c.lease.interval < 5*time.Second && c.rng.IntN(8) > 0 {
			continue
		}
		what := c.rng.IntN(16)
		if c.world.plan.quits && what > 8 {
			what = 0
		}
		switch what {
		case 0, 1:
			c.cancel()
			return
		case 2:
			c.world.logf("i%d crashes", c.id)
			c.set(down)
			return
		case 3, 4:
			c.node = c.rng.IntN(c.world.plan.nodes)
			c.world.logf("i%d moves to n%d", c.id, c.node)
		case 5, 6:
			time.Sleep(2 * exactly) // of its last call
			c.gen++
			c.adjust()
			c.status = [...]eureka.Status{eureka.StatusUp, eureka.StatusDown, eureka.StatusUp}[c.rng.IntN(3)]
			c.move()
			c.ask(2)
			c.world.logf("i%d changes, gen %d, %s, dirty %d, lease %v", c.id, c.gen, c.status, c.dirty, c.lease)
			c.register()
		}
	}
}

// adjust may put a clock right that was ahead.
func (c *client) adjust() {
	if c.off > 0 && c.rng.IntN(3) == 0 {
		c.off, c.dirty, c.adjusted = 0, 0, true
	}
}

// move advances the timestamp, if this client does that.
func (c *client) move() {
	if !c.frozen {
		c.dirty = max(c.clock(), c.dirty+1)
	}
}

// try makes a request at its server, and at the next ones until one answers.
func (c *client) try(what string, do func(*proc) int) int {
	for range c.world.plan.nodes {
		code := c.world.call(c.node, c.key, do)
		c.world.logf("i%d %s at n%d: %d", c.id, what, c.node, code)
		if code == 200 || code == 204 || code == 404 {
			return code
		}
		c.node = (c.node + 1) % c.world.plan.nodes
	}
	return unreachable
}

func (c *client) register() {
	info := &eureka.InstanceInfo{
		InstanceID: &c.key.ID, HostName: c.key.ID, App: c.key.App, IPAddr: "192.0.2.1",
		Status: c.status, OverriddenStatus: eureka.StatusUnknown,
		Port: eureka.Port{Number: 8080, Enabled: true}, SecurePort: eureka.Port{Number: 443}, CountryID: 1,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo: eureka.LeaseInfo{
			RenewalIntervalInSecs: int(c.lease.interval / time.Second), DurationInSecs: int(c.lease.duration / time.Second),
		},
		Metadata:           map[string]string{"gen": fmt.Sprint(c.gen)},
		LastDirtyTimestamp: c.dirty,
	}
	for !c.ended() {
		code := c.try("register", func(p *proc) int {
			own := *info
			p.reg.Register(&own, registry.Origin{})
			c.found()
			return 204
		})
		if code == 204 {
			c.answered()
			return
		}
		time.Sleep(5 * time.Second)
	}
}

func (c *client) ended() bool { return c.world.since() > c.world.plan.end()-2*time.Second }

func (c *client) renew() {
	dirty := c.dirty
	code := c.try("renew", func(p *proc) int { return p.renew(c.key, dirty) })
	switch code {
	case 200:
		c.answered()
	case 404:
		c.move()
		c.register()
	}
}

func (c *client) cancel() {
	code := c.try("cancel", func(p *proc) int {
		code := p.cancel(c.key)
		if code == 200 {
			c.found()
		}
		return code
	})
	if code == 200 {
		c.set(cancelled)
	} else {
		c.set(down)
	}
}
