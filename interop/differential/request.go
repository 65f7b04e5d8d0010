package differential

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// tokenMark stands for a sequence's token in targets and bodies. Each time that a
// sequence is played it has another token, so it meets no instance of another one.
const tokenMark = "{0}"

// tokenText returns the n-th token. It holds digits only: it reads alike in any case, in
// paths, in JSON and in XML.
func tokenText(n int) string { return fmt.Sprintf("%07d", n) }

// request is one request, the same for both servers.
type request struct {
	method, target string // the target as it stands in the request line
	header         []field
	body           string
	gzip           bool // the body is sent compressed

	// refused names the class of what Java refuses of this body, and registryd takes.
	// Then Java is asked with plain in the body's place, uncompressed, so that
	// both know the same.
	refused, plain string

	// misread names the class of what Java reads otherwise. Java gets forJava at once.
	misread, forJava string

	// strict reports that registryd refuses a part of this body, and Java reads something out
	// of it.
	strict bool

	// about says what the request does to which instance, for classes that depend on
	// what came before.
	about []act
}

type field struct{ name, value string }

// act is what a request is to do to an instance.
type act struct {
	kind    kind
	app, id string // in upper case; with the token's mark
	replica bool
	dirty   int64 // lastDirtyTimestamp; 0: none; unclear
	status  string
}

// unclear is a lastDirtyTimestamp that only the servers know.
const unclear = -1

// earliest is the earliest that the act's timestamp may be.
func (a act) earliest() int64 {
	if a.dirty == 0 && a.kind == registers {
		return math.MaxInt64 // the time at which it is done
	}
	return a.dirty
}

// latest is the latest that the act's timestamp may be. What is done later is later.
func (a act) latest() int64 {
	if a.dirty == unclear || a.dirty == 0 && a.kind == registers {
		return math.MaxInt64 - 1
	}
	return a.dirty
}

type kind uint8

const (
	acts kind = iota // anything else
	registers
	renews
	cancels
	setsStatus
	deletesStatus
	setsMetadata
	reads
)

func (r *request) get(name string) string {
	for _, f := range r.header {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// writes reports whether the request is a client's write.
func (r *request) writes() bool {
	return r.method != http.MethodGet && r.method != http.MethodHead && !strings.Contains(r.target, "/peerreplication")
}

// changesStatus reports whether the request sets a status or removes an override.
func (r *request) changesStatus() bool {
	return len(r.about) == 1 && (r.about[0].kind == setsStatus || r.about[0].kind == deletesStatus)
}

// wire returns the bytes of the request.
func (r *request) wire(host, token string) []byte {
	body := []byte(strings.ReplaceAll(r.body, tokenMark, token))
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, strings.ReplaceAll(r.target, tokenMark, token), host)
	for _, f := range r.header {
		fmt.Fprintf(&b, "%s: %s\r\n", f.name, f.value)
	}
	if r.gzip {
		body = zip(body)
		b.WriteString("Content-Encoding: gzip\r\n")
	}
	if len(body) > 0 || r.method == http.MethodPost || r.method == http.MethodPut {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// asPlain returns the request with a body that Java takes.
func (r *request) asPlain() *request {
	p := *r
	p.body, p.gzip, p.refused = r.plain, false, ""
	return &p
}

// asRead returns the request with the body that Java reads as registryd reads r's.
func (r *request) asRead() *request {
	p := *r
	p.body, p.misread = r.forJava, ""
	return &p
}

// with returns the request with another value of a header that it has.
func (r *request) with(name, value string) *request {
	p := *r
	p.header = slices.Clone(r.header)
	for i := range p.header {
		if strings.EqualFold(p.header[i].name, name) {
			p.header[i].value = value
		}
	}
	return &p
}

// without returns the request without a header.
func (r *request) without(name string) *request {
	p := *r
	p.header = slices.DeleteFunc(slices.Clone(r.header), func(f field) bool { return strings.EqualFold(f.name, name) })
	return &p
}

// String shows the request for people.
func (r *request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.method, r.target)
	for _, f := range r.header {
		fmt.Fprintf(&b, "\n    %s: %s", f.name, f.value)
	}
	if r.gzip {
		b.WriteString("\n    Content-Encoding: gzip (of:)")
	}
	if r.body != "" {
		fmt.Fprintf(&b, "\n    %s", printable(r.body))
	}
	return b.String()
}

// printable is s, quoted if it is not plain text.
func printable(s string) string {
	if q := strconv.Quote(s); strings.Contains(q, `\x`) || strings.Contains(q, `\u`) {
		return q
	}
	return s
}

func zip(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) //nolint:errcheck // a bytes.Buffer takes everything
	_ = w.Close()        //nolint:errcheck // the same
	return b.Bytes()
}
