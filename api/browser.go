package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Eureka's clients may reach a node by any name of a load balancer. A browser is
// different: a page of any site can make it send requests. So these checks are for
// browsers alone.

// fromBrowser reports whether a request has headers that browsers add and that their
// scripts can hardly remove. It allocates nothing.
func fromBrowser(h http.Header) bool {
	if h["Origin"] != nil || h["Sec-Fetch-Site"] != nil {
		return true
	}
	for _, agent := range h["User-Agent"] {
		if strings.HasPrefix(agent, "Mozilla/") {
			return true
		}
	}
	for _, language := range h["Accept-Language"] {
		if language != "*" { // as Node's fetch has it
			return true
		}
	}
	return false
}

// refuseBrowser answers a browser's request that another site may have caused: a
// request under a host name that is not this node's, which may be a stranger's name
// bound to this node's address, and a write that a page of another site started.
// code is 0 if there is nothing to refuse.
func (h *Handler) refuseBrowser(w http.ResponseWriter, r *http.Request, op operation) (code int) {
	var why foreign
	switch {
	case op == health || op == readiness:
		return 0
	case !h.hosts.allow(r.Host):
		why = badHost
	case h.origins.Check(r) != nil:
		why = crossSite
	default:
		return 0
	}
	h.metrics.refusedBrowser[why].Inc()
	if h.refusedBrowsers.Due(sampleInterval) {
		h.log.Warn("request of a browser refused", "reason", why, "host", r.Host, "origin", header(r.Header, "Origin"),
			"method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
	}
	if why == badHost {
		return text(w, http.StatusMisdirectedRequest,
			"host: not a name of this node; --http-hosts allows more for browsers")
	}
	return text(w, http.StatusForbidden, "origin: a page of another site may not change anything here")
}

// hostNames are the names under which browsers may ask, in lower case.
type hostNames map[string]struct{}

func newHostNames(names []string) hostNames {
	h := make(hostNames, len(names))
	for _, name := range names {
		h[strings.ToLower(hostOf(name))] = struct{}{}
	}
	return h
}

// allow reports whether a Host header names this node. Addresses, localhost and names
// without a dot do, since no stranger can own those, and so do the names given. The
// name * allows all.
func (h hostNames) allow(host string) bool {
	host = strings.ToLower(hostOf(host))
	if !strings.Contains(host, ".") && !strings.Contains(host, ":") || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	_, named := h[host]
	_, all := h["*"]
	return named || all
}

// hostOf returns a host without its port, brackets and the dot of the root.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(host, ".")
}
