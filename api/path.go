package api

import (
	"net/http"
	"net/url"
	"strings"
)

// resource is what a path names.
type resource uint8

const (
	noResource resource = iota
	appsResource
	deltaResource
	appResource
	instanceResource
	instanceStatusResource
	metadataResource
	byIDResource
	vipResource
	svipResource
	batchResource
	asgResource
	statusResource
	overridesResource
	healthResource
	readyResource
	metricsResource
	pageResource
	recentResource
	versionsResource
	repairResource
	overviewResource
	baseResource
	strayResource
)

// target is a path, parsed. name is the application, the id of byIDResource, or
// the vip; id is the instance's.
type target struct {
	resource resource
	name, id string
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
	if rest == "" && path != "" {
		return target{resource: pageResource}
	}
	if len(rest) == len(path) {
		return target{}
	}
	rest = strings.TrimSuffix(rest, "/")
	var room [maxSegments]string
	n := 0
	for more := true; more; n++ {
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
	segments := room[:n]
	if segments[0] != "eureka" {
		return rootTarget(segments)
	}
	if len(segments) == 3 && segments[1] == "serverinfo" && segments[2] == "statusoverrides" {
		return target{resource: overridesResource}
	}
	segments = segments[1:]
	if len(segments) > 0 && segments[0] == "v2" {
		segments = segments[1:]
	}
	if len(segments) == 0 {
		return target{resource: baseResource}
	}
	return eurekaTarget(segments)
}

// rootTarget finds what is served beside Eureka's REST.
func rootTarget(segments []string) target {
	if segments[0] == "apps" || segments[0] == "v2" && len(segments) > 1 && segments[1] == "apps" {
		return target{resource: strayResource}
	}
	if len(segments) != 1 {
		return target{}
	}
	switch segments[0] {
	case "healthz":
		return target{resource: healthResource}
	case "readyz":
		return target{resource: readyResource}
	case "metrics":
		return target{resource: metricsResource}
	case "lastn":
		return target{resource: recentResource}
	case "versions":
		return target{resource: versionsResource}
	case "repair":
		return target{resource: repairResource}
	case "status":
		return target{resource: overviewResource}
	}
	return target{}
}

// eurekaTarget finds what is served below a version. segments has at least one.
func eurekaTarget(segments []string) target {
	n := len(segments)
	switch segments[0] {
	case "apps":
		return appsTarget(segments[1:])
	case "instances":
		if n == 2 {
			return target{resource: byIDResource, id: segments[1]}
		}
	case "vips":
		if n == 2 {
			return target{resource: vipResource, name: segments[1]}
		}
	case "svips":
		if n == 2 {
			return target{resource: svipResource, name: segments[1]}
		}
	case "peerreplication":
		if n == 2 && segments[1] == "batch" {
			return target{resource: batchResource}
		}
	case "asg":
		if n == 3 && segments[2] == "status" {
			return target{resource: asgResource, name: segments[1]}
		}
	case "status":
		if n == 1 {
			return target{resource: statusResource}
		}
	}
	return target{}
}

// appsTarget finds what is served below apps. An application may be called
// delta, but it can't be read or registered: Eureka has the same flaw.
func appsTarget(segments []string) target {
	switch {
	case len(segments) == 0:
		return target{resource: appsResource}
	case len(segments) == 1 && segments[0] == "delta":
		return target{resource: deltaResource}
	case len(segments) == 1:
		return target{resource: appResource, name: segments[0]}
	}
	t := target{name: segments[0], id: segments[1]}
	switch {
	case len(segments) == 2:
		t.resource = instanceResource
	case len(segments) == 3 && segments[2] == "status":
		t.resource = instanceStatusResource
	case len(segments) == 3 && segments[2] == "metadata":
		t.resource = metadataResource
	}
	return t
}

// operation is what a request asks for: a resource and a method. It is also the
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
	health
	readiness
	metricsPage
	page
	recent
	versions
	repair
	getOverview
	base
	stray
	operations // how many there are
)

func (op operation) String() string {
	return [operations]string{
		"not_found", "wrong_method", "options", "apps", "delta", "app", "register", "instance",
		"heartbeat", "cancel", "status_update", "status_delete", "metadata", "instance_by_id", "vip",
		"svip", "batch", "asg", "status", "status_overrides", "healthz", "readyz", "metrics", "page",
		"lastn", "versions", "repair", "overview", "base", "stray",
	}[op]
}

// writes says whether a client changes an instance or its lease with it.
func (op operation) writes() bool {
	switch op {
	case heartbeat, register, cancel, setStatus, deleteStatus, setMetadata:
		return true
	default:
		return false
	}
}

// operation returns what method asks of the resource. HEAD is GET; net/http
// leaves out the body.
func (r resource) operation(method string) operation {
	op := wrongMethod
	switch method {
	case http.MethodGet, http.MethodHead:
		op = r.get()
	case http.MethodPut:
		op = r.put()
	case http.MethodPost:
		op = r.post()
	case http.MethodDelete:
		op = r.delete()
	case http.MethodOptions:
		op = options
	}
	switch r {
	case noResource:
		return notFound
	case strayResource:
		return stray
	default:
		return op
	}
}

func (r resource) get() operation {
	switch r {
	case appsResource:
		return getApps
	case deltaResource:
		return getDelta
	case appResource:
		return getApp
	case instanceResource:
		return getInstance
	case byIDResource:
		return getByID
	case vipResource:
		return getVIP
	case svipResource:
		return getSVIP
	case statusResource:
		return getStatus
	case overridesResource:
		return getOverrides
	case healthResource:
		return health
	case readyResource:
		return readiness
	case metricsResource:
		return metricsPage
	case pageResource:
		return page
	case recentResource:
		return recent
	case versionsResource:
		return versions
	case overviewResource:
		return getOverview
	case baseResource:
		return base
	default:
		return wrongMethod
	}
}

func (r resource) put() operation {
	switch r {
	case instanceResource:
		return heartbeat
	case instanceStatusResource:
		return setStatus
	case metadataResource:
		return setMetadata
	case asgResource:
		return setASG
	default:
		return wrongMethod
	}
}

func (r resource) post() operation {
	switch r {
	case appResource:
		return register
	case batchResource:
		return replicate
	case repairResource:
		return repair
	default:
		return wrongMethod
	}
}

func (r resource) delete() operation {
	switch r {
	case instanceResource:
		return cancel
	case instanceStatusResource:
		return deleteStatus
	default:
		return wrongMethod
	}
}

// allow lists the methods of the resource for the header Allow.
func (r resource) allow() string {
	allowed := make([]string, 0, 5)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodGet, http.MethodHead} {
		if r.operation(method) != wrongMethod {
			allowed = append(allowed, method)
		}
	}
	return strings.Join(append(allowed, http.MethodOptions), ",")
}
