//go:build simulate

package simulate

import (
	"bytes"
	"runtime"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// rule is a rule of CONVERGENCE.md that is broken on purpose, from outside: in
// what crosses the bus, in what a node is wired to, or by the clock.
type rule uint8

const (
	asWritten rule = iota
	noPipeline
	noAntiEntropy
	noTombstones
	evictionCancels
	expiredTaken
	noGrace
	noAsking
	leaseAsTime
	workOffQueue
	trustFuture
	evictStalled
	noGraceNoAsking
	tombstoneTime
	tombstoneDirty
	oneVersion
)

var ruleNames = [...]string{
	asWritten: "as written", noPipeline: "no pipeline", noAntiEntropy: "no anti-entropy", noTombstones: "no tombstones",
	evictionCancels: "an eviction leaves a tombstone", expiredTaken: "expired entries taken from peers",
	noGrace: "no grace after a start or standstill", noAsking: "no asking before an eviction", leaseAsTime: "a lease as a time of day",
	workOffQueue: "a stopped node works off what queued up", trustFuture: "a timestamp from the future is trusted",
	evictStalled:    "a pass when the process goes on, before it has synced",
	noGraceNoAsking: "neither grace nor asking",
	tombstoneTime:   "a tombstone at the cancel's time refuses an older timestamp",
	tombstoneDirty:  "a tombstone at the cancelled timestamp refuses that one",
	oneVersion:      "one version for the whole instance",
}

func (r rule) String() string { return ruleNames[r] }

// upBefore is by how much the registry's clock lies under noGrace to who asks
// since when the node is up.
func upBefore() time.Duration {
	var pcs [6]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "registry.New") || strings.HasSuffix(f.Function, ".Restarted") {
			return time.Hour
		}
		if !more {
			return 0
		}
	}
}

// onWire is what becomes of a message under a broken rule; nil: it is lost.
func (w *world) onWire(l linkKind, from, to int, body []byte) []byte {
	switch w.rule { //nolint:exhaustive // the other rules break something else
	case noPipeline:
		if l == batchLink {
			return nil
		}
	case noAntiEntropy:
		if l == syncLink && (bytes.Contains(body, []byte(`"sums"`)) || bytes.Contains(body, []byte(`"versions"`))) {
			return nil
		}
	case noTombstones:
		return rewrite(l, body, func(item *eureka.Item) bool { return item.State.Live })
	case expiredTaken:
		return rewrite(l, body, func(item *eureka.Item) bool {
			if item.State.Live {
				item.State.Age = min(item.State.Age, (leaseDuration - time.Second).Milliseconds())
			}
			return true
		})
	case leaseAsTime:
		return rewrite(l, body, func(item *eureka.Item) bool {
			item.State.Age = max(0, item.State.Age+(w.plan.skew[to]-w.plan.skew[from]).Milliseconds())
			return true
		})
	}
	return body
}

// keeps says whether a broken rule has a node leave a registration.
func (p *proc) keeps(key registry.Key, info *eureka.InstanceInfo) bool {
	entry, evicted, ok := p.reg.Entry(key)
	if !ok {
		return false
	}
	switch r, dirty := &entry.Record, info.LastDirtyTimestamp; p.world.rule { //nolint:exhaustive // see above
	case trustFuture:
		return r.Live && !evicted && dirty < r.LastDirty
	case tombstoneTime:
		return !r.Live && dirty <= r.Version
	case tombstoneDirty:
		return !r.Live && dirty <= r.LastDirty
	}
	return false
}

// sealOverride gives the override the record's version, as if there were one for
// both.
func (p *proc) sealOverride(key registry.Key) {
	entry, _, ok := p.reg.Entry(key)
	if !ok {
		return
	}
	entry.Override.Version = entry.Record.Version
	if !entry.Override.Set {
		entry.Override.Status = entry.Record.Base
	}
	p.reg.Join(key, entry, registry.Overridden)
}

// rewrite changes the items of a batch or of an answer to a sync request; false
// takes one out of the answer, and makes a batch a lost one.
func rewrite(l linkKind, body []byte, change func(*eureka.Item) bool) []byte {
	at := bytes.Index(body, []byte(`"replicationList"`))
	if l != batchLink && l != syncAnswer || at < 0 {
		return body
	}
	items, err := eureka.DecodeReplicationList(append([]byte{'{'}, body[at:]...), eureka.ListOptions{NATS: true})
	if err != nil {
		return body
	}
	var out [][]byte
	for i := range items {
		switch {
		case items[i].State == nil || change(&items[i]):
			out = append(out, eureka.AppendItem(nil, &items[i]))
		case l == batchLink:
			return nil
		}
	}
	return append(bytes.Clone(body[:at]), eureka.JoinReplicationList(nil, out)[1:]...)
}
