package differential

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// classes are all deliberate differences.
func classes() []class {
	return slices.Concat(bodyClasses(), headClasses(), pathClasses(), registryClasses())
}

// codes reports whether a difference is one of these status codes; ours may be any of several.
func (d difference) codes(java int, ours ...int) bool {
	code, err := strconv.Atoi(d.ours)
	return d.path == codePath && d.java == strconv.Itoa(java) && err == nil && slices.Contains(ours, code)
}

// refused is a class of bodies that Java refuses.
func refused(name string) class {
	return class{name: name, instead: func(x *exchange) *request {
		// Where both refuse it, they may not do so for one reason.
		if x.request.refused != name || x.java.code != http.StatusBadRequest || bytes.Equal(x.java.body, x.ours.body) {
			return nil
		}
		return x.request.asPlain()
	}}
}

// misread is a class of bodies that Java reads otherwise. Java never gets them: some make it
// spin for ever, or break all its lists.
func misread(name string) class { return class{name: name} }

// bodyClasses are about the bodies of requests.
func bodyClasses() []class {
	return []class{
		refused("gzip-body"),
		refused("lenient-data-center"),
		refused("lenient-port"),
		refused("text-for-number"),
		misread("amazon-in-name-only"),
		misread("amazon-without-metadata"),
		misread("blanks-in-xml"),
		misread("default-for-text"),
		misread("enabled-in-any-case"),
		misread("unknown-array"),
		misread("unknown-object"),
		{name: "wrong-type", parts: true, explains: func(x *exchange, _ difference) bool {
			return x.request.strict && x.ours.code == http.StatusBadRequest // Java may find something else to refuse
		}},
		{name: "data-after-body", parts: true, explains: func(x *exchange, _ difference) bool {
			return x.ours.code == http.StatusBadRequest && hasDataAfterBody(x.request.body)
		}},
		{name: "registration-of-nothing", explains: func(x *exchange, d difference) bool {
			body := strings.TrimSpace(x.request.body)
			return d.codes(500, 400, 415) && (body == "" || body == "null")
		}},
		{name: "null-in-batch", explains: func(x *exchange, d difference) bool {
			return d.codes(500, 400) && strings.Contains(x.request.body, "[null]")
		}},
		{name: "action-number", parts: true, explains: func(x *exchange, d difference) bool {
			return d.codes(200, 400) && strings.Contains(x.request.body, `"action":0`)
		}},
		{name: "long-name", parts: true, explains: func(x *exchange, d difference) bool {
			return x.ours.code == http.StatusBadRequest && strings.Contains(x.request.target+x.request.body, "longlong")
		}},
	}
}

// headClasses are about headers, of requests and of answers.
func headClasses() []class {
	return []class{
		{name: "accept-of-write", instead: func(x *exchange) *request {
			if !x.request.writes() || x.java.code != http.StatusNotAcceptable || x.ours.code == http.StatusNotAcceptable {
				return nil
			}
			return x.request.without("Accept")
		}},
		{name: "accept-in-any-case", instead: func(x *exchange) *request {
			accept := x.request.get("Accept")
			if x.request.method != http.MethodGet || strings.ToLower(accept) == accept || x.java.code != x.ours.code {
				return nil
			}
			return x.request.with("Accept", strings.ToLower(accept))
		}},
		{name: "quality-of-zero", parts: true, explains: func(x *exchange, d difference) bool {
			if !strings.HasSuffix(x.request.get("Accept"), ";q=0") {
				return false
			}
			otherFormat := x.java.code == http.StatusConflict && mediaType(x.java.header.Get(contentTypePath)) != mediaType(x.ours.header.Get(contentTypePath))
			return d.codes(x.java.code, http.StatusNotAcceptable) || d.path == contentTypePath || otherFormat
		}},
		{name: "gzip-by-the-book", explains: func(x *exchange, d difference) bool {
			accepts := x.request.get("Accept-Encoding")
			return d.path == encodingPath && (d.java == `""` && strings.Contains(accepts, "GZIP") || d.ours == `""` && strings.Contains(accepts, "gzip;q=0"))
		}},
		{name: "malformed-content-type", explains: func(x *exchange, d difference) bool {
			media, _, err := mime.ParseMediaType(x.request.get("Content-Type"))
			return d.codes(400, 415) && (err != nil || !strings.Contains(media, "/") || strings.Contains(media, "*"))
		}},
		{name: "true-label", explains: func(x *exchange, d difference) bool {
			if len(x.java.body) == 0 || d.path != contentTypePath && (x.java.code != http.StatusBadRequest || !strings.HasPrefix(d.path, bodyPath)) {
				return false
			}
			isXML := strings.HasSuffix(mediaType(x.java.header.Get(contentTypePath)), "xml")
			return isXML == (x.java.body[0] == '{') && isXML != (x.java.body[0] == '<')
		}},
		{name: "content-type-parameter", explains: func(_ *exchange, d difference) bool {
			return d.path == contentTypePath && mediaType(d.java) == mediaType(d.ours)
		}},
		{name: "error-body", explains: func(x *exchange, d difference) bool {
			return d.path == bodyPath && isErrorPage(x.java) && (x.ours.code != http.StatusNotFound || len(x.ours.body) == 0)
		}},
	}
}

// pathClasses are about paths, and about the pages that only people read.
func pathClasses() []class {
	return []class{
		{name: "encoded-slash", parts: true, explains: func(x *exchange, d difference) bool {
			return d.path == codePath && d.java == "400" && strings.Contains(strings.ToLower(x.request.target), "%2f")
		}},
		{name: "encoded-nul", explains: func(x *exchange, d difference) bool {
			return d.path == codePath && d.java == "400" && strings.Contains(x.request.target, "%00")
		}},
		{name: "encoded-word", parts: true, explains: func(x *exchange, d difference) bool {
			return d.path == codePath && d.java == "404" && strings.Contains(x.request.target, "/%61pps")
		}},
		{name: "semicolon", parts: true, explains: func(x *exchange, d difference) bool {
			return d.path == codePath && strings.Contains(x.request.target, "h;")
		}},
		{name: "base-page", explains: func(x *exchange, d difference) bool {
			base := strings.TrimSuffix(x.request.target, "/")
			return d.path == codePath && d.java == "404" && (base == "/eureka" || base == "/eureka/v2")
		}},
		{name: "status-overrides", explains: func(x *exchange, d difference) bool {
			return d.path == codePath && d.java == "404" && strings.HasPrefix(x.request.target, "/eureka/serverinfo/statusoverrides")
		}},
		{name: "status-page", explains: func(_ *exchange, d difference) bool {
			_, stat, ok := strings.Cut(d.path, ".com"+dot+"netflix"+dot+"eureka"+dot+"util"+dot+"StatusInfo.")
			return ok && (stat == "instanceInfo" || stat == "isHeathly" || stat == "generalStats.environment" || d.java != absent && d.ours != absent)
		}},
		{name: "status-in-json", explains: func(x *exchange, d difference) bool {
			return d.codes(500, 200) && strings.TrimSuffix(x.request.target, "/") == "/eureka/status"
		}},
	}
}

// registryClasses are about what the two know, and show.
func registryClasses() []class {
	return []class{
		{name: "app-group-case", explains: func(_ *exchange, d difference) bool {
			return d.last() == "appGroupName" && d.java != d.ours && strings.ToUpper(d.java) == d.ours
		}},
		{name: "empty-sid", explains: func(_ *exchange, d difference) bool {
			return d.last() == "sid" && unquoted(d.java) == "" && d.ours == absent
		}},
		{name: "true-status", explains: func(_ *exchange, d difference) bool {
			single := strings.HasPrefix(d.path, "body.instance.") || strings.Contains(d.path, ".responseEntity.")
			return single && d.last() == "status" && d.java == "DOWN" && (d.ours == "OUT_OF_SERVICE" || d.ours == "UNKNOWN")
		}},
		{name: "copy-after-batch", explains: func(_ *exchange, d difference) bool {
			return strings.Contains(d.path, ".responseEntity.leaseInfo.")
		}},
		{name: "colon-in-key", explains: func(_ *exchange, d difference) bool {
			_, key, ok := strings.Cut(d.path, ".metadata.")
			return ok && (strings.Contains(key, ":") && d.ours == absent || strings.Contains(key, "_"+dot+"003a") && d.java == absent)
		}},
		{name: "negative-timestamp", explains: func(_ *exchange, d difference) bool {
			return d.last() == "lastDirtyTimestamp" && unquoted(d.ours) == "-5"
		}},
		{name: "vip-blanks", explains: func(x *exchange, d difference) bool {
			return strings.Contains(x.request.target, "vips/") && strings.HasPrefix(d.path, bodyPath) && (x.past.sent(", ") || x.past.sent(`":" `))
		}},
		{name: "id-in-metadata", parts: true, explains: func(x *exchange, d difference) bool {
			return d.path != contentTypePath && x.past.sent(idInMetadata)
		}},
		{name: "metadata-unchanged", explains: func(x *exchange, d difference) bool {
			return d.last() == "actionType" && unquoted(d.java) == "ADDED" && unquoted(d.ours) == "MODIFIED" &&
				x.any(d, func(a act) bool { return a.kind == setsMetadata })
		}},
		{name: "bad-value", parts: true, explains: func(x *exchange, d difference) bool {
			return d.codes(200, 500) && x.request.changesStatus()
		}, ends: func(x *exchange) bool {
			return x.request.changesStatus() && x.java.code == http.StatusInternalServerError // and it may have changed it
		}},
		{name: "override-at-once", parts: true, explains: func(x *exchange, d difference) bool {
			return d.isAboutStatus() && x.any(d, func(a act) bool { return a.kind == renews && a.replica && a.status != "" })
		}},
		{name: "override-per-app", parts: true, explains: func(x *exchange, d difference) bool {
			return (d.isAboutStatus() || strings.Contains(x.request.target, "/instances/")) && x.twins(d)
		}},
		{name: "late-register", parts: true, explains: func(x *exchange, d difference) bool {
			return x.revives() && strings.Contains(d.path, ".responseList")
		}, ends: (*exchange).revives},
		{name: "future-timestamp", parts: true, explains: func(x *exchange, d difference) bool {
			return d.path != contentTypePath && x.any(d, func(a act) bool { return a.dirty == farFuture })
		}},
	}
}

// isAboutStatus reports whether a difference may come from a status: also that of a heartbeat
// of an instance of status UNKNOWN, which can't renew.
func (d difference) isAboutStatus() bool {
	switch d.last() {
	case "status", "overriddenStatus", "overriddenstatus", "actionType", "serviceUpTimestamp", "apps__hashcode":
		return true
	case codePath, "statusCode":
		return d.java == "200" && (d.ours == "404" || d.ours == "409") || d.ours == "200" && (d.java == "404" || d.java == "409")
	default:
		return false
	}
}

// unquoted is a value without the quotes that it has in JSON.
func unquoted(value string) string { return strings.Trim(value, `"`) }

// mediaType is a Content-Type without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(unquoted(contentType), ";")
	return strings.ToLower(media)
}

// hasDataAfterBody reports whether a JSON value is followed by something.
func hasDataAfterBody(body string) bool {
	d := json.NewDecoder(strings.NewReader(body))
	var v any
	return d.Decode(&v) == nil && strings.TrimSpace(body[d.InputOffset():]) != ""
}
