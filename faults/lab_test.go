//go:build faults

package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lab is a cluster of separate processes: brokers s1 s2 s3 and nodes n1 n2 n3,
// each on a host of its own.
type lab struct {
	t       *testing.T
	network *network
	brokers []*natsServer
	nodes   []*node
	byHost  map[string]*node // by host:port of the HTTP server
	http    *http.Client     // of the fleet and of the checks from outside

	mu       sync.Mutex
	violated int       // see violate
	excused  int       // see violateUnlessSuspended
	ticked   time.Time // by watchClock
	paused   time.Time // when this process last resumed after a suspension
}

// natsServer is a stock nats-server.
type natsServer struct{ *process }

func (s *natsServer) url() string { return fmt.Sprintf("nats://%s:4222", s.host.addr) }

// node is a registryd.
type node struct {
	*process
	dir string // of its snapshot, "" without

	mu      sync.Mutex
	ready   bool
	epoch   int       // changes with ready
	started time.Time // the process, or when it last woke
	doomed  bool      // about to be killed or stopped, or just was: see fleet.lose
}

const nodePort = 8761

func (n *node) address() string {
	return netip.AddrPortFrom(n.host.addr, nodePort).String()
}

func (n *node) url() string { return "http://" + n.address() + "/eureka/" }

// setReady notes whether requests to the node must succeed from now on.
func (n *node) setReady(ready bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = ready
	n.epoch++
	if !ready {
		n.started = time.Now()
	}
}

// isReady also returns a number that changes whenever the answer does.
func (n *node) isReady() (bool, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready, n.epoch
}

func (n *node) setDoomed(doomed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doomed = doomed
}

func (l *lab) isDoomed(name string) bool {
	for _, n := range l.nodes {
		if n.name == name {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.doomed
		}
	}
	return false
}

// labOptions are the differences from three brokers and three nodes without
// snapshots.
type labOptions struct {
	Previous bool // nodes are those of the previous commit
	Data     bool // nodes keep snapshots
	Args     []string
}

const labSize = 3

// leaseArgs make leases the only thing that decides: no self-preservation, and
// a pass each second.
var leaseArgs = []string{"--eviction-interval", "1s", "--self-preservation=false"}

// newLab starts a cluster and waits until every node reaches the others.
func newLab(t *testing.T, opts labOptions) *lab {
	t.Helper()
	l := newBareLab(t)
	for i := range labSize {
		l.addBroker(fmt.Sprintf("s%d", i+1))
	}
	for _, s := range l.brokers {
		var routes []string
		for _, other := range l.brokers {
			if other != s {
				routes = append(routes, fmt.Sprintf("nats://%s:6222", other.host.addr))
			}
		}
		s.args = []string{
			"-n", s.name, "-a", s.host.addr.String(), "-p", "4222",
			"--cluster_name", "lab", "--cluster", fmt.Sprintf("nats://%s:6222", s.host.addr), "--routes", strings.Join(routes, ","),
		}
		s.start()
	}
	l.waitBrokers()
	for i := range labSize {
		n := l.addNode(fmt.Sprintf("n%d", i+1), l.brokers, opts)
		n.start()
	}
	l.waitReady(l.nodes...)
	return l
}

// newEmbeddedLab starts a cluster without brokers of its own: the nodes' embedded
// ones are joined by routes.
func newEmbeddedLab(t *testing.T) *lab {
	t.Helper()
	l := newBareLab(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range labSize {
		l.addNode(fmt.Sprintf("n%d", i+1), nil, labOptions{})
	}
	for _, n := range l.nodes {
		var routes []string
		for _, other := range l.nodes {
			if other != n {
				routes = append(routes, fmt.Sprintf("%s:6222", other.host.addr))
			}
		}
		n.args = append(n.args, "--embedded-listen", fmt.Sprintf("%s:4222", n.host.addr),
			"--embedded-route-listen", fmt.Sprintf("%s:6222", n.host.addr),
			"--embedded-routes", strings.Join(routes, ","), "--cluster-secret-file", secret)
		n.start()
	}
	l.waitReady(l.nodes...)
	return l
}

// newBareLab returns a lab without processes.
func newBareLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, network: newNetwork(t), byHost: map[string]*node{}, ticked: time.Now()}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 256,
		DisableCompression:  true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	l.http = &http.Client{Transport: &witness{transport, l}}
	stop, watching := make(chan struct{}), sync.WaitGroup{}
	watching.Go(func() { l.watchClock(stop) })
	t.Cleanup(func() {
		close(stop)
		watching.Wait()
		l.tellViolations()
	})
	return l
}

func (l *lab) addBroker(name string, args ...string) *natsServer {
	l.t.Helper()
	s := &natsServer{newProcess(l.t, l.network.host(name), name, "nats-server", args...)}
	l.brokers = append(l.brokers, s)
	return s
}

func (l *lab) addNode(name string, brokers []*natsServer, opts labOptions) *node {
	l.t.Helper()
	bin := "registryd"
	if opts.Previous {
		bin = "registryd-previous"
	}
	var urls []string
	for _, s := range brokers {
		urls = append(urls, s.url())
	}
	h := l.network.host(name)
	n := &node{process: newProcess(l.t, h, name, bin)}
	n.args = append([]string{"serve", "--node", name, "--listen", n.address()}, leaseArgs...)
	if len(urls) > 0 {
		n.args = append(n.args, "--nats", strings.Join(urls, ","))
	}
	if opts.Data {
		n.dir = filepath.Join(l.t.TempDir(), name)
		if err := os.Mkdir(n.dir, 0o755); err != nil {
			l.t.Fatal(err)
		}
		n.args = append(n.args, "--data", n.dir)
	} else {
		n.args = append(n.args, "--data", "none")
	}
	n.args = append(n.args, opts.Args...)
	l.nodes = append(l.nodes, n)
	l.byHost[n.address()] = n
	return n
}

// start starts the node's process; it is ready once waitReady says so.
func (n *node) start() {
	n.t.Helper()
	n.setReady(false)
	n.setDoomed(false)
	n.process.start()
}

func (n *node) kill() {
	n.setReady(false)
	n.process.kill()
}

func (n *node) terminate() {
	n.t.Helper()
	n.setReady(false)
	n.process.terminate()
}

// freeze stops the process for d, by SIGSTOP.
func (p *process) freeze(d time.Duration) {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	pause(d)
	p.signal(syscall.SIGCONT)
}

// waitBrokers waits until all brokers listen.
func (l *lab) waitBrokers() {
	l.t.Helper()
	for _, s := range l.brokers {
		eventually(l.t, s.name+" listens", func() error {
			var d net.Dialer
			conn, err := d.DialContext(l.t.Context(), "tcp", net.JoinHostPort(s.host.addr.String(), "4222"))
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
}

// waitReady waits until the nodes report ready, not degraded.
func (l *lab) waitReady(nodes ...*node) {
	l.t.Helper()
	for _, n := range nodes {
		eventually(l.t, n.name+" is ready", func() error {
			code, body, err := l.get(n, "/readyz")
			if err != nil {
				return err
			}
			if code != http.StatusOK || strings.TrimSpace(string(body)) != "ready" {
				return fmt.Errorf("/readyz: %d %s", code, body)
			}
			return nil
		})
		n.setReady(true)
	}
}

// get reads from a node, past the fleet's client.
func (l *lab) get(n *node, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address()+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := l.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, body, errors.Join(err, res.Body.Close())
}

// metric returns the sum of a node's series whose name and labels begin with
// prefix.
func (l *lab) metric(n *node, prefix string) (float64, error) {
	code, body, err := l.get(n, "/metrics")
	if err != nil {
		return 0, err
	}
	if code != http.StatusOK {
		return 0, fmt.Errorf("/metrics of %s: %d", n.name, code)
	}
	sum, found := 0.0, false
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), prefix)
		if !ok || rest == "" || prefix[len(prefix)-1] != '{' && !strings.ContainsAny(rest[:1], " {,}") {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("/metrics of %s: no %s", n.name, prefix)
	}
	return sum, nil
}

// mustMetric is metric of a node that is up.
func (l *lab) mustMetric(n *node, prefix string) float64 {
	l.t.Helper()
	v, err := l.metric(n, prefix)
	if err != nil {
		l.t.Fatal(err)
	}
	return v
}

// waitMetric waits until a metric of a node is as wanted.
func (l *lab) waitMetric(n *node, prefix string, want func(float64) bool) {
	l.t.Helper()
	eventually(l.t, n.name+": "+prefix, func() error {
		v, err := l.metric(n, prefix)
		if err == nil && !want(v) {
			err = fmt.Errorf("it is %v", v)
		}
		return err
	})
}
