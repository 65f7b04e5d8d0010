package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// pieces is a ResponseWriter that keeps the body, and the size of the greatest piece of it.
type pieces struct {
	*httptest.ResponseRecorder
	greatest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.greatest = max(p.greatest, len(b))
	return p.ResponseRecorder.Write(b)
}

// The versions of many entries are sent in pieces, and are all there.
func TestVersionsInPieces(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", `a\"entries\":[]b`, "") // as the text around the entries
	const many = 3000
	for i := range many {
		info, err := eureka.DecodeInstance(eureka.JSON, []byte(registration("APP-"+strconv.Itoa(i%7), "i-"+strconv.Itoa(i), "")))
		if err != nil {
			t.Fatal(err)
		}
		n.reg.Register(info, registry.Origin{})
	}
	w := &pieces{ResponseRecorder: httptest.NewRecorder()}
	n.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/versions", http.NoBody))
	var got api.Versions
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %.200s", err, w.Body)
	}
	seen := make(map[string]bool)
	for _, e := range got.Entries {
		seen[e.App+"/"+e.ID] = true
		if version, _, ok := n.reg.Entry(registry.NewKey(e.App, e.ID)); !ok || version.Record.Version != e.Record {
			t.Errorf("%s/%s: version %d, want %d", e.App, e.ID, e.Record, version.Record.Version)
		}
	}
	if len(got.Entries) != many+1 || len(seen) != many+1 {
		t.Errorf("%d entries of %d instances, want %d", len(got.Entries), len(seen), many+1)
	}
	if bound := 64 << 10; w.greatest > bound || w.Body.Len() < 2*bound {
		t.Errorf("pieces of up to %d bytes, of %d, want at most %d", w.greatest, w.Body.Len(), bound)
	}
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content type %q", got)
	}
}

// Without an entry the list of them is empty, not null.
func TestVersionsOfNothing(t *testing.T) {
	n := newNode(t, api.Options{})
	if body := n.want(t, 200, "GET", "/versions", "").Body.String(); !strings.Contains(body, `"entries":[]`) {
		t.Errorf("%s", body)
	}
}
