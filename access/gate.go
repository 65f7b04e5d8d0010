package access

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// maxPerAddress is how many requests of one address wait or are verified: a part of
// DefaultMaxWaiting, so that one address does not take all of it.
const maxPerAddress = 128

// gate bounds what strangers cost: an address is verified one request after the other, and
// is slowed when it fails too often; hashes are computed a few at a time.
type gate struct {
	maxAddresses, maxWaiting int
	slots                    chan struct{} // a place for each hash computed
	waiting                  atomic.Int64

	mu        sync.Mutex
	addresses map[netip.Addr]*address
}

// address is where failed logins come from, or one that is just verified.
type address struct {
	gate  *gate
	turn  chan struct{} // held by the one request that is verified
	users int           // requests that hold or await the turn; guarded by gate.mu
	fails *rate.Limiter // a token for each failure that is free
}

func newGate(o Options) *gate {
	return &gate{
		maxAddresses: o.MaxAddresses, maxWaiting: o.MaxWaiting, slots: make(chan struct{}, o.MaxVerifying),
		addresses: map[netip.Addr]*address{},
	}
}

// addressOf returns the address of host:port; of IPv6 the network of 64 bits, which one
// host may have whole. Where there is none all share one.
func addressOf(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// enter waits for the turn of an address. The verdict is Known when it came.
func (g *gate) enter(ctx context.Context, from netip.Addr) (a *address, v Verdict, after time.Duration) {
	if g.waiting.Add(1) > int64(g.maxWaiting) {
		g.waiting.Add(-1)
		return nil, Busy, time.Second
	}
	defer g.waiting.Add(-1)
	if a = g.use(from); a == nil {
		return nil, Busy, time.Second
	}
	if a.fails.Tokens() < 1 { // no need to wait for that
		defer g.done(a)
		return nil, Slowed, a.slowed()
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		g.done(a)
		return nil, Busy, time.Second
	}
	if a.fails.Tokens() < 1 {
		defer a.leave()
		return nil, Slowed, a.slowed()
	}
	return a, Known, 0
}

// slowed returns the time until the address may fail once more.
func (a *address) slowed() time.Duration {
	return max(0, time.Duration((1-a.fails.Tokens())*float64(failedEvery)))
}

// failed counts a failure.
func (a *address) failed() { a.fails.Allow() }

// leave gives the turn to the next.
func (a *address) leave() {
	<-a.turn
	a.gate.done(a)
}

// compute waits for a place to compute a hash, if one is needed.
func (g *gate) compute(ctx context.Context, needed bool) bool {
	if !needed {
		return true
	}
	select {
	case g.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// computed gives the place of compute back.
func (g *gate) computed(needed bool) {
	if needed {
		<-g.slots
	}
}

// use returns what is known of an address, for one request more; nil if it has too many.
func (g *gate) use(from netip.Addr) *address {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.addresses[from]
	if a == nil {
		if len(g.addresses) >= g.maxAddresses {
			g.forget()
		}
		a = &address{gate: g, turn: make(chan struct{}, 1)}
		a.fails = rate.NewLimiter(rate.Every(failedEvery), failedBurst)
		g.addresses[from] = a
	}
	if a.users >= maxPerAddress {
		return nil
	}
	a.users++
	return a
}

func (g *gate) done(a *address) {
	g.mu.Lock()
	a.users--
	g.mu.Unlock()
}

// forget makes room: it drops the addresses whose failures are past, else any one that is
// not just verified.
func (g *gate) forget() {
	dropped := false
	var any netip.Addr
	for from, a := range g.addresses {
		switch {
		case a.users > 0:
		case a.fails.Tokens() >= failedBurst:
			delete(g.addresses, from)
			dropped = true
		default:
			any = from
		}
	}
	if !dropped {
		delete(g.addresses, any)
	}
}

func (g *gate) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.addresses)
}
