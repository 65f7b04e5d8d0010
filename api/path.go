package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/registryd/registryd/access"
)

// operation is what a request asks for: a method of a resource. It is also the
// label of the request's metrics, so the set is closed.
type operation uint8

const (
	notFound operation = iota
	wrongMethod
	options
	getApps
	getDelta
	getApp
	register
	getInstance
	heartbeat
	cancel
	setStatus
	deleteStatus
	setMetadata
	getByID
	getVIP
	getSVIP
	replicate
	setASG
	getStatus
	getOverrides
	base
	stray
	health
	readiness
	metricsPage
	page
	pageLive
	pageAct
	recent
	versions
	repair
	getOverview
	getHistory
	profiles
	getLogLevel
	setLogLevel
	discovery
	watching
	getWhy
	draining
	getDrain
	operations // how many there are
)

// operationNames are the labels.
var operationNames = [operations]string{
	notFound: "not_found", wrongMethod: "wrong_method", options: "options",
	getApps: "apps", getDelta: "delta", getApp: "app", register: "register", getInstance: "instance",
	heartbeat: "heartbeat", cancel: "cancel", setStatus: "status_update", deleteStatus: "status_delete",
	setMetadata: "metadata", getByID: "instance_by_id", getVIP: "vip", getSVIP: "svip",
	replicate: "batch", setASG: "asg", getStatus: "status", getOverrides: "status_overrides",
	base: "base", stray: "stray", health: "healthz", readiness: "readyz", metricsPage: "metrics",
	page: "page", pageLive: "page_live", pageAct: "page_act",
	recent: "lastn", versions: "versions", repair: "repair", getOverview: "overview",
	getHistory: "history", watching: "watch", discovery: "discovery", getWhy: "why",
	draining: "drain", getDrain: "drain_state",
	profiles: "pprof", getLogLevel: "log_level", setLogLevel: "log_level_update",
}

// scope is what an operation changes.
type scope uint8

const (
	scopeNone     scope = iota // no instance, or none that is known before the body was read
	scopeInstance              // the instance of the path
	scopeStatus                // the override of its status
	scopeBody                  // the instance of the body, see Handler.register
)

// right is what an operation asks of who asks for it.
type right struct {
	role access.Role
	of   scope
}

// rights are those of all operations. One without a role is open to nobody, and
// fails a test.
var rights = [operations]right{
	notFound: {role: access.Read}, wrongMethod: {role: access.Read}, options: {role: access.Read},
	base: {role: access.Read}, stray: {role: access.Read},
	health: {role: access.Open}, readiness: {role: access.Open},
	metricsPage: {role: access.Read}, // or open, see Options.OpenMetrics

	getApps: {role: access.Read}, getDelta: {role: access.Read}, getApp: {role: access.Read},
	getInstance: {role: access.Read}, getByID: {role: access.Read},
	getVIP: {role: access.Read}, getSVIP: {role: access.Read},
	getStatus: {role: access.Read}, getOverrides: {role: access.Read}, getOverview: {role: access.Read},
	page: {role: access.Read}, pageLive: {role: access.Read}, pageAct: {role: access.Admin},
	recent:   {role: access.Read},
	versions: {role: access.Read}, getHistory: {role: access.Read}, watching: {role: access.Read},

	register:     {role: access.Client, of: scopeBody},
	heartbeat:    {role: access.Client, of: scopeInstance},
	cancel:       {role: access.Client, of: scopeInstance},
	setMetadata:  {role: access.Client, of: scopeInstance},
	setStatus:    {role: access.Client, of: scopeStatus},
	deleteStatus: {role: access.Client, of: scopeStatus},
	draining:     {role: access.Client, of: scopeStatus},
	getDrain:     {role: access.Read},

	replicate: {role: access.Admin}, setASG: {role: access.Admin}, repair: {role: access.Admin},
	profiles: {role: access.Admin}, getLogLevel: {role: access.Admin}, setLogLevel: {role: access.Admin},
	discovery: {role: access.Read}, getWhy: {role: access.Read},
}

func (op operation) String() string { return operationNames[op] }

// writes reports whether a client changes an instance or its lease with it.
func (op operation) writes() bool {
	switch op {
	case heartbeat, register, cancel, setStatus, deleteStatus, setMetadata, draining:
		return true
	default:
		return false
	}
}

// resource is what paths of one pattern name, and what may be asked of it.
type resource struct {
	pattern                pattern
	get, put, post, delete operation // notFound: the method is wrong
}

// pattern are the segments of a path: words, and the places of a name and an id.
type pattern [5]string

// The places in a pattern: an application or a vip, and an instance's id.
const (
	anyName = "{name}"
	anyID   = "{id}"
)

// eurekaResources are below /eureka/ and /eureka/v2/. The first that fits counts:
// an application may be called delta, but it can't be read or registered. Eureka
// has the same flaw.
var eurekaResources = [...]resource{
	{pattern: pattern{}, get: base},
	{pattern: pattern{"apps"}, get: getApps},
	{pattern: pattern{"apps", "delta"}, get: getDelta},
	{pattern: pattern{"apps", anyName}, get: getApp, post: register},
	{pattern: pattern{"apps", anyName, anyID}, get: getInstance, put: heartbeat, delete: cancel},
	{pattern: pattern{"apps", anyName, anyID, "status"}, put: setStatus, delete: deleteStatus},
	{pattern: pattern{"apps", anyName, anyID, "metadata"}, put: setMetadata},
	{pattern: pattern{"instances", anyID}, get: getByID},
	{pattern: pattern{"vips", anyName}, get: getVIP},
	{pattern: pattern{"svips", anyName}, get: getSVIP},
	{pattern: pattern{"peerreplication", "batch"}, post: replicate},
	{pattern: pattern{"asg", anyName, "status"}, put: setASG},
	{pattern: pattern{"status"}, get: getStatus},
}

// rootResources are beside Eureka's.
var rootResources = [...]resource{
	{pattern: pattern{}, get: page},
	{pattern: pattern{"page", "live"}, get: pageLive}, // open for as long as the page is
	{pattern: pattern{"page", "act"}, post: pageAct},
	{pattern: pattern{"page", anyName}, get: page},
	{pattern: pattern{"eureka", "serverinfo", "statusoverrides"}, get: getOverrides}, // not below v2
	{pattern: pattern{"healthz"}, get: health},
	{pattern: pattern{"readyz"}, get: readiness},
	{pattern: pattern{"metrics"}, get: metricsPage},
	{pattern: pattern{"prometheus", "sd"}, get: discovery},
	{pattern: pattern{"lastn"}, get: recent},
	{pattern: pattern{"versions"}, get: versions},
	{pattern: pattern{"repair"}, post: repair},
	{pattern: pattern{"status"}, get: getOverview},
	{pattern: pattern{"v1", "history"}, get: getHistory},
	{pattern: pattern{"v1", "why"}, get: getWhy},
	{pattern: pattern{"debug", "pprof"}, get: profiles},
	{pattern: pattern{"debug", "pprof", anyName}, get: profiles},
	{pattern: pattern{"debug", "log-level"}, get: getLogLevel, put: setLogLevel},
	{pattern: pattern{"v1", "watch"}, get: watching},
	{pattern: pattern{"v1", "apps", anyName, anyID, "drain"}, get: getDrain, post: draining},
}

// strayResource is where a client asks whose service URL lacks its end.
var strayResource = resource{get: stray, put: stray, post: stray, delete: stray}

// target is a path, parsed. name and id are those of the resource's places. No
// resource: the path names nothing.
type target struct {
	resource *resource
	name, id string
	login    string // who asks, by the node's logins; empty: there are none
}

// maxSegments is how deep the deepest path goes:
// eureka/v2/apps/APP/ID/status.
const maxSegments = 6

// parsePath parses a path as a request's URL has it: decoded and, where that
// doesn't tell all, as it was sent (a slash inside an id arrives as %2F). One
// slash at the end and more than one in front are ignored, as in Eureka. It
// allocates only to decode rawPath.
func parsePath(path, rawPath string) target {
	raw := rawPath != ""
	if raw {
		path = rawPath
	}
	rest := strings.TrimLeft(path, "/")
	if len(rest) == len(path) {
		return target{}
	}
	rest = strings.TrimSuffix(rest, "/")
	var room [maxSegments]string
	n := 0
	for more := rest != ""; more; n++ {
		if n == maxSegments {
			return target{}
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if raw {
			var err error
			if segment, err = url.PathUnescape(segment); err != nil {
				return target{}
			}
		}
		if segment == "" {
			return target{}
		}
		room[n] = segment
	}
	return find(room[:n])
}

// find returns what the segments of a path name.
func find(segments []string) target {
	if t := match(rootResources[:], segments); t.resource != nil || len(segments) == 0 {
		return t
	}
	first, below := segments[0], segments[1:]
	v2 := len(below) > 0 && below[0] == "v2"
	switch {
	case first == "eureka" && v2:
		return match(eurekaResources[:], below[1:])
	case first == "eureka":
		return match(eurekaResources[:], below)
	case first == "apps", first == "v2" && len(below) > 0 && below[0] == "apps":
		return target{resource: &strayResource}
	}
	return target{}
}

// match returns the first of the resources whose path the segments fit.
func match(all []resource, segments []string) target {
	for i := range all {
		if t, ok := all[i].match(segments); ok {
			return t
		}
	}
	return target{}
}

func (r *resource) match(segments []string) (t target, ok bool) {
	if len(segments) > len(r.pattern) || len(segments) < len(r.pattern) && r.pattern[len(segments)] != "" {
		return target{}, false
	}
	t.resource = r
	for i, segment := range segments {
		switch r.pattern[i] {
		case anyName:
			t.name = segment
		case anyID:
			t.id = segment
		case segment:
		default:
			return target{}, false
		}
	}
	return t, true
}

// operation returns what method asks of the resource. HEAD is GET; net/http
// leaves out the body.
func (r *resource) operation(method string) operation {
	if r == nil {
		return notFound
	}
	op := wrongMethod
	switch method {
	case http.MethodGet, http.MethodHead:
		op = r.get
	case http.MethodPut:
		op = r.put
	case http.MethodPost:
		op = r.post
	case http.MethodDelete:
		op = r.delete
	case http.MethodOptions:
		op = options
	}
	if op == notFound {
		return wrongMethod
	}
	return op
}

// allow lists the methods of the resource for the header Allow.
func (r *resource) allow() string {
	allowed := make([]string, 0, 5)
	for _, method := range []string{
		http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodGet, http.MethodHead,
	} {
		if r.operation(method) != wrongMethod {
			allowed = append(allowed, method)
		}
	}
	return strings.Join(append(allowed, http.MethodOptions), ",")
}
