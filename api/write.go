package api

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Eureka's answers to a body that it cannot read, by the format of the body.
const (
	unparsableJSON = `{"error": "cannot parse request body"}`
	unparsableXML  = `<error><message>cannot parse request body</message></error>`
)

// heartbeat renews a lease (InstanceResource.renewLease). This rule is Eureka's: the
// parameter status and the body are ignored. Heartbeats are by far the most
// frequent requests, so this path allocates nothing.
func (h *Handler) heartbeat(w http.ResponseWriter, r *http.Request, t target) int {
	key := registry.NewKey(t.name, t.id)
	lastDirty, ok := timestamp(r.URL.RawQuery)
	if !ok {
		return h.badHeartbeat(w, key)
	}
	var overridden eureka.Status
	by := origin(r, t.login)
	if by.IsReplication() {
		v, _ := parameter(r.URL.RawQuery, "overriddenstatus")
		overridden = eureka.Status(v)
	}
	reads := h.opts.Node.Readiness().Reads
	outcome, ours := h.reg.Renew(key, lastDirty, overridden, by)
	switch outcome {
	case registry.Conflict:
		f, _ := answerFormat(w, r)
		return h.sendInstance(w, http.StatusConflict, f, ours)
	case registry.NotFound:
		return h.missing(w, key, reads)
	default:
		return empty(w, http.StatusOK)
	}
}

// register stores an instance (ApplicationResource.addInstance). The answer is 204
// even if the stored instance is newer and stays.
func (h *Handler) register(w http.ResponseWriter, r *http.Request, t target, who *access.Login) int {
	f, latin1, ok := bodyFormat(r.Header)
	if !ok {
		return h.rejected(w, http.StatusUnsupportedMediaType, badContentType)
	}
	in := held{budget: h.bodies}
	defer in.free()
	body, err := h.readBody(r, h.opts.MaxBody, &in)
	if err != nil {
		return h.refuseBody(w, r, f, err, h.opts.MaxBody)
	}
	if !h.registers.enter(r.Context()) {
		return h.busy(w)
	}
	defer h.registers.leave()
	if latin1 {
		body = fromLatin1(body)
	}
	info, err := eureka.DecodeInstance(f, body)
	if err != nil {
		return h.unparsable(w, f)
	}
	if err := info.Check(t.name); err != nil {
		h.metrics.rejected(invalid)
		f, _ := answerFormat(w, r)
		return document(w, http.StatusBadRequest, f.ContentType(), []byte(err.Error()))
	}
	if bound, over := h.overBound(info, len(body)); over {
		return h.tooLarge(w, bound)
	}
	if code := h.mayRegister(w, who, info); code != 0 {
		return code
	}
	if h.isStale() { // it may have been suspended while it waited for the body
		return empty(w, http.StatusServiceUnavailable)
	}
	switch h.reg.Register(info, origin(r, t.login)) {
	case registry.Full:
		return empty(w, http.StatusInsufficientStorage)
	case registry.Refused:
		h.metrics.rejected(invalid)
		f, _ := answerFormat(w, r)
		return document(w, http.StatusBadRequest, f.ContentType(),
			fmt.Appendf(nil, "app and instanceId: at most %d bytes each", registry.MaxName))
	default:
		return empty(w, http.StatusNoContent)
	}
}

// cancel ends an instance (InstanceResource.cancelLease).
func (h *Handler) cancel(w http.ResponseWriter, r *http.Request, t target) int {
	key := registry.NewKey(t.name, t.id)
	reads := h.opts.Node.Readiness().Reads
	if !reads && !h.present(key) {
		return empty(w, http.StatusServiceUnavailable) // and nothing is changed
	}
	return h.answer(w, key, h.reg.Cancel(key, origin(r, t.login)), reads)
}

// setStatus overrides a status (InstanceResource.statusUpdate).
func (h *Handler) setStatus(w http.ResponseWriter, r *http.Request, t target) int {
	key := registry.NewKey(t.name, t.id)
	value, _ := parameter(r.URL.RawQuery, "value")
	status, ok := eureka.ParseStatus(value)
	if !ok {
		return h.badValue(w, key, "value: not one of UP, DOWN, STARTING, OUT_OF_SERVICE, UNKNOWN")
	}
	lastDirty, ok := timestamp(r.URL.RawQuery)
	if !ok {
		return h.badValue(w, key, "lastDirtyTimestamp: not a number")
	}
	reads := h.opts.Node.Readiness().Reads
	return h.answer(w, key, h.reg.SetStatus(key, status, lastDirty, origin(r, t.login)), reads)
}

// deleteStatus removes an override (InstanceResource.deleteStatusUpdate). Without a
// value the status becomes UNKNOWN, and heartbeats get 404 until the client
// registers again. This rule is Eureka's.
func (h *Handler) deleteStatus(w http.ResponseWriter, r *http.Request, t target) int {
	key := registry.NewKey(t.name, t.id)
	status := eureka.StatusUnknown
	if value, given := parameter(r.URL.RawQuery, "value"); given {
		var ok bool
		if status, ok = eureka.ParseStatus(value); !ok {
			return h.badValue(w, key, "value: not one of UP, DOWN, STARTING, OUT_OF_SERVICE, UNKNOWN")
		}
	}
	lastDirty, ok := timestamp(r.URL.RawQuery)
	if !ok {
		return h.badValue(w, key, "lastDirtyTimestamp: not a number")
	}
	reads := h.opts.Node.Readiness().Reads
	return h.answer(w, key, h.reg.DeleteStatusOverride(key, status, lastDirty, origin(r, t.login)), reads)
}

// setMetadata merges the query into an instance's metadata
// (InstanceResource.updateMetadata). MaxHeaderBytes bounds the length of the query.
// MaxBody and Node.MaxTask bound the merged metadata; concurrent calls may each
// pass and exceed them together.
func (h *Handler) setMetadata(w http.ResponseWriter, r *http.Request, t target) int {
	key := registry.NewKey(t.name, t.id)
	reads := h.opts.Node.Readiness().Reads
	stored, ok := h.reg.Instance(key)
	if !ok {
		return h.missing(w, key, reads)
	}
	pairs := make(map[string]string)
	for query := r.URL.RawQuery; query != ""; {
		k, v, rest, more := nextPair(query)
		if !more {
			break
		}
		if _, again := pairs[k]; !again {
			pairs[k] = v
		}
		query = rest
	}
	if mergedSize(stored.Metadata, pairs) > h.opts.MaxBody {
		h.metrics.rejected(tooLarge)
		return text(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("metadata: larger than %d bytes", h.opts.MaxBody))
	}
	merged := *stored
	merged.Metadata = maps.Clone(stored.Metadata)
	if merged.Metadata == nil {
		merged.Metadata = pairs
	}
	maps.Copy(merged.Metadata, pairs)
	if bound, over := h.overBound(&merged, math.MaxInt); over {
		return h.tooLarge(w, bound)
	}
	return h.answer(w, key, h.reg.SetMetadata(key, pairs, origin(r, t.login)), reads)
}

// safeShare is how many times smaller than Node.MaxTask a body must be so that its
// task fits in any case: a byte becomes at most six, and a task holds the names
// twice.
const safeShare = 16

// overBound reports whether an instance would exceed Node.MaxTask as a task, and
// returns that bound. body is the number of bytes that it came in.
func (h *Handler) overBound(info *eureka.InstanceInfo, body int) (bound int, over bool) {
	bound = h.opts.Node.MaxTask()
	if body < bound/safeShare {
		return bound, false
	}
	// Its task may have the longest versions and statuses.
	task := eureka.AppendItem(nil, &eureka.Item{
		Action: eureka.ActionRegister, AppName: info.App, ID: info.ID(), LastDirtyTimestamp: math.MaxInt64,
		Status: eureka.StatusOutOfService, InstanceInfo: info,
		State: &eureka.State{
			RecordVersion: math.MaxInt64, Live: true, Base: eureka.StatusOutOfService, RecordHash: math.MaxUint64,
			OverrideVersion: math.MaxInt64, OverrideSet: true, OverrideStatus: eureka.StatusOutOfService,
			Duration: math.MaxInt64, Age: math.MaxInt64, Wait: math.MaxInt64,
		},
	})
	return bound, len(task) > bound
}

// tooLarge refuses an instance that could not be replicated.
func (h *Handler) tooLarge(w http.ResponseWriter, bound int) int {
	h.metrics.rejected(tooLarge)
	return text(w, http.StatusRequestEntityTooLarge,
		fmt.Sprintf("instance: larger than %d bytes as a task, which is what a batch holds "+
			"with this broker's max payload", bound))
}

// mergedSize returns the bytes of all keys and values after a merge.
func mergedSize(old, pairs map[string]string) int {
	n := 0
	for k, v := range pairs {
		n += len(k) + len(v)
	}
	for k, v := range old {
		if _, replaced := pairs[k]; !replaced {
			n += len(k) + len(v)
		}
	}
	return n
}

// setASG answers for auto-scaling groups as Eureka does outside AWS: 400 for any
// value.
func (h *Handler) setASG(w http.ResponseWriter) int {
	return text(w, http.StatusBadRequest, "auto-scaling groups are served in AWS only")
}

// timestamp reads lastDirtyTimestamp from a query. It is NoTimestamp if missing; ok
// is false if it is not a number.
func timestamp(query string) (ms int64, ok bool) {
	value, given := parameter(query, "lastDirtyTimestamp")
	if !given {
		return eureka.NoTimestamp, true
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	return ms, err == nil
}

// present reports whether readers see the instance.
func (h *Handler) present(key registry.Key) bool {
	_, ok := h.reg.Instance(key)
	return ok
}

// answer sends a client the outcome of its write.
func (h *Handler) answer(w http.ResponseWriter, key registry.Key, outcome registry.Outcome, reads bool) int {
	if outcome == registry.NotFound {
		return h.missing(w, key, reads)
	}
	return empty(w, http.StatusOK)
}

// missing refuses a write to an instance that is not here, or that cannot be
// renewed. reads is the node's answer before the registry was asked. While this
// node does not know what its peers know, an unknown instance may be alive: 503
// sends the client to the next server, and 404 would make it register again.
// There is no body, see the package comment.
func (h *Handler) missing(w http.ResponseWriter, key registry.Key, reads bool) int {
	if !reads && !h.present(key) {
		return empty(w, http.StatusServiceUnavailable)
	}
	return empty(w, http.StatusNotFound)
}

// badValue refuses a parameter with Eureka's 500. As in Eureka an unknown instance
// is refused first. Nothing has been changed.
func (h *Handler) badValue(w http.ResponseWriter, key registry.Key, what string) int {
	reads := h.opts.Node.Readiness().Reads
	if !h.present(key) {
		return h.missing(w, key, reads)
	}
	return text(w, http.StatusInternalServerError, what)
}

// badHeartbeat refuses a heartbeat whose timestamp is not a number. As in Eureka an
// instance of status UNKNOWN, which cannot renew, is refused first.
func (h *Handler) badHeartbeat(w http.ResponseWriter, key registry.Key) int {
	if i, ok := h.reg.Instance(key); ok && i.Status == eureka.StatusUnknown {
		return empty(w, http.StatusNotFound)
	}
	return h.badValue(w, key, "lastDirtyTimestamp: not a number")
}

// refuseBody refuses a body that was not read.
func (h *Handler) refuseBody(w http.ResponseWriter, r *http.Request, f eureka.Format, err error, limit int) int {
	switch {
	case errors.Is(err, errBusy):
		return h.busy(w)
	case errors.Is(err, errTooLarge):
		h.metrics.rejected(tooLarge)
		abandonBody(w, r)
		return text(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("body: larger than %d bytes", limit))
	case errors.Is(err, errCoding):
		return h.rejected(w, http.StatusUnsupportedMediaType, badCoding)
	default:
		return h.unparsable(w, f)
	}
}

// busy sends a client to another server, or back in a second. There is no body, see the
// package comment.
func (h *Handler) busy(w http.ResponseWriter) int {
	h.metrics.rejected(busy)
	w.Header().Set("Retry-After", "1")
	return empty(w, http.StatusServiceUnavailable)
}

// abandonBody gives up a body that is too large, and the connection with it. A
// MaxBytesReader that reaches its bound has net/http close the connection gently,
// so that a client that is still sending gets the answer instead of a reset. A
// client that asked before sending (100-continue) need not send the body.
func abandonBody(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if r.Header.Get("Expect") != "" {
		return
	}
	var one [1]byte
	http.MaxBytesReader(w, r.Body, 0).Read(one[:]) //nolint:errcheck // It is the bound, or the end.
}

// unparsable answers as Eureka does to a body that it cannot decode.
func (h *Handler) unparsable(w http.ResponseWriter, f eureka.Format) int {
	h.metrics.rejected(malformed)
	body := unparsableJSON
	if f == eureka.XML {
		body = unparsableXML
	}
	return document(w, http.StatusBadRequest, f.ContentType(), []byte(body))
}

// rejected refuses a body by its headers.
func (h *Handler) rejected(w http.ResponseWriter, code int, why rejection) int {
	h.metrics.rejected(why)
	if why == badCoding {
		return text(w, code, "content-encoding: gzip, once, is the only compression taken")
	}
	return text(w, code, "content-type: not application/json or application/xml in UTF-8 or ISO-8859-1")
}
