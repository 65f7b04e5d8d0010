package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Send implements cluster.Foreign. It posts a batch, and acts on the result of each
// item. A batch that the peer refuses as a whole is malformed only if the peer takes
// an empty one: then the batcher halves it, down to the item to blame. Else the
// trouble is the peer's, such as a password that is wrong, and the batch waits.
//
// A batch for a node of this cluster is done: the node hears the same by itself.
func (p *Peer) Send(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
	if p.isNode() {
		return slices.Repeat([]acceptor.Outcome{acceptor.Done()}, len(b.Items)), nil
	}
	tasks, items := make([][]byte, len(b.Items)), 0
	for i := range b.Items {
		tasks[i] = b.Items[i].Task.Body
		items += len(actions(&b.Items[i]))
	}
	answer, err := p.post(ctx, eureka.JoinReplicationList(make([]byte, 0, b.Bytes+len(tasks)+64), tasks))
	if err != nil {
		return nil, err
	}
	results, err := eureka.DecodeReplicationListResponse(answer, items)
	if err != nil {
		return nil, fmt.Errorf("answer of peer %s: %w", p.name, err)
	}
	if len(results) != items {
		return nil, fmt.Errorf("peer %s answered %d results for %d items", p.name, len(results), items)
	}
	outcomes := make([]acceptor.Outcome, len(b.Items))
	for i := range b.Items {
		n := len(actions(&b.Items[i]))
		outcomes[i] = p.settle(&b.Items[i], results[:n])
		results = results[n:]
	}
	return outcomes, nil
}

// actions returns the actions of a task's items.
func actions(item *batchItem) []string { return strings.Split(item.Task.Action, joint) }

// meaning says in a few words what the result of an action means, for the events. It is
// empty for heartbeats that went well, and for what is sent again.
func meaning(action string, res *eureka.Result) string {
	beats := action == string(eureka.ActionHeartbeat)
	switch code := res.StatusCode; {
	case res.Err != nil, code == http.StatusServiceUnavailable, code == http.StatusTooManyRequests,
		beats && code >= 200 && code < 300:
		return ""
	case code >= 200 && code < 300:
		return fmt.Sprintf("%s: %d ok", action, code)
	case code == http.StatusNotFound && beats:
		return fmt.Sprintf("%s: %d not known there, the whole instance follows", action, code)
	case code == http.StatusNotFound && action != string(eureka.ActionRegister):
		return fmt.Sprintf("%s: %d nothing to change there", action, code)
	case code == http.StatusConflict:
		return fmt.Sprintf("%s: %d newer there, its copy is taken here", action, code)
	default:
		return fmt.Sprintf("%s: %d refused, dropped", action, code)
	}
}

// settle acts on the results of a task's items, as Eureka does (ReplicationTask's
// handlers), but for a failure: Eureka logs it, and the change is lost.
func (p *Peer) settle(item *batchItem, results []eureka.Result) acceptor.Outcome {
	out := acceptor.Done()
	for i, action := range actions(item) {
		res := &results[i]
		p.pipeline.Result(action, res.StatusCode)
		if answer := meaning(action, res); answer != "" {
			p.pipeline.Answered(item.Key, item.Slot, answer)
		}
		switch code := res.StatusCode; {
		case res.Err != nil, code == http.StatusServiceUnavailable, code == http.StatusTooManyRequests:
			out = acceptor.Retry()
		case code >= 200 && code < 300:
		case code == http.StatusNotFound && action == string(eureka.ActionHeartbeat):
			p.pipeline.Offer(item.Key, registry.Registered)
		case code == http.StatusNotFound && action != string(eureka.ActionRegister):
			// There is nothing to cancel, or no override to remove.
		case code == http.StatusConflict:
			p.conflict(item.Key, res.ResponseEntity)
		case out != acceptor.Retry():
			out = acceptor.Drop(acceptor.Malformed)
		}
	}
	return out
}

// conflict takes the peer's later copy, as Eureka does
// (PeerEurekaNode.syncInstancesIfTimestampDiffers): its override where it has one,
// then the copy itself.
func (p *Peer) conflict(key registry.Key, theirs *eureka.InstanceInfo) {
	if theirs == nil || theirs.Check(key.App) != nil || registry.NewKey(theirs.App, theirs.ID()) != key {
		p.Compare()
		return
	}
	by := registry.Origin{Way: registry.ByAnswer, From: p.name}
	if o := theirs.OverriddenStatus; o != "" && o != eureka.StatusUnknown {
		p.reg.Renew(key, theirs.LastDirtyTimestamp, o, by)
	}
	p.reg.Register(theirs, by)
	p.pipeline.Repaired(0, 1)
}

// post sends a list, and returns the answer. Its errors wrap a class of the batcher.
func (p *Peer) post(ctx context.Context, body []byte) ([]byte, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("batch id: %w", err)
	}
	mirrored := p.opts.Mirror(p.name, id.String(), body)
	code, answer, err := p.postList(ctx, body)
	switch { // shown to whoever watches
	case err != nil:
		mirrored(0, "no answer", nil)
	case code >= 200 && code < 300:
		mirrored(code, "", answer)
	default:
		mirrored(code, http.StatusText(code), nil)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("batch %s to peer %s: %w", id, p.name, err)
	case code >= 200 && code < 300:
		return answer, nil
	case code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests:
		return nil, fmt.Errorf("batch %s to peer %s: %w: status %d", id, p.name, batcher.Busy, code)
	}
	class := batcher.Malformed
	if probed, _, err := p.postList(ctx, emptyList); err != nil || probed < 200 || probed >= 300 {
		class = batcher.Other
	}
	return nil, fmt.Errorf("batch %s to peer %s: %w: status %d: %.200q", id, p.name, class, code, answer)
}

var emptyList = []byte(eureka.ReplicationListHead + eureka.ReplicationListTail)

// probe looks whether the peer answers.
func (p *Peer) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, batcher.SendTimeout)
	defer cancel()
	if _, _, err := p.postList(ctx, emptyList); err != nil {
		p.log.Debug("peer does not answer", "err", err)
	}
}

// postList posts a list. Any answer counts as one.
func (p *Peer) postList(ctx context.Context, body []byte) (code int, answer []byte, err error) {
	req, err := p.request(ctx, http.MethodPost, "peerreplication/batch/", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.do(req)
	if err != nil {
		return 0, nil, err
	}
	if answer, err = p.read(ctx, resp, maxAnswer); err != nil {
		return 0, nil, err
	}
	p.met(resp.Header)
	p.answered()
	return resp.StatusCode, answer, nil
}

// request returns a request to the peer.
func (p *Peer) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.base.String()+path, body)
	if err != nil {
		return nil, err
	}
	if p.user != nil {
		password, _ := p.user.Password()
		req.SetBasicAuth(p.user.Username(), password)
	}
	req.Header.Set("Accept", "application/json")
	// Eureka's rate limiter lets its own servers pass.
	req.Header.Set("DiscoveryIdentity-Name", "DefaultServer")
	return req, nil
}

func (p *Peer) do(req *http.Request) (*http.Response, error) {
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, p.noAnswer(req.Context(), err)
	}
	return resp, nil
}

// noAnswer notes a request without an answer, and returns its error with its class.
func (p *Peer) noAnswer(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return err // by this node
	}
	var timeout net.Error
	class := batcher.Disconnected
	var lookup *net.DNSError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		class = batcher.Timeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &lookup):
		class = batcher.Absent
	}
	err = fmt.Errorf("%w: %w", class, err)
	p.silent(err)
	return err
}

// read reads the body of an answer, up to a bound, and closes it.
func (p *Peer) read(ctx context.Context, resp *http.Response, bound int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, bound+1))
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, p.noAnswer(ctx, err)
	}
	if int64(len(body)) > bound {
		return nil, fmt.Errorf("answer of peer %s: more than %d bytes", p.name, bound)
	}
	return body, nil
}

// list asks for everything that the peer has. now is the time by its clock.
func (p *Peer) list(ctx context.Context) (list eureka.Applications, now time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultListTimeout)
	defer cancel()
	path := "apps"
	if p.opts.LocalOnly {
		path += "?regions=local-only" // a region that no server has
	}
	req, err := p.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return list, now, err
	}
	resp, err := p.do(req)
	if err != nil {
		return list, now, err
	}
	body, err := p.read(ctx, resp, maxList)
	if err != nil {
		return list, now, err
	}
	p.answered()
	if resp.StatusCode != http.StatusOK {
		return list, now, fmt.Errorf("list of peer %s: status %d", p.name, resp.StatusCode)
	}
	if now, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
		now = time.Now()
	}
	if list, err = eureka.DecodeApplications(eureka.JSON, body); err != nil {
		err = fmt.Errorf("list of peer %s: %w", p.name, err)
	}
	return list, now, err
}
