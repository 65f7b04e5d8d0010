package api_test

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

func TestRegisterLatin1(t *testing.T) {
	const content = "application/json;charset=ISO-8859-1"
	for name, zone := range map[string]string{"as it says": "caf\xe9", "UTF-8 all the same": "café"} {
		n := newNode(t, api.Options{})
		body := registration("ORDERS", "orders-1", `"metadata":{"zone":"`+zone+`"}`)
		n.want(t, 204, "POST", "/eureka/apps/ORDERS", body, "Content-Type", content)
		i, _ := n.reg.Instance(registry.NewKey("ORDERS", "orders-1"))
		if got := i.Metadata["zone"]; got != "café" {
			t.Errorf("%s: zone %q, want café", name, got)
		}
	}
}

// sendZipped posts a compressed body without telling its size.
func sendZipped(t *testing.T, n *node, path string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", path, bytes.NewReader(body))
	r.ContentLength = -1
	r.Header.Set("Content-Type", jsonType)
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	return w
}

func TestBodyBound(t *testing.T) {
	const bound = 1024
	pad := func(size int) string {
		short := registration("ORDERS", "orders-1", `"metadata":{"k":""}`)
		return strings.Replace(short, `"k":""`, `"k":"`+strings.Repeat("x", size-len(short))+`"`, 1)
	}
	for _, c := range []struct {
		name string
		size int
		code int
	}{{"at the bound", bound, 204}, {"beyond it", bound + 1, 413}} {
		n := newNode(t, api.Options{MaxBody: bound})
		w := n.want(t, c.code, "POST", "/eureka/apps/ORDERS", pad(c.size), "Content-Type", jsonType)
		if c.code == 413 && w.Body.String() != "body: larger than 1024 bytes" {
			t.Errorf("%s: body %q", c.name, w.Body)
		}
		// The same without the size in advance.
		n = newNode(t, api.Options{MaxBody: bound})
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/eureka/apps/ORDERS", strings.NewReader(pad(c.size)))
		r.ContentLength = -1
		r.Header.Set("Content-Type", jsonType)
		w = httptest.NewRecorder()
		n.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%s, chunked: status %d, want %d", c.name, w.Code, c.code)
		}
		// And compressed: what counts is what it becomes.
		n = newNode(t, api.Options{MaxBody: bound})
		if w := sendZipped(t, n, "/eureka/apps/ORDERS", zip(t, []byte(pad(c.size)))); w.Code != c.code {
			t.Errorf("%s, compressed: status %d, want %d", c.name, w.Code, c.code)
		}
	}
}

// TestInstanceBound: what counts is the task that a peer would be sent, however
// small the body was that it came in.
func TestInstanceBound(t *testing.T) {
	const bound = 4096
	task := func(metadata string) int {
		n := newNode(t, api.Options{})
		n.put(t, "ORDERS", "orders-1", `"metadata":{"k":"`+metadata+`"}`)
		entry, _, ok := n.reg.Entry(registry.NewKey("ORDERS", "orders-1"))
		if !ok {
			t.Fatal("not registered")
		}
		item := entry.Item(registry.NewKey("ORDERS", "orders-1"), 0)
		return len(eureka.AppendItem(nil, &item))
	}
	const slack = 256 // versions and ages have few digits here
	bare := task("")
	for _, c := range []struct {
		name     string
		metadata string
		code     int
	}{
		{"small", "x", 204},
		{"below the bound", strings.Repeat("x", bound-bare-slack), 204},
		{"beyond it", strings.Repeat("x", bound-bare+1), 413},
		{"beyond it once escaped", strings.Repeat(`\u0001`, (bound-bare)/6+1), 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := task(c.metadata); (got > bound) != (c.code == 413) {
				t.Fatalf("the task has %d bytes, bound %d: the case is wrong", got, bound)
			}
			n := newNode(t, api.Options{Node: &fakeNode{now: ready, maxTask: bound}})
			w := n.want(t, c.code, "POST", "/eureka/apps/ORDERS",
				registration("ORDERS", "orders-1", `"metadata":{"k":"`+c.metadata+`"}`), "Content-Type", jsonType)
			if c.code == 413 && !strings.HasPrefix(w.Body.String(), "instance: larger than 4096 bytes as a task") {
				t.Errorf("body %q", w.Body)
			}
			if _, stored := n.reg.Instance(registry.NewKey("ORDERS", "orders-1")); stored != (c.code == 204) {
				t.Errorf("stored: %t", stored)
			}
		})
	}
	n := newNode(t, api.Options{Node: &fakeNode{now: ready, maxTask: bound}})
	n.put(t, "ORDERS", "orders-1", `"metadata":{"zone":"a"}`)
	n.want(t, 200, "PUT", orders1+"/metadata?k="+strings.Repeat("x", bound-bare-slack), "")
	w := n.want(t, 413, "PUT", orders1+"/metadata?l="+strings.Repeat("x", slack), "")
	if got := w.Body.String(); !strings.HasPrefix(got, "instance: larger than 4096 bytes as a task") {
		t.Errorf("body %q", got)
	}
	i, _ := n.reg.Instance(registry.NewKey("ORDERS", "orders-1"))
	if _, merged := i.Metadata["l"]; merged || i.Metadata["zone"] != "a" || len(i.Metadata) != 2 {
		t.Errorf("metadata keys %v, want zone and k", slices.Collect(maps.Keys(i.Metadata)))
	}
}

// TestCompressedBomb: zeros that become a hundred times as much, and members that become
// nothing at all.
func TestCompressedBomb(t *testing.T) {
	var zeros bytes.Buffer
	z, err := gzip.NewWriterLevel(&zeros, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range 8 {
		if _, err := z.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	nothing := bytes.Repeat(zip(t, nil), 20_000)
	n := newNode(t, api.Options{MaxBody: 64 << 10})
	for name, body := range map[string][]byte{"zeros": zeros.Bytes(), "nothing": nothing} {
		if w := sendZipped(t, n, "/eureka/apps/ORDERS", body); w.Code != 413 {
			t.Errorf("%s: status %d, want 413", name, w.Code)
		}
	}
}

func TestCompressedRegistration(t *testing.T) {
	n := newNode(t, api.Options{})
	body := zip(t, []byte(registration("ORDERS", "orders-1", "")))
	for range 2 { // the second with a reader that was used before
		if w := sendZipped(t, n, "/eureka/apps/ORDERS", body); w.Code != 204 {
			t.Errorf("status %d, want 204", w.Code)
		}
	}
	if w := sendZipped(t, n, "/eureka/apps/ORDERS", body[:len(body)-4]); w.Code != 400 {
		t.Errorf("cut off: status %d, want 400", w.Code)
	}
}
