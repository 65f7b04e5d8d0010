package bridge

import (
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const (
	// taskRoom is the initial capacity of a task's buffer, in bytes.
	taskRoom = 2048
	// joint stands between the actions of a task of several items.
	joint = "+"
	// intervalSlack is what a renewal may be late.
	intervalSlack = 5 * time.Second
)

// Render implements cluster.Foreign. It makes the items of a slot from what the
// registry holds now: the column "Java peer" of the table "slot at cut time" in
// docs/convergence.md. Several items of one slot are one task.
func (p *Peer) Render(key registry.Key, bits registry.Bits, wait time.Duration) (acceptor.Task, acceptor.Reason) {
	entry, evicted, ok := p.reg.Entry(key)
	if !ok || evicted {
		return acceptor.Task{}, acceptor.Evicted
	}
	whole := entry.Item(key, wait) // a Register, or the Cancel of a tombstone
	whole.State = nil
	switch {
	case !entry.Record.Live:
		return task(&whole), ""
	case bits&registry.Cancelled != 0: // and it lives again
		return task(&eureka.Item{
			Action: eureka.ActionCancel, AppName: key.App, ID: key.ID, LastDirtyTimestamp: eureka.NoTimestamp,
		}, &whole), ""
	case bits&registry.Overridden != 0:
		// A register of Eureka's neither clears nor changes an override. So that is
		// removed first, and comes back with the register.
		return task(&eureka.Item{
			Action: eureka.ActionDeleteStatusOverride, AppName: key.App, ID: key.ID,
			LastDirtyTimestamp: entry.Record.LastDirty, Status: whole.Status,
		}, &whole), ""
	case bits&registry.Registered != 0:
		return task(&whole), ""
	case entry.Age > interval(&entry):
		// The peer would count its lease from now on.
		return acceptor.Task{}, acceptor.Expired
	}
	whole.Action, whole.InstanceInfo = eureka.ActionHeartbeat, nil
	if entry.Override.Set {
		whole.OverriddenStatus = entry.Override.Status
	}
	return task(&whole), ""
}

// interval is how long a live instance waits between two renewals.
func interval(e *registry.Entry) time.Duration {
	n := e.Record.Info.LeaseInfo.RenewalIntervalInSecs
	if n <= 0 {
		n = eureka.DefaultRenewalInterval
	}
	return time.Duration(n) * time.Second
}

func task(items ...*eureka.Item) acceptor.Task {
	t := acceptor.Task{Body: make([]byte, 0, taskRoom)}
	for i, item := range items {
		if i > 0 {
			t.Body = append(t.Body, ',')
			t.Action += joint
		}
		t.Body = eureka.AppendItem(t.Body, item)
		t.Action += string(item.Action)
	}
	return t
}
