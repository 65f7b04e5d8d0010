package api

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// reservedFiles are the descriptors that connections leave to the rest of the process:
	// the broker with its clients and routes, the snapshot, the log.
	reservedFiles = 512
	// addressShare is the part of the connections that one address may have by default.
	addressShare = 4
	// fewConnections are so few that one address may have them all.
	fewConnections = 256
	// registerWait bounds how long a registration that was read waits for its turn.
	registerWait = 2 * time.Second
	// DefaultMaxWaitingRegisters is how many registrations wait for their turn.
	DefaultMaxWaitingRegisters = 4 << 10
	// DefaultMaxBodyBytes bounds the bodies that are held at a time, in bytes.
	DefaultMaxBodyBytes = 256 << 20
)

// connectionBound returns how many connections there may be: no more than wanted, and than
// the files that this process may have open leave. files is 0 if there is no bound.
func connectionBound(wanted, files int) int {
	if files <= 0 {
		return wanted
	}
	return max(1, min(wanted, max(files-reservedFiles, files/2)))
}

// perAddress returns how many connections one address may have, of so many in all.
func perAddress(all int) int { return max(1, all/addressShare, min(all, fewConnections)) }

// addressConns counts the connections of each address.
type addressConns struct {
	max     int
	refused atomic.Uint64

	mu     sync.Mutex
	counts map[netip.Addr]int
}

func newAddressConns(limit int) *addressConns {
	return &addressConns{max: limit, counts: map[netip.Addr]int{}}
}

// enter counts a connection of an address, if it may have one more. leave undoes that.
func (a *addressConns) enter(from netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counts[from] >= a.max {
		a.refused.Add(1)
		return false
	}
	a.counts[from]++
	return true
}

func (a *addressConns) leave(from netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counts[from]--; a.counts[from] <= 0 {
		delete(a.counts, from)
	}
}

// addressOf returns the address of a connection's other side; of IPv6 the network of 64
// bits, which one host may have whole.
func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	from := tcp.AddrPort().Addr().Unmap().WithZone("")
	if from.Is6() {
		if prefix, err := from.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return from
}

// turns lets a few registrations be decoded and stored at a time, so that many at once do
// not hold up heartbeats: half of the processors stay free for these. Others wait, a bounded number for a bounded time.
type turns struct {
	slots   chan struct{}
	max     int64
	waiting atomic.Int64
}

func newTurns(waiting int) *turns {
	return &turns{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), max: int64(waiting)}
}

// enter waits for a turn, and reports whether it came. leave ends it.
func (t *turns) enter(ctx context.Context) bool {
	select {
	case t.slots <- struct{}{}:
		return true
	default:
	}
	if t.waiting.Add(1) > t.max {
		t.waiting.Add(-1)
		return false
	}
	defer t.waiting.Add(-1)
	wait := time.NewTimer(registerWait)
	defer wait.Stop()
	select {
	case t.slots <- struct{}{}:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

func (t *turns) leave() { <-t.slots }

// held are the bytes of one body in a budget.
type held struct {
	budget *budget
	bytes  int
}

// grow reports whether the body may have room for n bytes in all.
func (h *held) grow(n int) bool {
	if n <= h.bytes {
		return true
	}
	if !h.budget.take(n - h.bytes) {
		return false
	}
	h.bytes = n
	return true
}

// free gives the bytes back.
func (h *held) free() {
	h.budget.give(h.bytes)
	h.bytes = 0
}
