package api

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"

	"github.com/registryd/registryd/eureka"
)

// replicate applies a Java peer's batch (PeerReplicationResource). The path always
// means replication, whatever the header says. 503 makes the peer wait for a
// second and send the batch again. It is the answer while this node does not know
// what its peers know, and while too many batches are held.
func (h *Handler) replicate(w http.ResponseWriter, r *http.Request) int {
	if h.opts.Cluster != "" {
		w.Header().Set(eureka.ClusterHeader, h.opts.Cluster)
	}
	f, _, ok := bodyFormat(r.Header)
	if !ok || f != eureka.JSON {
		return h.rejected(w, http.StatusUnsupportedMediaType, badContentType)
	}
	answer, ok := answerFormat(w, r)
	if !ok {
		return notAcceptable(w)
	}
	if !h.takesBatches() {
		return empty(w, http.StatusServiceUnavailable)
	}
	select {
	case h.batches <- struct{}{}:
		defer func() { <-h.batches }()
	default:
		h.metrics.rejected(busy)
		return empty(w, http.StatusServiceUnavailable)
	}
	in := held{budget: h.bodies}
	defer in.free()
	body, err := h.readBody(r, h.opts.MaxBatchBody, &in)
	if err != nil {
		return h.refuseBody(w, r, f, err, h.opts.MaxBatchBody)
	}
	list, err := eureka.DecodeReplicationList(body, eureka.ListOptions{})
	switch {
	case errors.Is(err, eureka.ErrNoReplicationList):
		h.metrics.rejected(malformed)
		return text(w, http.StatusInternalServerError, err.Error())
	case errors.Is(err, eureka.ErrTooManyItems):
		h.metrics.rejected(tooLarge)
		return text(w, http.StatusRequestEntityTooLarge,
			"replicationList: more than "+strconv.Itoa(eureka.DefaultMaxItems)+" items")
	case err != nil:
		return h.unparsable(w, f)
	}
	if !h.takesBatches() { // it may have been suspended while it waited for the body
		return empty(w, http.StatusServiceUnavailable)
	}
	response := h.opts.Node.Apply(r.Context(), r.RemoteAddr, list)
	return h.render(w, http.StatusOK, answer.ContentType(), func(b []byte) []byte {
		if answer == eureka.XML {
			return appendXMLResponse(b, response)
		}
		return eureka.AppendReplicationListResponse(b, response)
	})
}

// takesBatches reports whether this node knows what its peers know, and was not
// suspended since.
func (h *Handler) takesBatches() bool {
	now := h.opts.Node.Readiness()
	return now.Reads && !now.Stale
}

// Java's names for a response and a result, which its XML spells out.
const (
	xmlResponse = "com.netflix.eureka.cluster.protocol.ReplicationListResponse"
	xmlResult   = "com.netflix.eureka.cluster.protocol.ReplicationInstanceResponse"
)

// appendXMLResponse writes a response as Java does for a peer that does not ask for
// JSON.
func appendXMLResponse(b []byte, response eureka.ReplicationListResponse) []byte {
	b = append(b, "<"+xmlResponse+"><responseList>"...)
	for i := range response {
		b = append(b, "<"+xmlResult+"><statusCode>"...)
		b = strconv.AppendInt(b, int64(response[i].StatusCode), 10)
		b = append(b, "</statusCode>"...)
		if entity := response[i].ResponseEntity; entity != nil {
			instance := eureka.XML.AppendInstanceDocument(nil, entity)
			instance = bytes.TrimSuffix(bytes.TrimPrefix(instance, []byte("<instance>")), []byte("</instance>"))
			b = append(b, "<responseEntity>"...)
			b = append(b, instance...)
			b = append(b, "</responseEntity>"...)
		}
		b = append(b, "</"+xmlResult+">"...)
	}
	return append(b, "</responseList></"+xmlResponse+">"...)
}
