package differential

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Where answers may differ outside the body.
const (
	codePath        = "status code"
	contentTypePath = "Content-Type"
	encodingPath    = "Content-Encoding"
	allowPath       = "Allow"
	bodyPath        = "body"
)

// difference is one place in which two answers differ.
type difference struct {
	path string // of the body: body.applications.application[X].instance[i].status
	java string
	ours string
}

// absent is the value of what one of the two does not have.
const absent = "(absent)"

func (d difference) String() string {
	return fmt.Sprintf("%s: Java %.500s, registryd %.500s", d.path, d.java, d.ours)
}

// instance is the id of the instance that the difference is in, or empty.
func (d difference) instance() string {
	_, rest, ok := strings.Cut(d.path, ".instance[")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, "]")
	return strings.ReplaceAll(id, dot, ".")
}

// dot stands for a dot that is a part of a step of a path.
const dot = "․"

// last is the last step of the path.
func (d difference) last() string { return d.path[strings.LastIndexByte(d.path, '.')+1:] }

// compare returns how two answers to a request differ.
func compare(r *request, java, ours *answer, w window, token string) []difference {
	var found []difference
	if java.code != ours.code {
		found = append(found, difference{codePath, strconv.Itoa(java.code), strconv.Itoa(ours.code)})
	}
	if isErrorPage(java) {
		return append(found, compareErrors(java, ours)...)
	}
	if java.code != ours.code {
		return found // another answer altogether
	}
	if r.method == http.MethodOptions { // Java describes the resource
		return found
	}
	for _, name := range []string{contentTypePath, encodingPath} {
		if name == contentTypePath && len(java.body) == 0 && len(ours.body) == 0 {
			continue
		}
		j, o := java.header.Get(name), ours.header.Get(name)
		if j != o {
			found = append(found, difference{name, strconv.Quote(j), strconv.Quote(o)})
		}
	}
	if r.method == http.MethodHead {
		return found
	}
	j, o := parse(java.body), parse(ours.body)
	isDelta := strings.Contains(r.target, "/delta")
	for _, t := range []*tree{j, o} {
		if t == nil {
			continue
		}
		w.mask(t, "")
		if isDelta {
			keepOwn(t, token)
		}
	}
	return append(found, differences(bodyPath, j, o)...)
}

// isErrorPage reports whether an answer is an error that Spring or Tomcat explains in
// words of their own, for people.
func isErrorPage(a *answer) bool {
	if a.code < 400 {
		return false
	}
	if len(a.body) == 0 || a.code == http.StatusNotAcceptable || strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		return true
	}
	page := parse(a.body)
	if xml := page.at("Map"); xml != nil {
		page = xml
	}
	return page.at("timestamp") != nil && page.at("path") != nil
}

// compareErrors compares what programs read of two errors.
func compareErrors(java, ours *answer) []difference {
	var found []difference
	for method := range strings.SplitSeq(java.header.Get(allowPath), ",") {
		if method != "" && !slices.Contains(strings.Split(ours.header.Get(allowPath), ","), method) {
			found = append(found, difference{allowPath, java.header.Get(allowPath), ours.header.Get(allowPath)})
			break
		}
	}
	if !bytes.Equal(java.body, ours.body) {
		found = append(found, difference{bodyPath, fmt.Sprintf("an error page of %d bytes", len(java.body)), fmt.Sprintf("%q", ours.body)})
	}
	return found
}

// differences returns how two trees differ, by path.
func differences(path string, java, ours *tree) []difference {
	switch {
	case java == nil && ours == nil:
		return nil
	case java == nil || ours == nil || (java.kids == nil) != (ours.kids == nil):
		return []difference{{path, show(java), show(ours)}}
	case java.kids == nil:
		if java.leaf != ours.leaf {
			return []difference{{path, show(java), show(ours)}}
		}
		return nil
	}
	keys := slices.Collect(maps.Keys(java.kids))
	for key := range ours.kids {
		if java.kids[key] == nil {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var found []difference
	for _, key := range keys {
		found = append(found, differences(path+"."+strings.ReplaceAll(key, ".", dot), java.kids[key], ours.kids[key])...)
	}
	return found
}

// show writes a tree in one line.
func show(t *tree) string {
	switch {
	case t == nil:
		return absent
	case t.kids == nil:
		return t.leaf
	}
	parts := make([]string, 0, len(t.kids))
	for _, key := range slices.Sorted(maps.Keys(t.kids)) {
		parts = append(parts, key+": "+show(t.kids[key]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
