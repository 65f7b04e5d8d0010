package api

import (
	"errors"
	"net/http"
	"time"
)

// MaxWait bounds the parameter wait of apps/delta.
const MaxWait = time.Minute

var errWait = errors.New("wait: not a duration above 0 and up to 1m, such as 30s")

// waitFor reads the parameter wait of a query: 0 if there is none.
func waitFor(query string) (time.Duration, error) {
	if query == "" {
		return 0, nil
	}
	value, given := parameter(query, "wait")
	if !given {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || d > MaxWait {
		return 0, errWait
	}
	return d, nil
}

// await holds back the answer to a delta with the parameter wait, for as long as the client
// has the list that it would get. It returns a status code if it has answered. Without the
// parameter, which no client of Eureka's sends, it does nothing.
func (h *Handler) await(w http.ResponseWriter, r *http.Request, c *listCache, v variant) int {
	wait, err := waitFor(r.URL.RawQuery)
	switch {
	case err != nil:
		return text(w, http.StatusBadRequest, err.Error())
	case wait == 0 || h.opts.History == nil:
		return 0
	}
	known := r.Header.Get("If-None-Match")
	if !matches(known, h.tag(c.generation(), v)) {
		return 0
	}
	if !h.streams.enter() {
		return h.refuseStream(w)
	}
	defer h.streams.leave()
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // Then it gets its answer sooner.
	until := time.Now().Add(wait + WriteTimeout)
	control.SetWriteDeadline(until) //nolint:errcheck // the same
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		woken := h.opts.History.Wait("")
		if !matches(known, h.tag(c.generation(), v)) {
			return 0
		}
		select {
		case <-woken:
		case <-timer.C:
			return 0
		case <-h.streams.ended:
			return 0
		case <-r.Context().Done():
			return empty(w, http.StatusServiceUnavailable) // to nobody
		}
	}
}
