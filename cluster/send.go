package cluster

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// bareConflict is a reason why a state change counts as lost, beside those of the
// acceptor: the peer has a newer copy and could not send it.
const bareConflict = "conflict_without_copy"

// send brings a batch to the peer, unless this process was suspended.
func (p *peer) send(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
	if p.cluster.isPaused() {
		return nil, fmt.Errorf("batch to peer %s: %w: process was suspended, leases look younger than they are",
			p.name, batcher.Busy)
	}
	return p.remote.deliver(ctx, b)
}

// deliver publishes a batch on the peer's subject and acts on the results.
func (p nodePeer) deliver(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("batch id: %w", err)
	}
	items := make([][]byte, len(b.Items))
	for i := range b.Items {
		items[i] = b.Items[i].Task.Body
	}
	const around = len(eureka.ReplicationListHead) + len(eureka.ReplicationListTail)
	body := eureka.JoinReplicationList(make([]byte, 0, b.Bytes+len(items)+around), items)
	reply, err := p.cluster.transport.Request(ctx, p.name, id.String(), body)
	if err != nil {
		return nil, fmt.Errorf("batch %s to peer %s: %w", id, p.name, err)
	}
	results, err := eureka.DecodeReplicationListResponse(reply, len(b.Items))
	if err != nil {
		return nil, fmt.Errorf("batch %s: reply of peer %s: %w", id, p.name, err)
	}
	if len(results) != len(b.Items) {
		return nil, fmt.Errorf("batch %s: peer %s answered %d results for %d tasks",
			id, p.name, len(results), len(b.Items))
	}
	outcomes := make([]acceptor.Outcome, len(results))
	var said []registry.Event
	for i := range results {
		item := &b.Items[i]
		if answer := meaning(item.Slot, &results[i]); answer != "" {
			said = append(said, p.answer(item.Key, item.Slot, answer))
		}
	}
	p.record(said)
	for i := range results {
		outcomes[i] = p.settle(&b.Items[i], &results[i])
	}
	return outcomes, nil
}

// meaning says in a few words what a peer's result means, for the events. It is empty for
// heartbeats that went well, and for what is sent again.
func meaning(bits registry.Bits, res *eureka.Result) string {
	switch {
	case res.Err != nil:
	case res.StatusCode == http.StatusOK && bits == registry.Renewed:
	case res.StatusCode == http.StatusOK:
		return "200 ok"
	case res.StatusCode == http.StatusNotFound:
		return "404 not known there, the whole instance follows"
	case res.StatusCode == http.StatusConflict && res.State == nil:
		return "409 newer there, its copy is fetched"
	case res.StatusCode == http.StatusConflict:
		return "409 newer there, its copy is joined here"
	case res.StatusCode == http.StatusBadRequest:
		return "400 refused, dropped"
	}
	return ""
}

// answer is the event of what a peer answered about an instance.
func (p *peer) answer(key registry.Key, bits registry.Bits, what string) registry.Event {
	e := registry.Event{
		Time: p.cluster.opts.Clock.Wall(), Kind: registry.EventAnswered, Key: key, Changed: bits, Detail: what,
		By: registry.Origin{Way: registry.ByAnswer, From: p.name},
	}
	if entry, evicted, ok := p.cluster.reg.Entry(key); ok {
		e.Record, e.Override = entry.Record.Version, entry.Override.Version
		if entry.Record.Live && !evicted {
			e.Status = registry.Visible(&entry.Record, &entry.Override)
		}
		if entry.Override.Set {
			e.Overridden = entry.Override.Status
		}
	}
	return e
}

// record hands over events, if anybody wants them.
func (p *peer) record(events []registry.Event) {
	if to := p.cluster.opts.Recorder; to != nil && len(events) > 0 {
		to.Record(events)
	}
}

// settle acts on the result of one task: docs/convergence.md, "On NATS".
func (p *peer) settle(item *batchItem, res *eureka.Result) acceptor.Outcome {
	p.answered(item.Task.Action, res.StatusCode)
	if res.Err != nil {
		return acceptor.Retry()
	}
	switch res.StatusCode {
	case http.StatusOK:
		return acceptor.Done()
	case http.StatusNotFound:
		p.offer(item.Key, registry.Registered)
		return acceptor.Done()
	case http.StatusConflict:
		p.adopt(item.Key, res)
		return acceptor.Done()
	case http.StatusBadRequest:
		return acceptor.Drop(acceptor.Malformed)
	default:
		return acceptor.Retry()
	}
}

// adopt joins the newer copy that came with a conflict.
func (p *peer) adopt(key registry.Key, res *eureka.Result) {
	if res.State == nil || res.State.Live && res.ResponseEntity == nil {
		p.lost.WithLabelValues(bareConflict).Inc()
		p.repair.Want(key)
		return
	}
	entry, err := registry.FromState(res.State, res.ResponseEntity)
	if err == nil && entry.Record.Live {
		if of := registry.NewKey(res.ResponseEntity.App, res.ResponseEntity.ID()); of != key {
			err = fmt.Errorf("responseEntity: is %.200s", of)
		}
	}
	if err != nil {
		p.lost.WithLabelValues(string(acceptor.Malformed)).Inc()
		p.pipeline.Dropped(key, acceptor.Malformed)
		p.cluster.log.Debug("conflict not understood", "peer", p.name, "app", key.App, "instance", key.ID, "err", err)
		return
	}
	p.cluster.reg.Join(key, entry, registry.Registered|registry.Overridden,
		registry.Origin{Way: registry.ByAnswer, From: p.name})
}
