package differential

import (
	"strconv"
	"strings"
	"time"
)

// window is the time in which a sequence is played, in ms. A lastDirtyTimestamp from
// within it is one that the server set: those in requests are years older or younger.
type window struct{ from, to int64 }

const leeway = 5 * time.Minute

func newWindow(now time.Time) window {
	return window{now.Add(-leeway).UnixMilli(), now.Add(leeway).UnixMilli()}
}

// mask replaces the times that a server sets by itself by a word. Zero stays, because it
// says that there is none.
func (w window) mask(t *tree, key string) {
	if t == nil || key == "metadata" {
		return
	}
	for name, kid := range t.kids {
		w.mask(kid, name)
	}
	if t.kids != nil {
		return
	}
	digits := strings.Trim(t.leaf, `"`)
	ms, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || ms == 0 || digits == "" {
		return
	}
	switch key {
	case "lastUpdatedTimestamp", "registrationTimestamp", "lastRenewalTimestamp", "evictionTimestamp", "serviceUpTimestamp":
		t.leaf = strings.Replace(t.leaf, digits, "(a time)", 1)
	case "lastDirtyTimestamp":
		if w.from <= ms && ms <= w.to {
			t.leaf = strings.Replace(t.leaf, digits, "(now)", 1)
		}
	}
}

// keepOwn removes the applications of other sequences from a delta, which still tells of
// them, and the delta's version, which each server counts by itself.
func keepOwn(t *tree, token string) {
	list := t.at("applications")
	if list == nil {
		return
	}
	for key := range list.kids {
		if strings.HasPrefix(key, "application[") && !strings.Contains(key, token) {
			delete(list.kids, key)
		}
	}
	if v := list.at("versions__delta"); v != nil {
		v.leaf = "(a version)"
	}
}
