package page_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/page"
)

// start runs the feed of a site until the test ends.
func (s *site) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// stream is an open page in fake time.
type stream struct {
	mu     sync.Mutex
	header http.Header
	code   int
	text   strings.Builder
	close  context.CancelFunc
	done   chan struct{}
}

var _ http.Flusher = (*stream)(nil)

func (s *stream) Header() http.Header  { return s.header }
func (s *stream) WriteHeader(code int) { s.code = code }
func (s *stream) Flush()               {}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// read returns what came since the last read.
func (s *stream) read() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// open opens a page.
func (s *site) open(t *testing.T) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &stream{header: http.Header{}, close: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/page/live", nil))
	}()
	t.Cleanup(func() {
		cancel()
		<-w.done
	})
	return w
}

// TestLive: an open page gets what changes, at most four times a second, and a word
// every 15 s; while nobody looks the node is left alone.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, page.Options{}, nil)
		s.start(t)
		time.Sleep(time.Minute)
		if got := s.node.looks(); got != 0 {
			t.Errorf("looked at the node %d times with no page open", got)
		}
		w := s.open(t)
		synctest.Wait()
		lacks(t, w.read(), "retry: ", "event: state\ndata: <section", "event: pipeline\n", "event: list\n")
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if got := w.read(); got != "" {
			t.Errorf("nothing has changed, and the page got %q", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := w.read(); got != ": still here\n\n" {
			t.Errorf("after 15 s: %q", got)
		}
		s.put("ORDERS", "o-1", nil)
		time.Sleep(page.Tick)
		synctest.Wait()
		got := w.read()
		lacks(t, got, "event: state\n", "event: list\n")
		has(t, got, "event: pipeline\n")

		w.close()
		<-w.done
		time.Sleep(2 * time.Minute)
		before := s.node.looks()
		time.Sleep(time.Minute)
		if got := s.node.looks(); got != before {
			t.Errorf("looked at the node %d times after the page was closed", got-before)
		}
	})
}

// TestLiveWakes: what happens is on a page at once, and no other look is nearer than a quarter
// of a second. Where nothing happens the node is looked at once a second, and as often as a page
// may be told while something is on its way to a peer.
func TestLiveWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHistoric(t, page.Options{})
		s.start(t)
		w := s.open(t)
		time.Sleep(10*time.Second + page.StillTick/2)
		synctest.Wait()
		w.read()
		before := s.node.looks()
		time.Sleep(10 * time.Second)
		if got := s.node.looks() - before; got != 10 {
			t.Errorf("looked at the node %d times in 10 s of silence, want 10", got)
		}
		s.put("ORDERS", "o-1", nil)
		synctest.Wait() // no time passes
		lacks(t, w.read(), "event: state\n", "event: list\n", "event: recent\n")
		s.put("ORDERS", "o-2", nil)
		time.Sleep(page.Tick - time.Millisecond)
		synctest.Wait()
		if got := w.read(); got != "" {
			t.Errorf("sooner than a tick after the last update: %q", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		lacks(t, w.read(), "event: list\n")

		s.node.set(func(o *api.Overview) {
			o.Peers = []api.PeerOverview{{Name: "node-2", Status: "reachable", ProcessingOrder: 1}}
		})
		time.Sleep(2*page.StillTick + page.Tick/2)
		before = s.node.looks()
		time.Sleep(10 * page.Tick)
		if got := s.node.looks() - before; got != 10 {
			t.Errorf("looked at the node %d times in 2.5 s with something on its way, want 10", got)
		}
	})
}

// TestLiveRate: however much changes, a page gets four updates a second, and all pages
// the same ones.
func TestLiveRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, page.Options{}, nil)
		s.start(t)
		pages := []*stream{s.open(t), s.open(t), s.open(t)}
		synctest.Wait()
		for _, w := range pages {
			w.read()
		}
		before := s.node.looks()
		for i := range 200 {
			s.put("ORDERS", fmt.Sprint("o-", i), nil)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		first := pages[0].read()
		if got := strings.Count(first, "event: list\n"); got < 7 || got > 8 {
			t.Errorf("%d updates in 2 s, want 8", got)
		}
		for _, w := range pages[1:] {
			if w.read() != first {
				t.Error("two pages got different updates")
			}
		}
		if got := s.node.looks() - before; got > 8 {
			t.Errorf("looked at the node %d times in 2 s for three pages, want 8", got)
		}
	})
}

// TestLiveOfManyPeers: the pipelines to more than eight peers are shown once a second, also
// while nothing else changes.
func TestLiveOfManyPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for peers, want := range map[int]int{8: 20, 9: 5} {
			s := newSite(t, page.Options{}, nil)
			ctx, cancel := context.WithCancel(t.Context())
			go s.Run(ctx)
			set := func(queued int) {
				s.node.set(func(o *api.Overview) {
					o.Peers = nil
					for i := range peers {
						o.Peers = append(o.Peers, api.PeerOverview{Name: fmt.Sprint("p-", i), Status: "reachable", AcceptorQueue: queued})
					}
				})
			}
			set(0)
			w := s.open(t)
			synctest.Wait()
			w.read()
			for i := range 500 {
				time.Sleep(10 * time.Millisecond)
				set(i + 1)
			}
			synctest.Wait()
			if got := strings.Count(w.read(), "event: pipeline\n"); got < want-1 || got > want {
				t.Errorf("%d peers: drawn %d times in 5 s, want %d", peers, got, want)
			}
			cancel()
			<-w.done
		}
	})
}

// TestLiveBound: beyond the bound a page is told so; a place that was given back is free.
func TestLiveBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, page.Options{MaxLive: 2}, nil)
		s.start(t)
		one := s.open(t)
		s.open(t)
		synctest.Wait()
		third := s.open(t)
		synctest.Wait()
		select {
		case <-third.done:
			if third.code != http.StatusServiceUnavailable || third.header.Get("Retry-After") == "" {
				t.Errorf("status %d, header %v, want 503 with Retry-After", third.code, third.header)
			}
		default:
			t.Error("a third page is live, want two at most")
		}
		one.close()
		<-one.done
		again := s.open(t)
		synctest.Wait()
		lacks(t, again.read(), "event: state\n")
	})
}

// TestLiveEnds: a node that stops ends the streams, so that its HTTP server need not wait.
func TestLiveEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, page.Options{}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			s.Run(ctx)
			close(ended)
		}()
		w := s.open(t)
		synctest.Wait()
		cancel()
		<-ended
		<-w.done
	})
}

// TestLiveOverHTTP: the stream outlives the deadlines that the server has for requests.
func TestLiveOverHTTP(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second // a busy machine takes a while to send a request
	s := newSite(t, page.Options{}, nil)
	s.start(t)
	server := httptest.NewUnstartedServer(s)
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	server.Start()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/page/live", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // The stream was cut off by us.
	lines := bufio.NewScanner(res.Body)
	updates, began := 0, time.Now()
	for lines.Scan() {
		if lines.Text() != "event: list" {
			continue
		}
		if updates++; updates > 3 && time.Since(began) > timeout+timeout/2 {
			return
		}
		s.put("ORDERS", fmt.Sprint("o-", updates), func(i *eureka.InstanceInfo) { i.HostName = "h" })
	}
	t.Fatalf("the stream ended after %v and %d updates: %v", time.Since(began), updates, lines.Err())
}

// TestPipelineInWords: what a peer's trouble is, and what ends it.
func TestPipelineInWords(t *testing.T) {
	for name, c := range map[string]struct {
		peer api.PeerOverview
		want []string
	}{
		"well":       {api.PeerOverview{Status: "reachable"}, []string{`class="peer ok"`, "in touch"}},
		"left":       {api.PeerOverview{Status: "left", Silent: 61}, []string{`class="peer warn"`, "stopped", "goodbye 1 min 1 s ago", "when it starts again"}},
		"gone":       {api.PeerOverview{Status: "unreachable", Silent: 9}, []string{`class="peer bad"`, "Nothing was heard of it for 9 s.", "after 5 minutes of silence"}},
		"absent":     {api.PeerOverview{Status: "reachable", Waiting: "absent", WaitLeft: .1}, []string{`class="peer warn"`, "waiting", "Nobody takes batches", "tried in 100 ms"}},
		"busy":       {api.PeerOverview{Status: "reachable", Waiting: "busy", Lag: 20}, []string{`class="peer bad"`, "asked for time"}},
		"behind":     {api.PeerOverview{Status: "reachable", Lag: 7.5}, []string{`class="peer warn"`, "It is 7.5 s behind."}},
		"differs":    {api.PeerOverview{Status: "reachable", Divergent: 3}, []string{`class="peer warn"`, "3 instances stay different there."}},
		"fast clock": {api.PeerOverview{Status: "reachable", Skew: -4}, []string{"4.0 s ahead of this node"}},
		"gathering":  {api.PeerOverview{Status: "reachable", ProcessingOrder: 31, Oldest: .2}, []string{"next batch: 31 of 250, in", "300 ms"}},
		"full":       {api.PeerOverview{Status: "reachable", ProcessingOrder: 900, Oldest: .9, Batches: 4, BatchWorkQueue: 1}, []string{"next batch: 250 of 250, waits for a free place"}},
		"answers": {
			api.PeerOverview{Status: "reachable", Answers: map[string]uint64{"200": 1234, "404": 2, "409": 3}, Dropped: map[string]uint64{"overflowed": 5, "expired": 9}},
			[]string{">1,234<", "not there, sent whole", "newer there, joined here", "too many waited"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, page.Options{}, nil)
			c.peer.Name = "node-2"
			s.node.set(func(o *api.Overview) { o.Peers = []api.PeerOverview{c.peer} })
			lacks(t, s.get(t, 200, "/"), c.want...)
		})
	}
}

// TestListIsShared: pages that show the same list cost one rendering, until it changes or
// is a second old.
func TestListIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, page.Options{}, nil)
		s.put("ORDERS", "o-1", nil)
		ask := func() (looks int) {
			before := s.node.looks()
			for range 10 {
				s.get(t, 200, "/page/list?q=o-")
			}
			return s.node.looks() - before
		}
		if got := ask(); got != 1 {
			t.Errorf("rendered %d times for ten pages, want once", got)
		}
		time.Sleep(999 * time.Millisecond)
		if got := ask(); got != 0 {
			t.Errorf("rendered %d times within a second, want not at all", got)
		}
		time.Sleep(time.Millisecond)
		if got := ask(); got != 1 {
			t.Errorf("rendered %d times after a second, want once", got)
		}
		s.put("ORDERS", "o-2", nil)
		if got := ask(); got != 1 {
			t.Errorf("rendered %d times after a change, want once", got)
		}
		lacks(t, s.get(t, 200, "/page/list?q=o-"), ">o-2<")
	})
}
