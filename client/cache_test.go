package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
)

// fakeServer is a server in fake time, with or without a stream.
type fakeServer struct {
	t *testing.T

	mu     sync.Mutex
	asked  []string // what was asked, in order
	list   eureka.Applications
	delta  eureka.Applications
	down   bool
	stream func(r *http.Request) (*http.Response, error) // nil: 404
}

func (s *fakeServer) roundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := r.URL.Path
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		what += " after " + id
	}
	s.asked = append(s.asked, what)
	switch {
	case s.down:
		return nil, errors.New("connection refused")
	case r.URL.Path == "/v1/watch" && s.stream != nil:
		return s.stream(r)
	case r.URL.Path == "/eureka/apps/":
		return answer(200, string(eureka.Form{}.AppendApplications(nil, s.list))), nil
	case r.URL.Path == "/eureka/apps/delta":
		return answer(200, string(eureka.Form{}.AppendApplications(nil, s.delta))), nil
	}
	return answer(404, ""), nil
}

// take returns what was asked since the last call.
func (s *fakeServer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.asked, ", ")
	s.asked = nil
	return out
}

func (s *fakeServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func item(id string, status eureka.Status, action eureka.ActionType) *eureka.InstanceInfo {
	i := instance()
	i.InstanceID, i.Status, i.ActionType = &id, status, action
	i.LastUpdatedTimestamp = time.Now().UnixMilli()
	return i
}

func listOf(hash string, all ...*eureka.InstanceInfo) eureka.Applications {
	return eureka.Applications{Version: "1", HashCode: hash, Applications: []eureka.Application{{Name: "DEMO", Instances: all}}}
}

// run starts a cache, which ends with the test.
func runCache(t *testing.T, s *fakeServer, opts CacheOptions, urls ...string) *Cache {
	t.Helper()
	if urls == nil {
		urls = []string{"http://a.test/eureka/"}
	}
	c, err := NewCache(newClient(t, s.roundTrip, urls...), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func ids(all []*eureka.InstanceInfo) string {
	var out []string
	for _, i := range all {
		out = append(out, i.ID()+" "+string(i.Status))
	}
	return strings.Join(out, ", ")
}

// documents returns instances as a server sends them.
func documents(all []*eureka.InstanceInfo) string {
	return string(eureka.Form{}.AppendApplications(nil, listOf("", all...)))
}

// TestCachePolls follows a server without a stream by deltas, as a Java one.
func TestCachePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{t: t, list: listOf("UP_2_", item("b", "UP", ""), item("a", "UP", ""))}
		c := runCache(t, s, CacheOptions{})
		<-c.Ready()
		synctest.Wait()
		if got := s.take(); got != "/v1/watch, /eureka/apps/" {
			t.Errorf("at first it asks %s", got)
		}
		if got := ids(c.Instances("demo")); got != "a UP, b UP" {
			t.Errorf("first list: %s", got)
		}
		changed := c.Changed("Demo")
		s.set(func() {
			s.delta = listOf("DOWN_1_UP_1_", item("b", "DOWN", eureka.Modified), item("c", "UP", eureka.Added), item("a", "UP", eureka.Deleted))
		})
		time.Sleep(DefaultPollInterval - time.Millisecond)
		synctest.Wait()
		if got := s.take(); got != "" {
			t.Errorf("ahead of time it asks %s", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("nobody was told of the change")
		}
		if got := s.take(); got != "/eureka/apps/delta" || ids(c.Instances("DEMO")) != "b DOWN, c UP" || ids(c.Up("DEMO")) != "c UP" {
			t.Errorf("after a delta: asked %s, has %s", got, ids(c.Instances("DEMO")))
		}
		// The same delta again changes nothing, and wakes nobody.
		changed = c.Changed("")
		time.Sleep(DefaultPollInterval)
		synctest.Wait()
		select {
		case <-changed:
			t.Error("woken for nothing")
		default:
		}
		if got := c.Stats(); got.Changes != 3 || got.Loads != 1 || got.Mismatches != 0 || got.Instances != 2 || got.Watching {
			t.Errorf("stats: %+v", got)
		}
		s.take()

		// A delta that was missed shows by the hash code.
		s.set(func() { s.list, s.delta = listOf("UP_1_", item("z", "UP", "")), listOf("UP_1_") })
		time.Sleep(DefaultPollInterval)
		synctest.Wait()
		if got := s.take(); got != "/eureka/apps/delta, /eureka/apps/" || ids(c.Instances("DEMO")) != "z UP" {
			t.Errorf("after a mismatch: asked %s, has %s", got, ids(c.Instances("DEMO")))
		}

		// While the server is gone the copy stays.
		s.set(func() { s.down = true })
		time.Sleep(10 * time.Minute)
		if ids(c.Instances("DEMO")) != "z UP" {
			t.Error("the copy is gone with the server")
		}
		if got := c.Stats(); got.Failures < 10 || got.Age < 10*time.Minute {
			t.Errorf("stats: %+v", got)
		}
		// It looks again for a stream at once, since that was another server for all it knows, and then
		// all five minutes.
		s.set(func() { s.down = false })
		s.take()
		time.Sleep(watchAgain + DefaultPollInterval)
		if got := s.take(); strings.Count(got, "/v1/watch") != 2 {
			t.Errorf("in five minutes it asks %s", got)
		}
	})
}

// TestCacheTellsChangesOfOneMillisecond has a server that changes an instance again in the
// millisecond of a change that the cache has seen: all timestamps stay as they are.
func TestCacheTellsChangesOfOneMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		was := item("a", "UP", eureka.Added)
		s := &fakeServer{t: t, list: listOf("UP_1_", was)}
		c := runCache(t, s, CacheOptions{NoWatch: true})
		<-c.Ready()
		text := "192.0.2.9"
		for name, change := range map[string]func(*eureka.InstanceInfo){
			"metadata":    func(i *eureka.InstanceInfo) { i.Metadata = map[string]string{"n": "1"} },
			"address":     func(i *eureka.InstanceInfo) { i.IPAddr = text },
			"port":        func(i *eureka.InstanceInfo) { i.Port.Number++ },
			"vipAddress":  func(i *eureka.InstanceInfo) { i.VIPAddress = &text },
			"data centre": func(i *eureka.InstanceInfo) { i.DataCenterInfo.Metadata = map[string]string{"n": "1"} },
			"duration":    func(i *eureka.InstanceInfo) { i.LeaseInfo.DurationInSecs++ },
		} {
			is := *was
			is.LeaseInfo = eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90}
			change(&is)
			before := c.Stats().Changes
			s.set(func() { s.delta = listOf("UP_1_", &is) })
			time.Sleep(DefaultPollInterval)
			synctest.Wait()
			if got := documents(c.Instances("DEMO")); got != documents([]*eureka.InstanceInfo{&is}) || c.Stats().Changes != before+1 {
				t.Errorf("%s: %d changes, has %s", name, c.Stats().Changes-before, got)
			}
			// The same again, after a heartbeat, is none.
			s.set(func() { is.LeaseInfo.LastRenewalTimestamp += 30_000 })
			changed := c.Changed("DEMO")
			time.Sleep(DefaultPollInterval)
			synctest.Wait()
			select {
			case <-changed:
				t.Errorf("%s: a heartbeat woke a reader", name)
			default:
			}
		}
	})
}

// streamOf answers with a stream that the test writes.
func streamOf(r *http.Request) (*http.Response, *io.PipeWriter) {
	body, w := io.Pipe()
	context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
	header := http.Header{"Content-Type": {"text/event-stream"}}
	return &http.Response{StatusCode: 200, Header: header, Body: body}, w
}

func change(t *testing.T, w io.Writer, seq int, id string, status eureka.Status) {
	value := ""
	if status != "" {
		value = `,"value":` + string(eureka.Form{}.AppendInstance(nil, item(id, status, "")))
	}
	write(t, w, fmt.Sprintf("id: x.%d\nevent: change\ndata: {\"seq\":%d,\"app\":\"DEMO\",\"instance\":%q%s}\n\n", seq, seq, id, value))
}

// TestCacheWatches follows a stream, goes on with it after it broke, and begins anew after one that
// can't be understood.
func TestCacheWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(chan *io.PipeWriter, 10)
		s := &fakeServer{t: t, stream: func(r *http.Request) (*http.Response, error) {
			res, w := streamOf(r)
			streams <- w
			return res, nil
		}}
		c := runCache(t, s, CacheOptions{})
		w := <-streams
		write(t, w, ": hello\n\nid: x.1\nevent: reset\ndata: "+string(eureka.Form{}.AppendApplications(nil, listOf("UP_1_", item("a", "UP", ""))))+"\n\n")
		<-c.Ready()
		changed := c.Changed("DEMO")
		change(t, w, 2, "b", "DOWN")
		<-changed
		changed = c.Changed("")
		change(t, w, 3, "a", "")
		<-changed
		synctest.Wait()
		if got := ids(c.Instances("DEMO")); got != "b DOWN" {
			t.Errorf("after two changes: %s", got)
		}
		if got := c.Stats(); !got.Watching || got.Loads != 1 || got.Changes != 2 {
			t.Errorf("stats: %+v", got)
		}
		if got := s.take(); got != "/v1/watch" {
			t.Errorf("asked %s", got)
		}

		// An id that came alone counts; one whose event did not end does not.
		write(t, w, "id: x.7\n\nid: x.8\nevent: change\ndata: {")
		w.CloseWithError(io.ErrUnexpectedEOF)
		w = <-streams
		if got := s.take(); got != "/v1/watch after x.7" {
			t.Errorf("after it broke it asks %s", got)
		}
		change(t, w, 8, "c", "UP")
		synctest.Wait()
		if got := ids(c.Instances("DEMO")); got != "b DOWN, c UP" || c.Stats().Loads != 1 {
			t.Errorf("after the second stream: %s", got)
		}

		// Silence of half a minute ends a stream.
		time.Sleep(DefaultWatchSilence - time.Millisecond)
		synctest.Wait()
		if got := s.take(); got != "" {
			t.Errorf("too early it asks %s", got)
		}
		time.Sleep(time.Minute)
		w = <-streams
		if got := s.take(); !strings.HasPrefix(got, "/v1/watch after x.8") {
			t.Errorf("after silence it asks %s", got)
		}
		for len(streams) > 0 {
			w = <-streams
		}
		write(t, w, "event: change\ndata: nonsense\n\n")
		w = <-streams
		if got := s.take(); !strings.HasSuffix(got, "/v1/watch") {
			t.Errorf("after nonsense it asks %s", got)
		}
		write(t, w, "event: later\ndata: {}\n\nevent: reset\ndata: {\"applications\":{\"application\":[]}}\n\n")
		synctest.Wait()
		if got := c.Instances("DEMO"); len(got) != 0 || len(c.Applications()) != 0 || c.Stats().Instances != 0 {
			t.Errorf("after an empty list: %s", ids(got))
		}
	})
}

// TestCacheWithoutRoom polls a node that has no room for watchers, and watches it as soon as it has.
func TestCacheWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(chan *io.PipeWriter, 1)
		full := true
		s := &fakeServer{t: t, list: listOf("UP_1_", item("a", "UP", "")), delta: listOf("UP_1_")}
		s.stream = func(r *http.Request) (*http.Response, error) {
			if full {
				return answer(503, "more than 1 requests wait for changes"), nil
			}
			res, w := streamOf(r)
			streams <- w
			return res, nil
		}
		c := runCache(t, s, CacheOptions{})
		<-c.Ready()
		time.Sleep(10 * time.Minute)
		if got := c.Stats(); got.Loads != 1 || got.Age > DefaultPollInterval || got.Watching {
			t.Errorf("without room: %+v", got)
		}
		s.set(func() { full = false })
		<-streams
	})
}

// TestCacheFailsOver goes on with the next server.
func TestCacheFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(chan *io.PipeWriter, 10)
		var hosts []string
		down := ""
		s := &fakeServer{t: t}
		s.stream = func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			if r.URL.Host == down {
				return nil, errors.New("connection refused")
			}
			res, w := streamOf(r)
			streams <- w
			return res, nil
		}
		runCache(t, s, CacheOptions{}, "http://a.test/eureka/v2/", "http://b.test/eureka/")
		w := <-streams
		write(t, w, "id: x.1\nevent: reset\ndata: {\"applications\":{\"application\":[]}}\n\n")
		synctest.Wait()
		s.set(func() { down = "a.test" })
		w.CloseWithError(io.EOF)
		<-streams
		if got := strings.Join(hosts, " "); got != "a.test a.test b.test" {
			t.Errorf("asked %s", got)
		}
	})
}

func TestNewCacheRefuses(t *testing.T) {
	if _, err := NewCache(nil, CacheOptions{PollInterval: -1, WatchSilence: -1}); err == nil || strings.Count(err.Error(), "client: ") != 3 {
		t.Errorf("got %v, want three faults", err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := runCache(t, &fakeServer{t: t}, CacheOptions{})
		synctest.Wait()
		if err := c.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
	})
}

// TestEvents reads what the standard allows.
func TestEvents(t *testing.T) {
	const text = ": comment\n\nid: 1\r\nevent: a\r\ndata: x\r\ndata: y\r\n\r\ndata:z\nretry: 5\n\nid\ndata\n\nevent: lost\n\nid: 9\ndata: unfinished"
	alive := 0
	s := newEvents(strings.NewReader(text), 1000, func() { alive++ })
	for _, want := range []struct{ name, id, data string }{{"a", "1", "x\ny"}, {"", "1", "z"}, {"", "", ""}} {
		e, err := s.next()
		if err != nil || e.name != want.name || string(e.data) != want.data || s.id != want.id {
			t.Errorf("got %q, %q and %q, %v, want %+v", e.name, e.data, s.id, err, want)
		}
	}
	if e, err := s.next(); !errors.Is(err, io.EOF) || s.id != "" || alive < 10 {
		t.Errorf("at the end: %+v, %v, id %q, alive %d", e, err, s.id, alive)
	}
	s = newEvents(strings.NewReader("data: "+strings.Repeat("x", 100_000)+"\n\n"), 100_000, func() {})
	if _, err := s.next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("beyond the bound: %v", err)
	}
}
