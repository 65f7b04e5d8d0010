package consumer

import (
	"errors"
	"fmt"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// bareResult bounds the bytes of a result without an entry.
const bareResult = 32

// tally is what became of a batch's items.
type tally struct {
	malformed int
	sample    error // of the first malformed one
}

// joinAll applies the items in order and returns the encoded response. Entries
// of ours go with it until three quarters of the reply's bound; a conflict
// beyond is answered without its copy.
func (c *Consumer) joinAll(list eureka.ReplicationList) ([]byte, tally) {
	var t tally
	room, full := c.opts.MaxReply()*3/4, false
	dst := append([]byte(nil), eureka.ReplicationListResponseHead...)
	for i := range list {
		res, err := c.join(&list[i])
		if err != nil {
			if t.malformed++; t.sample == nil {
				t.sample = err
			}
		}
		c.metrics.task(list[i].Action, res.StatusCode)
		if i > 0 {
			dst = append(dst, ',')
		}
		start, rest := len(dst), (len(list)-i-1)*bareResult
		dst = eureka.AppendResult(dst, &res)
		if res.State != nil && (full || len(dst)+rest > room) {
			full = true
			dst = eureka.AppendResult(dst[:start], &eureka.Result{StatusCode: res.StatusCode})
			c.metrics.bareConflicts.Inc()
		}
	}
	return append(dst, eureka.ReplicationListResponseTail...), t
}

// join applies one item that came over NATS. Its error says why the item is
// malformed (400); nothing has changed then.
func (c *Consumer) join(item *eureka.Item) (eureka.Result, error) {
	in, carried, err := parse(item)
	if err != nil {
		return eureka.Result{StatusCode: 400}, fmt.Errorf("%.80s %.200s: %w", item.Action, item.AppName+"/"+item.ID, err)
	}
	outcome, ours := c.reg.Join(registry.NewKey(item.AppName, item.ID), in, carried)
	switch outcome {
	case registry.NotFound:
		return eureka.Result{StatusCode: 404}, nil
	case registry.Conflict:
		return eureka.Result{StatusCode: 409, ResponseEntity: ours.Record.Info, State: ours.State(0)}, nil
	case registry.OK:
	}
	return eureka.Result{StatusCode: 200}, nil
}

var (
	errNoID       = errors.New("id: missing")
	errNoApp      = errors.New("appName: missing")
	errNoState    = errors.New("registryd: missing")
	errNoInstance = errors.New("instanceInfo: missing")
)

// parse returns the parts that an item carries: its action says which.
func parse(item *eureka.Item) (registry.Entry, registry.Bits, error) {
	switch {
	case item.Err != nil:
		return registry.Entry{}, 0, item.Err
	case item.AppName == "":
		return registry.Entry{}, 0, errNoApp
	case item.ID == "":
		return registry.Entry{}, 0, errNoID
	case item.State == nil:
		return registry.Entry{}, 0, errNoState
	}
	var carried registry.Bits
	var info *eureka.InstanceInfo
	switch st := item.State; item.Action {
	case eureka.ActionRegister:
		info, carried = item.InstanceInfo, registry.Registered|registry.Overridden
		switch {
		case info == nil:
			return registry.Entry{}, 0, errNoInstance
		case !st.Live:
			return registry.Entry{}, 0, fmt.Errorf("registryd.live: false in a %s", item.Action)
		case registry.NewKey(info.App, info.ID()) != registry.NewKey(item.AppName, item.ID):
			return registry.Entry{}, 0, fmt.Errorf("instanceInfo: is %.200s", registry.NewKey(info.App, info.ID()))
		}
	case eureka.ActionCancel:
		carried = registry.Registered | registry.Overridden
		if st.Live {
			return registry.Entry{}, 0, fmt.Errorf("registryd.live: true in a %s", item.Action)
		}
	case eureka.ActionStatusUpdate, eureka.ActionDeleteStatusOverride:
		carried = registry.Overridden
		if set := item.Action == eureka.ActionStatusUpdate; st.OverrideSet != set || st.OverrideVersion == 0 {
			return registry.Entry{}, 0, fmt.Errorf("registryd.set: %t, ov %d in a %s", st.OverrideSet, st.OverrideVersion, item.Action)
		}
	case eureka.ActionHeartbeat:
	default:
		return registry.Entry{}, 0, fmt.Errorf("action: %.40q is unknown", item.Action)
	}
	e, err := registry.FromState(item.State, info)
	return e, carried, err
}
