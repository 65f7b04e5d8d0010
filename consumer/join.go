package consumer

import (
	"fmt"
	"net/http"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// bareResult bounds the bytes of a result without an entry.
const bareResult = 32

// tally counts the malformed items of a batch.
type tally struct {
	malformed int
	sample    error // of the first malformed one
}

// joinAll applies the items of a node in order and returns the encoded response. It holds our
// copies up to three quarters of the reply's bound. A conflict beyond that is
// answered without the copy.
func (c *Consumer) joinAll(from string, list eureka.ReplicationList) ([]byte, tally) {
	var t tally
	room, full := c.opts.MaxReply()*3/4, false
	dst := append([]byte(nil), eureka.ReplicationListResponseHead...)
	var counted taskCount
	for i := range list {
		res, err := c.join(from, &list[i])
		if err != nil {
			if t.malformed++; t.sample == nil {
				t.sample = err
			}
		}
		counted.add(c.metrics, list[i].Action, res.StatusCode)
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
	counted.flush(c.metrics)
	return append(dst, eureka.ReplicationListResponseTail...), t
}

// join applies one item that came over NATS. An error means that the item is
// malformed (400) and has changed nothing.
func (c *Consumer) join(from string, item *eureka.Item) (eureka.Result, error) {
	in, carried, err := registry.FromItem(item)
	if err != nil {
		return eureka.Result{StatusCode: http.StatusBadRequest},
			fmt.Errorf("%.80s %.200s: %w", item.Action, item.AppName+"/"+item.ID, err)
	}
	key := registry.NewKey(item.AppName, item.ID)
	outcome, ours := c.reg.Join(key, in, carried, registry.Origin{Way: registry.ByBatch, From: from})
	switch outcome {
	case registry.NotFound:
		return eureka.Result{StatusCode: http.StatusNotFound}, nil
	case registry.Conflict:
		return eureka.Result{
			StatusCode: http.StatusConflict, ResponseEntity: ours.Record.Info, State: ours.State(0),
		}, nil
	case registry.Refused:
		return eureka.Result{StatusCode: http.StatusBadRequest},
			fmt.Errorf("%.80s %.200s: %w", item.Action, key, c.reg.Refuses(key, &in))
	case registry.OK, registry.Kept, registry.Full:
	}
	return eureka.Result{StatusCode: http.StatusOK}, nil
}
