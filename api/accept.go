package api

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// header returns a header's lines as one list. name is in canonical form.
func header(h http.Header, name string) string {
	switch lines := h[name]; len(lines) {
	case 0:
		return ""
	case 1:
		return lines[0]
	default:
		return strings.Join(lines, ",")
	}
}

// rank is how well an Accept header matches a media type. The quality counts
// first, then how exactly the header names the type, then the position.
type rank struct {
	quality  float64
	specific int // 0: not at all, 1: */*, 2: application/*, 3: the type itself
	place    int
}

func (r rank) acceptable() bool { return r.specific > 0 && r.quality > 0 }

func (r rank) before(o rank) bool {
	switch {
	case r.acceptable() != o.acceptable():
		return r.acceptable()
	case r.quality != o.quality:
		return r.quality > o.quality
	case r.specific != o.specific:
		return r.specific > o.specific
	default:
		return r.place < o.place
	}
}

// ranks reads an Accept header. A missing or empty one accepts everything.
func ranks(accept string) (json, xml rank) {
	if strings.TrimSpace(accept) == "" {
		all := rank{quality: 1, specific: 1}
		return all, all
	}
	for place := 0; accept != ""; place++ {
		var item string
		item, accept, _ = strings.Cut(accept, ",")
		media, parameters, _ := strings.Cut(item, ";")
		r := rank{quality: quality(parameters), place: place}
		media = strings.TrimSpace(media)
		switch {
		case strings.EqualFold(media, "application/json"):
			r.specific = 3
			json.take(r)
		case strings.EqualFold(media, "application/xml"):
			r.specific = 3
			xml.take(r)
		case strings.EqualFold(media, "application/*"):
			r.specific = 2
			json.take(r)
			xml.take(r)
		case media == "*/*" || media == "*":
			r.specific = 1
			json.take(r)
			xml.take(r)
		}
	}
	return json, xml
}

// take keeps the most exact of the ranges that match a type, and the first of two
// equal ones.
func (r *rank) take(o rank) {
	if o.specific > r.specific {
		*r = o
	}
}

// quality returns the parameter q of a range. It is 1 if q is missing or is not a
// number from 0 to 1.
func quality(parameters string) float64 {
	for parameters != "" {
		var p string
		p, parameters, _ = strings.Cut(parameters, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}

// negotiate chooses the format of an answer that is one instance or a result: the
// one that the Accept header prefers, and XML if it prefers none. ok is false
// for 406.
func negotiate(h http.Header) (f eureka.Format, ok bool) {
	accept := header(h, "Accept")
	switch accept {
	case "application/json":
		return eureka.JSON, true
	case "application/xml", "*/*", "":
		return eureka.XML, true
	}
	json, xml := ranks(accept)
	if !json.acceptable() && !xml.acceptable() {
		return eureka.XML, false
	}
	if json.before(xml) {
		return eureka.JSON, true
	}
	return eureka.XML, true
}

// answerFormat is negotiate for an answer. It also sets the header Vary.
func answerFormat(w http.ResponseWriter, r *http.Request) (f eureka.Format, ok bool) {
	w.Header().Set("Vary", "Accept")
	return negotiate(r.Header)
}

// notAcceptable refuses a request for its Accept header.
func notAcceptable(w http.ResponseWriter) int {
	return text(w, http.StatusNotAcceptable, "not acceptable: application/xml and application/json are served")
}

// negotiateList chooses the form of a list. It is JSON if the Accept header
// contains the text json and accepts JSON, else XML. This rule is Eureka's
// (ApplicationsResource), which looks for the text alone and may label JSON as
// XML.
func negotiateList(h http.Header) (f eureka.Form, ok bool) {
	if v := h["X-Eureka-Accept"]; len(v) > 0 {
		f.Compact = strings.EqualFold(v[0], "compact")
	}
	accept := header(h, "Accept")
	switch accept {
	case "application/json":
		return f, true
	case "application/xml", "*/*", "":
		f.Format = eureka.XML
		return f, true
	}
	json, xml := ranks(accept)
	switch {
	case json.acceptable() && (!xml.acceptable() || strings.Contains(strings.ToLower(accept), "json")):
		return f, true
	case xml.acceptable():
		f.Format = eureka.XML
		return f, true
	default:
		return f, false
	}
}

// takesGzip reports whether the client accepts a gzipped answer.
func takesGzip(h http.Header) bool {
	list := header(h, "Accept-Encoding")
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		coding, parameters, _ := strings.Cut(item, ";")
		coding = strings.TrimSpace(coding)
		if (strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip")) && quality(parameters) > 0 {
			return true
		}
	}
	return false
}

// bodyFormat reads a request's Content-Type: JSON or XML, in a charset that Eureka
// accepts. ok is false for 415. latin1 reports that the charset is ISO-8859-1.
func bodyFormat(h http.Header) (f eureka.Format, latin1, ok bool) {
	content := header(h, "Content-Type")
	if content == "application/json" {
		return eureka.JSON, false, true
	}
	media, parameters, err := mime.ParseMediaType(content)
	if err != nil {
		return eureka.JSON, false, false
	}
	switch media {
	case "application/json":
	case "application/xml":
		f = eureka.XML
	default:
		return eureka.JSON, false, false
	}
	charset := parameters["charset"]
	latin1 = strings.EqualFold(charset, "ISO-8859-1")
	return f, latin1, charset == "" || latin1 || strings.EqualFold(charset, "UTF-8")
}

// isReplication reports whether a request carries Eureka's mark of a peer. This
// rule is Eureka's: the value is exactly true, in lower case.
func isReplication(h http.Header) bool {
	v := h["X-Netflix-Discovery-Replication"]
	return len(v) > 0 && v[0] == "true"
}

// origin says who sent a request: a client, or by that mark a peer.
func origin(r *http.Request, login string) registry.Origin {
	if isReplication(r.Header) {
		return registry.Origin{Way: registry.ByReplication, From: r.RemoteAddr, Login: login}
	}
	return registry.Origin{From: r.RemoteAddr, Login: login}
}
