package cluster

import (
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// itemRoom is the size of a usual item with its instance, in bytes. It is the
// initial capacity of the buffer.
const itemRoom = 1536

// render makes a slot's item from what the registry holds now: the table "slot
// at cut time" of docs/convergence.md, for a NATS peer exactly one item.
func (c *Cluster) render(key registry.Key, bits registry.Bits, wait time.Duration) (acceptor.Task, acceptor.Reason) {
	entry, evicted, ok := c.reg.Entry(key)
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
	return acceptor.Task{Body: eureka.AppendItem(make([]byte, 0, itemRoom), &item), Action: string(item.Action)}, ""
}
