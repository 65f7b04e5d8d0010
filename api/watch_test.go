package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// pipes is a listener in memory, which works in a bubble too.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// piped serves a handler over pipes, with the time-outs of a server.
func piped(tb testing.TB, h http.Handler) *pipes {
	tb.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h, ReadTimeout: api.ReadTimeout, WriteTimeout: api.WriteTimeout}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(p); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			tb.Error(err)
		}
	}()
	tb.Cleanup(func() {
		server.Close() //nolint:errcheck // nobody cares any more
		p.Close()      //nolint:errcheck // the same
		<-ended
	})
	return p
}

// watching is a client of /v1/watch.
type watching struct {
	net.Conn
	*http.Response
	in *bufio.Scanner
}

// open sends a GET. The caller closes it.
func (p *pipes) open(tb testing.TB, path string, headers ...string) *watching {
	tb.Helper()
	w, err := p.tryOpen(path, headers...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.Conn.Close() }) //nolint:errcheck // it may be closed
	return w
}

func (p *pipes) tryOpen(path string, headers ...string) (*watching, error) {
	here, there := net.Pipe()
	p.conns <- there
	return p.ask(here, path, headers...)
}

func (p *pipes) ask(here net.Conn, path string, headers ...string) (*watching, error) {
	text := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	for i := 0; i < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if _, err := here.Write([]byte(text + "\r\n")); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(here), nil) //nolint:bodyclose // its connection is closed
	if err != nil {
		return nil, err
	}
	w := &watching{here, resp, bufio.NewScanner(resp.Body)}
	w.in.Buffer(nil, 8<<20)
	return w, nil
}

// sse is one server-sent event. name is empty for what is none: a comment, or an id alone.
type sse struct{ id, name, data string }

func (w *watching) next() (sse, error) {
	var e sse
	for w.in.Scan() {
		field, value, _ := strings.Cut(w.in.Text(), ": ")
		switch field {
		case "":
			if w.in.Text() == "" {
				return e, nil
			}
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		}
	}
	if err := w.in.Err(); err != nil {
		return e, err
	}
	return e, io.EOF
}

func (w *watching) want(tb testing.TB, name string) sse {
	tb.Helper()
	e, err := w.next()
	if err != nil || e.name != name {
		tb.Fatalf("event %+v, %v; want a %q", e, err, name)
	}
	return e
}

// changed is the data of a change.
type changed struct {
	api.HistoryEvent
	Value map[string]any `json:"value"`
}

func decode[T any](tb testing.TB, data string) T {
	tb.Helper()
	var out T
	if err := json.Unmarshal([]byte(data), &out); err != nil {
		tb.Fatalf("%v: %.500s", err, data)
	}
	return out
}

// listed returns the instances of a list in JSON, by APP/id, without what renewals change.
func listed(tb testing.TB, list string) map[string]map[string]any {
	tb.Helper()
	type apps struct {
		Applications struct {
			Application []struct {
				Instance []map[string]any `json:"instance"`
			} `json:"application"`
		} `json:"applications"`
	}
	out := map[string]map[string]any{}
	for _, a := range decode[apps](tb, list).Applications.Application {
		for _, i := range a.Instance {
			out[fmt.Sprint(i["app"], "/", i["instanceId"])] = withoutRenewal(i)
		}
	}
	return out
}

func withoutRenewal(i map[string]any) map[string]any {
	if lease, ok := i["leaseInfo"].(map[string]any); ok {
		delete(lease, "lastRenewalTimestamp")
	}
	return i
}

// apply does to a map what an event says.
func apply(tb testing.TB, known map[string]map[string]any, e sse) map[string]map[string]any {
	tb.Helper()
	switch e.name {
	case "reset":
		return listed(tb, e.data)
	case "change":
		c := decode[changed](tb, e.data)
		key := c.App + "/" + c.Instance
		if known = maps.Clone(known); c.Value == nil {
			delete(known, key)
		} else {
			known[key] = withoutRenewal(c.Value)
		}
	}
	return known
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, api.Options{})
		n.put(t, "ORDERS", "a", "")
		p := piped(t, n)
		all, carts := p.open(t, "/v1/watch"), p.open(t, "/v1/watch?app=carts")
		if got := all.Header.Get("Content-Type"); all.StatusCode != 200 || got != "text/event-stream" {
			t.Errorf("status %d, %s", all.StatusCode, got)
		}
		if got := listed(t, all.want(t, "reset").data); len(got) != 1 || got["ORDERS/a"] == nil {
			t.Errorf("the first list: %v", got)
		}
		if got := listed(t, carts.want(t, "reset").data); len(got) != 0 {
			t.Errorf("the first list of CARTS: %v", got)
		}
		n.put(t, "CARTS", "b", "")
		n.want(t, 200, "PUT", "/eureka/apps/ORDERS/a/status?value=OUT_OF_SERVICE", "")
		n.want(t, 200, "PUT", "/eureka/apps/CARTS/b?lastDirtyTimestamp=1700000000000", "") // no change
		n.want(t, 200, "DELETE", "/eureka/apps/CARTS/b", "")
		time.Sleep(time.Second)
		want := []string{"CARTS/b registered UP true", "ORDERS/a override-set OUT_OF_SERVICE true", "CARTS/b cancelled  false"}
		lastSeq := uint64(0)
		for i, want := range want {
			if i == 0 {
				continue // the cancel has come before it was sent: it tells more
			}
			e := all.want(t, "change")
			c := decode[changed](t, e.data)
			if got := fmt.Sprintf("%s/%s %s %s %v", c.App, c.Instance, c.Kind, c.Status, c.Value != nil); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if !strings.HasSuffix(e.id, "."+strconv.FormatUint(c.Seq, 10)) || c.Seq <= lastSeq {
				t.Errorf("id %s after %d, of %d", e.id, lastSeq, c.Seq)
			}
			lastSeq = c.Seq
		}
		if c := decode[changed](t, carts.want(t, "change").data); c.App != "CARTS" || c.Kind != "cancelled" {
			t.Errorf("the watcher of CARTS gets %+v", c)
		}
		n.put(t, "CARTS", "c", "")
		c := decode[changed](t, carts.want(t, "change").data)
		if c.Value["hostName"] != "h" || c.Value["instanceId"] != "c" || c.Kind != "registered" || c.From != "192.0.2.1:1234" {
			t.Errorf("the register: %+v", c)
		}
		all.want(t, "change")
		all.want(t, "") // after 15 s
	})
}

// TestWatchAgain: a watcher that is cut off a thousand times, anywhere, and comes back with
// the id of the last event that it has whole, ends with what the registry has.
func TestWatchAgain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	reg := prometheus.NewRegistry()
	n := newNode(t, api.Options{Metrics: reg})
	p := piped(t, n)
	ctx, over := context.WithCancel(t.Context())
	defer over()
	var (
		mu       sync.Mutex
		conn     net.Conn // guarded by mu
		known    map[string]map[string]any
		lastID   string
		connects int
	)
	seqOf := func(id string) uint64 {
		_, number, _ := strings.Cut(id, ".")
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return 0
		}
		return seq
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil || seqOf(lastID) < n.history.Last() {
			here, there := net.Pipe()
			mu.Lock()
			conn = here
			mu.Unlock()
			p.conns <- there
			connects++
			w, err := p.ask(here, "/v1/watch", "Last-Event-ID", lastID)
			if err != nil {
				continue
			}
			for e, err := w.next(); err == nil; e, err = w.next() {
				known = apply(t, known, e)
				if e.id != "" {
					lastID = e.id
				}
				if ctx.Err() != nil && seqOf(lastID) >= n.history.Last() {
					break
				}
			}
			here.Close() //nolint:errcheck // it may be closed
		}
	}()
	const cuts = 1000
	for cut := range cuts {
		for range 1 + rnd.IntN(6) {
			randomChange(rnd, n.reg)
		}
		mu.Lock()
		if conn != nil {
			conn.Close() //nolint:errcheck // it may be closed
		}
		conn = nil
		mu.Unlock()
		if cut%2 == 0 { // let it come back, and read something
			for back := false; !back; {
				mu.Lock()
				back = conn != nil
				mu.Unlock()
			}
		}
	}
	n.put(t, "LAST", "last", "")
	over()
	<-done
	if want := listed(t, n.want(t, 200, "GET", "/eureka/apps", "", "Accept", jsonType).Body.String()); !reflect.DeepEqual(known, want) {
		t.Errorf("after %d connections it knows %d instances, the registry has %d", connects, len(known), len(want))
		for key := range want {
			if !reflect.DeepEqual(known[key], want[key]) {
				t.Errorf("%s: %v\nwant %v", key, known[key], want[key])
			}
		}
	}
	if connects < cuts/2 {
		t.Errorf("%d connections, want more", connects)
	}
	for _, reason := range []string{"lost", "foreign_id"} {
		if got := value(t, reg, "registryd_watch_resets_total", reason); got != 0 {
			t.Errorf("%v lists for the reason %s: nothing was lost", got, reason)
		}
	}
}

// randomChange does anything to one of 30 instances.
func randomChange(rnd *rand.Rand, reg *registry.Registry) {
	app, id := fmt.Sprint("APP", rnd.IntN(3)), fmt.Sprint("i-", rnd.IntN(10))
	key := registry.NewKey(app, id)
	switch rnd.IntN(5) {
	case 0:
		reg.Cancel(key, registry.Origin{})
	case 1:
		reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	case 2:
		reg.SetMetadata(key, map[string]string{"n": fmt.Sprint(rnd.IntN(100))}, registry.Origin{})
	default:
		reg.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: "h", App: app, IPAddr: "192.0.2.1", Status: eureka.StatusUp,
			OverriddenStatus: eureka.StatusUnknown,
			DataCenterInfo:   eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: time.Now().UnixMilli(),
		}, registry.Origin{})
	}
}

// value returns a metric of one label.
func value(tb testing.TB, reg *prometheus.Registry, name, label string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	tb.Fatalf("no metric %s of %q", name, label)
	return 0
}

// TestWatchResets: an id of another life, of the future, or of what is gone, begins anew.
func TestWatchResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, other := newNode(t, api.Options{}), newNode(t, api.Options{})
		p, q := piped(t, n), piped(t, other)
		n.put(t, "ORDERS", "a", "")
		other.put(t, "ORDERS", "a", "")
		id := p.open(t, "/v1/watch").want(t, "reset").id
		life, _, _ := strings.Cut(id, ".")
		n.put(t, "ORDERS", "b", "")
		if e := p.open(t, "/v1/watch", "Last-Event-ID", id).want(t, "change"); !strings.Contains(e.data, `"instance":"b"`) {
			t.Errorf("after its id: %+v", e)
		}
		q.open(t, "/v1/watch", "Last-Event-ID", id).want(t, "reset")
		for _, bad := range []string{life + ".99", life, life + ".x", "x"} {
			p.open(t, "/v1/watch", "Last-Event-ID", bad).want(t, "reset")
		}
		for i := range 40_000 { // more than this history holds
			n.reg.SetStatus(registry.NewKey("ORDERS", "a"), []eureka.Status{"UP", "DOWN"}[i%2], eureka.NoTimestamp, registry.Origin{})
		}
		e := p.open(t, "/v1/watch", "Last-Event-ID", id).want(t, "reset")
		if got := listed(t, e.data); len(got) != 2 || e.id == id {
			t.Errorf("after a loss: id %s, %v", e.id, got)
		}
	})
}

// TestWatchBounds: who does not read is cut off, who comes late is refused, and all end
// with the node.
func TestWatchBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		n := newNode(t, api.Options{MaxWatchers: 2, Metrics: reg})
		p := piped(t, n)
		slow, good := p.open(t, "/v1/watch"), p.open(t, "/v1/watch")
		good.want(t, "reset")
		for _, path := range []string{"/v1/watch", "/v1/watch"} {
			if w := p.open(t, path); w.StatusCode != 503 || w.Header.Get("Retry-After") == "" {
				t.Errorf("a third one: %d", w.StatusCode)
			}
		}
		slow.want(t, "reset")
		time.Sleep(time.Second) // so that the change does not wait for others
		synctest.Wait()
		began := time.Now()
		n.put(t, "ORDERS", "a", "")
		good.want(t, "change")
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if got := value(t, reg, "registryd_watch_open", ""); got != 2 {
			t.Errorf("%v are open after %v, want 2", got, time.Since(began))
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if open, cut := value(t, reg, "registryd_watch_open", ""), value(t, reg, "registryd_watch_ended_total", "slow"); open != 1 || cut != 1 {
			t.Errorf("%v are open after %v and %v were cut off, want 1 and 1", open, time.Since(began), cut)
		}
		for since := began; time.Since(since) < time.Hour; {
			good.want(t, "") // no time-out of the server ends it
		}
		again := p.open(t, "/v1/watch")
		again.want(t, "reset")
		good.Conn.Close() //nolint:errcheck // nobody cares any more
		synctest.Wait()
		if got := value(t, reg, "registryd_watch_ended_total", "gone"); got != 1 {
			t.Errorf("%v have gone, want 1", got)
		}
		n.Handler.(*api.Handler).EndStreams()
		if e, err := again.next(); !errors.Is(err, io.EOF) {
			t.Errorf("the node ends: %+v, %v", e, err)
		}
	})
}

func TestWatchRefuses(t *testing.T) {
	now := &fakeNode{now: api.Readiness{State: "syncing"}}
	n := newNode(t, api.Options{Node: now})
	if w := n.want(t, 503, "GET", "/v1/watch", ""); w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After while it is syncing")
	}
	now.now = ready
	n.want(t, 400, "GET", "/v1/watch?application=x", "")
	n.want(t, 400, "GET", "/v1/watch?app=", "")
	n.want(t, 405, "POST", "/v1/watch", "")
}

// TestDeltaWaits: a delta with wait is answered when something changes, or in the end.
func TestDeltaWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		n := newNode(t, api.Options{MaxWatchers: 1, Metrics: reg})
		n.put(t, "ORDERS", "a", "")
		p := piped(t, n)
		const path = "/eureka/apps/delta?wait=30s"
		tag := p.open(t, path, "Accept", jsonType).Header.Get("ETag")
		ask := func(tag string) (code int, took time.Duration, body string) {
			began := time.Now()
			w := p.open(t, path, "Accept", jsonType, "If-None-Match", tag)
			text, err := io.ReadAll(w.Body)
			if err != nil {
				t.Error(err)
			}
			return w.StatusCode, time.Since(began), string(text)
		}
		if code, took, _ := ask(tag); code != 304 || took != 30*time.Second {
			t.Errorf("nothing changes: %d after %v, want 304 after 30s", code, took)
		}
		time.AfterFunc(7*time.Second, func() { n.put(t, "ORDERS", "b", "") })
		if code, took, body := ask(tag); code != 200 || took != 7*time.Second || !strings.Contains(body, `"instanceId":"b"`) {
			t.Errorf("a register after 7s: %d after %v, %s", code, took, body)
		}
		if code, took, _ := ask(tag); code != 200 || took != 0 {
			t.Errorf("an old tag: %d after %v, want 200 at once", code, took)
		}
		tag = p.open(t, path, "Accept", jsonType).Header.Get("ETag")
		var waiting sync.WaitGroup
		waiting.Go(func() { ask(tag) })
		synctest.Wait()
		if code, took, _ := ask(tag); code != 503 || took != 0 {
			t.Errorf("beyond the bound: %d after %v, want 503 at once", code, took)
		}
		waiting.Wait()
		for _, wait := range []string{"0s", "61s", "x", "-1s"} {
			n.want(t, 400, "GET", "/eureka/apps/delta?wait="+wait, "")
		}
		n.want(t, 304, "GET", "/eureka/apps/delta", "", "Accept", jsonType, "If-None-Match", tag) // at once
	})
}
