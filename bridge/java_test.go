package bridge_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/bridge"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// java stands in for a Java server: Eureka's rules are those of the consumer, which
// have their own tests against a real one. It answers requests in memory.
type java struct {
	t  *testing.T
	mu sync.Mutex
	// what it holds; replaced by restart
	reg      *registry.Registry
	consumer *consumer.Consumer
	down     bool                       // it refuses connections
	hangs    bool                       // it answers nothing
	status   func(body string) int      // of an answer to a batch; 0: it is applied
	answer   func(answer string) string // changes the answer to a batch
	batches  []string
	logins   map[string]bool
	queries  []string // of requests for the list
	// localOnly is an option of its peer
	localOnly bool
	cluster   string // whose node it says it is; "": it is a Java server
}

func newJava(t *testing.T) *java {
	j := &java{t: t, logins: make(map[string]bool)}
	j.restart()
	return j
}

// restart makes it forget everything.
func (j *java) restart() {
	reg, err := registry.New(registry.Options{LeaseCompat: registry.Netflix, FutureTimestamps: true})
	if err != nil {
		j.t.Fatal(err)
	}
	apply, err := consumer.New(reg, consumer.Options{})
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(apply.Close)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reg, j.consumer = reg, apply
}

// set changes how it answers.
func (j *java) set(f func(*java)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f(j)
}

// RoundTrip implements http.RoundTripper.
func (j *java) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	user, password, _ := req.BasicAuth()
	j.logins[user+":"+password] = true
	switch {
	case j.down:
		return nil, syscall.ECONNREFUSED
	case j.hangs:
		j.mu.Unlock()
		<-req.Context().Done()
		j.mu.Lock()
		return nil, req.Context().Err()
	}
	reply := func(code int, body []byte) (*http.Response, error) {
		header := http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}
		if j.cluster != "" && req.Method == http.MethodPost {
			header.Set(eureka.ClusterHeader, j.cluster)
		}
		return &http.Response{
			StatusCode: code, Header: header,
			Body: io.NopCloser(bytes.NewReader(body)), Request: req,
		}, nil
	}
	switch req.Method + " " + req.URL.Path {
	case "GET /eureka/apps":
		j.queries = append(j.queries, req.URL.RawQuery)
		if j.cluster == "default" {
			return reply(403, nil) // a node that starts
		}
		return reply(200, eureka.Form{Format: eureka.JSON}.AppendApplications(nil, j.reg.Applications()))
	case "POST /eureka/peerreplication/batch/":
	default:
		return reply(404, nil)
	}
	if j.status != nil {
		if code := j.status(string(body)); code != 0 {
			return reply(code, []byte("no"))
		}
	}
	list, err := eureka.DecodeReplicationList(body, eureka.ListOptions{}) // strict: an unknown member is refused
	if err != nil {
		return reply(400, nil)
	}
	if len(list) > 0 {
		j.batches = append(j.batches, string(body))
	}
	answer := eureka.AppendReplicationListResponse(nil, j.consumer.Apply("java-1", list))
	if j.answer != nil {
		answer = []byte(j.answer(string(answer)))
	}
	return reply(200, answer)
}

// seen returns the batches that were applied since the last call.
func (j *java) seen() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.batches
	j.batches = nil
	return out
}

// node is a node with a Java server as its only peer.
type node struct {
	t       *testing.T
	reg     *registry.Registry
	cluster *cluster.Cluster
	peer    *bridge.Peer
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Changed implements registry.Sink.
func (n *node) Changed(ch registry.Change) { n.cluster.Changed(ch) }

// start starts a node with j as its peer. It must run in a synctest bubble.
func start(t *testing.T, j *java) *node {
	t.Helper()
	n := &node{t: t, log: new(lockedBuffer)}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if n.reg, err = registry.New(registry.Options{
		Sink: n, LeaseCompat: registry.Netflix, FutureTimestamps: true,
	}); err != nil {
		t.Fatal(err)
	}
	if n.peer, err = bridge.New(bridge.Options{
		URL: "http://me:secret@java.example:8761/eureka", Registry: n.reg, RoundTripper: j, Logger: log, LocalOnly: j.localOnly,
		Cluster:    "default",
		MayCompare: func() bool { return n.cluster.MayRead() },
	}); err != nil {
		t.Fatal(err)
	}
	link := &lonely{node: n}
	if n.cluster, err = cluster.New(n.reg, link, cluster.Options{
		Node: "a", Foreign: []cluster.Foreign{n.peer}, Logger: log,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // the node stops in order
	done := make(chan error, 1)
	go func() { done <- n.cluster.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Log(n.log)
		}
	})
	return n
}

// lonely is a broker on which there is no other node.
type lonely struct{ node *node }

func (l *lonely) Request(context.Context, string, string, []byte) ([]byte, error) { return nil, io.EOF }

func (l *lonely) Sync(context.Context, string, []byte) ([]byte, error) { return nil, io.EOF }
func (l *lonely) MaxPayload() int                                      { return 1 << 20 }
func (l *lonely) Ask() error                                           { return nil }
func (l *lonely) Link() membership.Link                                { return membership.Link{Up: true} }

func (l *lonely) Announce(p membership.Presence) error {
	l.node.cluster.HandlePresence(p)
	return nil
}

// instance returns an instance whose lease is 90 s.
func instance(id string, ldt int64) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: id + ".example", App: "USERS", IPAddr: "10.0.0.1",
		Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		Port:           eureka.Port{Number: 8080, Enabled: true},
		SecurePort:     eureka.Port{Number: eureka.DefaultSecurePort},
		CountryID:      eureka.DefaultCountryID,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo: eureka.LeaseInfo{
			RenewalIntervalInSecs: eureka.DefaultRenewalInterval, DurationInSecs: eureka.DefaultDuration,
		},
		LastDirtyTimestamp: ldt,
	}
}

func key(id string) registry.Key { return registry.NewKey("USERS", id) }

// shown is what readers of a registry see: a word per instance.
func shown(reg *registry.Registry) string {
	var out []string
	for _, app := range reg.Applications().Applications {
		for _, i := range app.Instances {
			out = append(out, i.ID()+"="+string(i.Status)+"/"+string(i.OverriddenStatus))
		}
	}
	return strings.Join(out, " ")
}

// both checks what readers see on both sides.
func both(t *testing.T, n *node, j *java, want string) {
	t.Helper()
	synctest.Wait()
	if got := shown(n.reg); got != want {
		t.Errorf("registryd shows %q, want %q", got, want)
	}
	if got := shown(j.reg); got != want {
		t.Errorf("the Java server shows %q, want %q", got, want)
	}
}

// pass lets time pass while the clients of both sides' instances renew: those of live
// at their server, which tells the other one as Eureka does.
func pass(d time.Duration, renew func()) {
	for left := d; left > 0; left -= 10 * time.Second {
		time.Sleep(min(left, 10*time.Second))
		renew()
	}
}
