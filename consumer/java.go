package consumer

import (
	"net/http"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Apply applies a list that came from a Java peer over HTTP, by Eureka's rules
// with isReplication (PeerReplicationResource.dispatch): strictly in order, one
// failing item stops no other. from is the peer's address, for the events. It may be called from any goroutine.
func (c *Consumer) Apply(from string, list eureka.ReplicationList) eureka.ReplicationListResponse {
	by := registry.Origin{Way: registry.ByReplication, From: from}
	out := make(eureka.ReplicationListResponse, len(list))
	for i := range list {
		out[i] = c.applyJava(by, &list[i])
		c.metrics.task(list[i].Action, out[i].StatusCode, 1)
	}
	c.showLatest(list, out)
	return out
}

// showLatest makes each of our copies show the instance as it is after the batch, as
// Java's answer does: a peer must not store an override that the same batch removed. A
// later Register or Cancel replaces the instance, so the copies before it stay.
func (c *Consumer) showLatest(list eureka.ReplicationList, out eureka.ReplicationListResponse) {
	replaced := make(map[registry.Key]bool)
	for i := len(list) - 1; i >= 0; i-- {
		key := registry.NewKey(list[i].AppName, list[i].ID)
		if out[i].ResponseEntity != nil && !replaced[key] {
			if latest, ok := c.reg.Instance(key); ok {
				out[i].ResponseEntity = latest
			}
		}
		if list[i].Action == eureka.ActionRegister || list[i].Action == eureka.ActionCancel {
			replaced[key] = true
		}
	}
}

func (c *Consumer) applyJava(by registry.Origin, item *eureka.Item) eureka.Result {
	key := registry.NewKey(item.AppName, item.ID)
	switch item.Action {
	case eureka.ActionRegister:
		if item.InstanceInfo == nil {
			return eureka.Result{StatusCode: http.StatusInternalServerError}
		}
		// An instance that a POST would refuse is not stored, yet Eureka answers 200.
		info := *item.InstanceInfo
		if info.Check(item.AppName) == nil && c.reg.Register(&info, by) == registry.Full {
			return eureka.Result{StatusCode: http.StatusInsufficientStorage}
		}
		return eureka.Result{StatusCode: http.StatusOK}
	case eureka.ActionHeartbeat:
		outcome, ours := c.reg.Renew(key, item.LastDirtyTimestamp, item.OverriddenStatus, by)
		return eureka.Result{StatusCode: status(outcome), ResponseEntity: ours}
	case eureka.ActionCancel:
		return eureka.Result{StatusCode: status(c.reg.Cancel(key, by))}
	case eureka.ActionStatusUpdate:
		s, ok := eureka.ParseStatus(string(item.Status))
		if !ok {
			return c.refused(key)
		}
		return eureka.Result{StatusCode: status(c.reg.SetStatus(key, s, item.LastDirtyTimestamp, by))}
	case eureka.ActionDeleteStatusOverride:
		s, ok := eureka.ParseStatus(string(item.Status))
		switch {
		case item.LastDirtyTimestamp == eureka.NoTimestamp:
			// Eureka reads the timestamp before it looks the instance up.
			return eureka.Result{StatusCode: http.StatusInternalServerError}
		case !ok && item.Status != "":
			return c.refused(key)
		}
		return eureka.Result{StatusCode: status(c.reg.DeleteStatusOverride(key, s, item.LastDirtyTimestamp, by))}
	default:
		return eureka.Result{StatusCode: http.StatusInternalServerError}
	}
}

// refused is the result of an item with a bad value: Eureka looks the instance up
// first.
func (c *Consumer) refused(key registry.Key) eureka.Result {
	if _, ok := c.reg.Instance(key); !ok {
		return eureka.Result{StatusCode: http.StatusNotFound}
	}
	return eureka.Result{StatusCode: http.StatusInternalServerError}
}

func status(o registry.Outcome) int {
	switch o {
	case registry.NotFound:
		return http.StatusNotFound
	case registry.Conflict:
		return http.StatusConflict
	case registry.Full:
		return http.StatusInsufficientStorage
	case registry.Refused:
		return http.StatusBadRequest
	case registry.OK, registry.Kept:
	}
	return http.StatusOK
}
