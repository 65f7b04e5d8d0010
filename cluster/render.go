package cluster

import (
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Items are rendered one behind the other into pages, since most are heartbeats: a fifth of
// what one with an instance takes. A page has room for a few of the latter.
const (
	pageSize = 16 << 10
	itemRoom = 1536 // an item that is usually no longer, with its instance
)

// page is the memory of the items that are rendered next. It belongs to the goroutine that
// cuts batches; what it returned stays as it is.
type page struct{ room []byte }

// append returns the bytes of an item.
func (p *page) append(item *eureka.Item) []byte {
	if cap(p.room)-len(p.room) < itemRoom {
		p.room = make([]byte, 0, pageSize)
	}
	from := len(p.room)
	p.room = eureka.AppendItem(p.room, item)
	return p.room[from:len(p.room):len(p.room)]
}

// render makes a slot's item from what the registry holds now: the table "slot
// at cut time" of docs/convergence.md, for a NATS peer exactly one item.
func (p nodePeer) render(key registry.Key, bits registry.Bits, wait time.Duration) (acceptor.Task, acceptor.Reason) {
	entry, evicted, ok := p.cluster.reg.Entry(key)
	if !ok || evicted {
		return acceptor.Task{}, acceptor.Evicted
	}
	rec, override := &entry.Record, &entry.Override
	item := entry.Item(key, wait) // whole: a Register or a Cancel
	switch {
	case !rec.Live || bits&(registry.Registered|registry.Cancelled) != 0:
	case bits&registry.Overridden != 0:
		item.Action = eureka.ActionDeleteStatusOverride
		if override.Set {
			item.Action = eureka.ActionStatusUpdate
		}
		item.Status, item.InstanceInfo = override.Status, nil
	default:
		// The age of the slot does not matter: the lease may have been renewed a
		// moment ago, and it carries its own age.
		if entry.Age > rec.Term() {
			return acceptor.Task{}, acceptor.Expired
		}
		item.Action, item.InstanceInfo = eureka.ActionHeartbeat, nil
		if override.Set {
			item.OverriddenStatus = override.Status
		}
	}
	return acceptor.Task{Body: p.page.append(&item), Action: string(item.Action)}, ""
}
