package api

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/registryd/registryd/eureka"
)

// sendBuffer is how many bytes of a list are gathered for one write.
const sendBuffer = 64 << 10

// refuseList answers if a list may not be read. While this node does not know what
// its peers know it is 403, so that clients keep the list they have. code is 0 if
// the list may be read.
func (h *Handler) refuseList(w http.ResponseWriter, r *http.Request) (form eureka.Form, code int) {
	form, acceptable := negotiateList(r.Header)
	w.Header().Set("Vary", "Accept, Accept-Encoding, X-Eureka-Accept")
	now := h.opts.Node.Readiness()
	switch {
	case !acceptable:
		return form, notAcceptable(w)
	case !now.Reads || now.Empty:
		return form, empty(w, http.StatusForbidden)
	}
	return form, 0
}

// cached answers with all instances or the delta.
func (h *Handler) cached(w http.ResponseWriter, r *http.Request, delta bool) int {
	form, code := h.refuseList(w, r)
	if code != 0 {
		return code
	}
	of, ok := h.listsFor(r)
	if !ok {
		return empty(w, http.StatusForbidden)
	}
	c := of.apps
	if delta {
		c = of.delta
	}
	v := variant{form: form, gzip: takesGzip(r.Header)}
	if delta {
		if code := h.await(w, r, c, v); code != 0 {
			return code
		}
	}
	served := h.reg.Generation() // at least
	if tag := h.tag(c.generation(), v); matches(r.Header.Get("If-None-Match"), tag) {
		w.Header().Set("ETag", tag)
		h.fetchers.served(r, readsAll, "", served)
		return empty(w, http.StatusNotModified)
	}
	answer := c.get(v)
	if !answer.readers.enter(h.sending, answer.size) {
		return h.refuseSending(w)
	}
	defer answer.readers.leave(h.sending)
	w.Header().Set("ETag", h.tag(answer.generation, v))
	if v.gzip {
		w.Header().Set("Content-Encoding", "gzip")
	}
	code, sent := h.chunked(w, form.ContentType(), answer)
	if sent && r.Method == http.MethodGet {
		h.fetchers.served(r, readsAll, "", served)
	}
	return code
}

// tag returns the entity tag of a list. It is a weak one: lists of one tag may differ in
// what they say of renewals.
func (h *Handler) tag(generation uint64, v variant) string {
	return `W/"` + h.start + "-" + strconv.FormatUint(generation, 36) + "-" + strconv.Itoa(v.index()) + `"`
}

// matches reports whether a tag is among those in If-None-Match.
func matches(given, tag string) bool {
	if given == "" {
		return false
	}
	for one := range strings.SplitSeq(given, ",") {
		if one = strings.TrimSpace(one); one == "*" || one == tag {
			return true
		}
	}
	return false
}

// chunked sends an answer that is in chunks. Small chunks are sent together. sent is false if
// the client is gone.
func (h *Handler) chunked(w http.ResponseWriter, contentType string, answer *listAnswer) (code int, sent bool) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(answer.size))
	w.WriteHeader(http.StatusOK)
	out := h.bufferedWriter(w)
	defer h.giveWriter(out)
	send := func(chunk []byte) error {
		if len(chunk) < sendBuffer/4 {
			_, err := out.Write(chunk)
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		_, err := w.Write(chunk) // as it is, without copying
		return err
	}
	var err error
	for _, chunk := range answer.chunks {
		if err = send(chunk); err != nil {
			break // The client is gone: there is nobody to tell.
		}
	}
	if err == nil {
		err = out.Flush()
	}
	return http.StatusOK, err == nil
}

// bufferedWriter returns a writer to w that gathers sendBuffer bytes. It is to be given
// back.
func (h *Handler) bufferedWriter(w io.Writer) *bufio.Writer {
	out, ok := h.outs.Get().(*bufio.Writer)
	if !ok {
		return bufio.NewWriterSize(w, sendBuffer)
	}
	out.Reset(w)
	return out
}

// giveWriter takes a writer back.
func (h *Handler) giveWriter(out *bufio.Writer) {
	out.Reset(nil)
	h.outs.Put(out)
}

// listRetry is when a reader that was refused may come again, in seconds.
const listRetry = "1"

// refuseSending answers if too many bytes of lists are being sent. The client tries
// the next server.
func (h *Handler) refuseSending(w http.ResponseWriter) int {
	h.metrics.refusedLists.Inc()
	if h.refusedLists.Due(sampleInterval) {
		h.log.Warn("too many bytes of lists are being sent, list refused",
			"sending", h.sending.used.Load(), "max", h.sending.max)
	}
	w.Header().Set("Retry-After", listRetry)
	return empty(w, http.StatusServiceUnavailable)
}

// sendList answers with a list that no other request shares.
func (h *Handler) sendList(w http.ResponseWriter, contentType string, body []byte) int {
	if !h.sending.take(len(body)) {
		return h.refuseSending(w)
	}
	defer h.sending.give(len(body))
	return document(w, http.StatusOK, contentType, body)
}

// app answers with the instances of one application.
func (h *Handler) app(w http.ResponseWriter, r *http.Request, t target) int {
	form, code := h.refuseList(w, r)
	if code != 0 {
		return code
	}
	served := h.reg.Generation()
	app, ok := h.application(t.name)
	if !ok {
		return empty(w, http.StatusNotFound)
	}
	defer h.fetchers.served(r, readsApp, eureka.Upper(t.name), served)
	return h.buffered(func(b []byte) []byte { return form.AppendApplicationDocument(b, app) },
		func(body []byte) int { return h.sendList(w, form.ContentType(), body) })
}

// vip answers with the instances of a vip. This rule is Eureka's: no instance is an
// empty list, not a 404.
func (h *Handler) vip(w http.ResponseWriter, r *http.Request, t target, secure bool) int {
	form, code := h.refuseList(w, r)
	if code != 0 {
		return code
	}
	served, what := h.reg.Generation(), readsVIP
	list, ok := h.byVIP(r, t.name, secure)
	if !ok {
		return empty(w, http.StatusForbidden)
	}
	if secure {
		what = readsSVIP
	}
	defer h.fetchers.served(r, what, t.name, served)
	return h.buffered(func(b []byte) []byte { return form.AppendApplications(b, list) },
		func(body []byte) int { return h.sendList(w, form.ContentType(), body) })
}

// overrides answers with all overrides by instance id, as Netflix's server does
// (ServerInfoResource). An override belongs to an application and an id here. If
// two applications have the same id, the answer has the first one by name.
func (h *Handler) overrides(w http.ResponseWriter) int {
	body, err := json.Marshal(h.reg.Overridden())
	if err != nil {
		return h.notEncoded(w, "overrides", err)
	}
	return h.sendList(w, eureka.JSON.ContentType(), body)
}
