package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// challenge asks for a login (RFC 9110, 11.6.1).
const challenge = `Basic realm="registryd", charset="UTF-8", Bearer realm="registryd"`

// What a login may lack.
const (
	lacksRole  = "role %s is missing"
	lacksApp   = "the application is none of this login's own, which --own-apps-only asks for"
	lacksOwn   = "the application is none of this login's own, which overrides of statuses ask for"
	lacksVIP   = "a vipAddress is no name of this login's own, which --own-apps-only asks for"
	lacksForce = "role admin is missing, which X-Netflix-Discovery-Replication asks for"
)

// admit says who asks, nil for nobody. code is not 0 if that was refused. For a register it
// leaves to mayRegister what depends on the body. A heartbeat allocates nothing here.
func (h *Handler) admit(
	w http.ResponseWriter, r *http.Request, t target, op operation,
) (who *access.Login, code int) {
	if h.opts.Access == nil {
		return nil, 0
	}
	right := rights[op]
	if right.role == access.Open || op == metricsPage && h.opts.OpenMetrics {
		return nil, 0
	}
	who, verdict, after := h.opts.Access.Identify(r.Context(), access.Shown{
		Authorization: r.Header["Authorization"], TLS: r.TLS, Remote: r.RemoteAddr,
	})
	if verdict != access.Known {
		return nil, h.unknown(w, op, verdict, after)
	}
	switch app := registry.NewKey(t.name, t.id).App; {
	case right.role == access.NoRole || !who.Has(right.role):
		return who, h.forbidden(w, op, fmt.Sprintf(lacksRole, right.role))
	case op.writes() && isReplication(r.Header) && !who.Has(access.Admin):
		return who, h.forbidden(w, op, lacksForce)
	case right.of == scopeInstance && !who.MayChange(app, h.opts.Access.OwnAppsOnly()):
		return who, h.forbidden(w, op, lacksApp)
	case right.of == scopeStatus && !who.MayOverride(app):
		return who, h.forbidden(w, op, lacksOwn)
	}
	return who, 0
}

// mayRegister refuses an instance that a login may not register, with a status code that is
// not 0: of another's application, with an override that it may not set, or one too many.
// The application is that of the body, which is stored.
func (h *Handler) mayRegister(w http.ResponseWriter, who *access.Login, info *eureka.InstanceInfo) int {
	if who == nil {
		return 0
	}
	key := registry.NewKey(info.App, info.ID())
	overrides := info.OverriddenStatus != "" && info.OverriddenStatus != eureka.StatusUnknown
	switch {
	case !who.MayChange(key.App, h.opts.Access.OwnAppsOnly()):
		return h.forbidden(w, register, lacksApp)
	case h.opts.Access.OwnAppsOnly() && !ownsAddresses(who, info):
		return h.forbidden(w, register, lacksVIP)
	case overrides && !who.MayOverride(key.App):
		return h.forbidden(w, register, lacksOwn)
	case !h.opts.Access.MayAdd(who, key.App, key.ID, func(app, id string) bool {
		return h.present(registry.Key{App: app, ID: id})
	}):
		h.metrics.rejected(loginFull)
		return text(w, http.StatusInsufficientStorage,
			fmt.Sprintf("instances of this login: at most %d", h.opts.Access.MaxInstances()))
	}
	return 0
}

// ownsAddresses reports whether an instance's vipAddresses are names of the login's own.
// Readers of a vipAddress are shown the instances of all applications that have it.
func ownsAddresses(who *access.Login, info *eureka.InstanceInfo) bool {
	if who.Has(access.Admin) {
		return true
	}
	for _, list := range []*string{info.VIPAddress, info.SecureVIPAddress} {
		if list == nil {
			continue
		}
		for name := range strings.SplitSeq(*list, ",") {
			if name = strings.TrimSpace(name); name != "" && !who.Owns(eureka.Upper(name)) {
				return false
			}
		}
	}
	return true
}

// unknown answers who has no login.
func (h *Handler) unknown(w http.ResponseWriter, op operation, v access.Verdict, after time.Duration) int {
	switch v {
	case access.Wrong:
		w.Header().Set("WWW-Authenticate", challenge)
		return refusal(w, op, http.StatusUnauthorized, "the login is wrong")
	case access.Slowed:
		w.Header().Set("Retry-After", seconds(after))
		return refusal(w, op, http.StatusTooManyRequests, "too many failed logins of this address")
	case access.Busy:
		w.Header().Set("Retry-After", seconds(after))
		return refusal(w, op, http.StatusServiceUnavailable, "too many logins are being verified")
	default:
	}
	w.Header().Set("WWW-Authenticate", challenge)
	return refusal(w, op, http.StatusUnauthorized, "a login is missing")
}

// forbidden answers a login that may not, with what is missing (RFC 6750, 3.1).
func (h *Handler) forbidden(w http.ResponseWriter, op operation, missing string) int {
	w.Header().Set("WWW-Authenticate",
		`Bearer realm="registryd", error="insufficient_scope", error_description="`+missing+`"`)
	return refusal(w, op, http.StatusForbidden, missing)
}

// refusal answers with a line of text; a heartbeat without: Netflix's client reads any body
// of its answer as an instance.
func refusal(w http.ResponseWriter, op operation, code int, why string) int {
	if op == heartbeat {
		return empty(w, code)
	}
	return text(w, code, why)
}

// seconds writes a time for Retry-After, rounded up.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
