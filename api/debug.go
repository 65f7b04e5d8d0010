package api

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
)

// debugs reports whether /debug/… is served: it tells much, and a profile costs much. With
// logins it is for admins.
func (h *Handler) debugs() bool { return h.opts.Access != nil || h.opts.Debug }

// profiles answers go tool pprof.
func (h *Handler) profiles(w http.ResponseWriter, r *http.Request, t target) int {
	if !h.debugs() {
		return empty(w, http.StatusNotFound)
	}
	c := codeWriter{ResponseWriter: w, code: http.StatusOK}
	switch t.name {
	case "":
		pprof.Index(&c, r)
	case "cmdline":
		return empty(w, http.StatusNotFound) // an argument may hold a secret
	case "profile":
		pprof.Profile(&c, r)
	case "symbol":
		pprof.Symbol(&c, r)
	case "trace":
		pprof.Trace(&c, r)
	default:
		pprof.Handler(t.name).ServeHTTP(&c, r)
	}
	return c.code
}

// logLevel answers with the level of the log.
func (h *Handler) logLevel(w http.ResponseWriter) int {
	if !h.debugs() || h.opts.LogLevel == nil {
		return empty(w, http.StatusNotFound)
	}
	return text(w, http.StatusOK, h.opts.LogLevel.Level().String())
}

// setLogLevel sets the level of the log until the settings are read anew.
func (h *Handler) setLogLevel(w http.ResponseWriter, r *http.Request) int {
	if !h.debugs() || h.opts.LogLevel == nil {
		return empty(w, http.StatusNotFound)
	}
	value, _ := parameter(r.URL.RawQuery, "value")
	var level slog.Level
	if err := level.UnmarshalText([]byte(value)); err != nil {
		return text(w, http.StatusBadRequest, "value: not debug, info, warn or error")
	}
	h.opts.LogLevel.Set(level)
	h.log.Warn("log level changed", "log_level", level.String())
	return text(w, http.StatusOK, level.String())
}
