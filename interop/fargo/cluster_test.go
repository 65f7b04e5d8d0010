package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

const (
	// evictionInterval is the time between two passes on each node.
	evictionInterval = 2 * time.Second

	// starts is how often a node is started on yet another port, when some other
	// program took the one before.
	starts = 5

	requestTime = 5 * time.Second
	bodyBytes   = 1 << 20
)

// node is one registryd in a process of its own.
type node struct {
	name string
	port int
	args []string // all but --listen
	proc *process.Process
}

func (n *node) base() string { return fmt.Sprintf("http://127.0.0.1:%d", n.port) }

// registry is the service URL that a fargo connection takes.
func (n *node) registry() string { return n.base() + "/eureka/v2" }

// cluster is three nodes: a brings the broker, b and c use it.
type cluster struct {
	owner   *testing.T // of the processes
	a, b, c *node
	binary  string
	http    *http.Client
}

func newCluster(owner *testing.T) *cluster {
	owner.Helper()
	c := &cluster{
		owner:  owner,
		binary: os.Getenv("INTEROP_REGISTRYD"),
		// The environment's proxy is not asked for what is on this machine.
		http: &http.Client{Timeout: requestTime, Transport: &http.Transport{}},
	}
	owner.Cleanup(c.http.CloseIdleConnections)
	if c.binary == "" {
		c.binary = filepath.Join("..", "..", "bin", "registryd")
	}
	if _, err := os.Stat(c.binary); err != nil {
		owner.Fatalf(`%v: run "make build" first`, err)
	}
	return c
}

// launch starts the nodes and waits until all are ready.
func (c *cluster) launch(ctx context.Context, t *testing.T) {
	t.Helper()
	broker := make(chan string, 1)
	c.a = c.newNode(ctx, t, "a", func(line string) bool {
		if url, ok := strings.CutPrefix(line, "embedded broker: "); ok {
			broker <- url
		}
		return true
	}, "--embedded-listen", "127.0.0.1:0")
	var nats string
	until(ctx, t, "node a says where its broker listens", func() error {
		select {
		case nats = <-broker:
			return nil
		default:
			return errors.New("no such line yet")
		}
	})
	c.b = c.newNode(ctx, t, "b", keep, "--nats", nats)
	c.c = c.newNode(ctx, t, "c", keep, "--nats", nats)
	for _, n := range c.nodes() {
		t.Logf("node %s: pid %d, %s", n.name, n.proc.PID(), n.registry())
	}
}

// keep is for lines that nobody waits for.
func keep(string) bool { return true }

func (c *cluster) nodes() []*node { return []*node{c.a, c.b, c.c} }

// newNode starts a node on a free port and waits until it is ready.
func (c *cluster) newNode(ctx context.Context, t *testing.T, name string, onLine func(string) bool, args ...string) *node {
	t.Helper()
	n := &node{name: name, args: append([]string{
		"serve", "--node", name, "--data", "none", "--eviction-interval", evictionInterval.String(), "--self-preservation=false",
	}, args...)}
	for range starts {
		n.port = process.FreePort(ctx, t)
		if c.start(ctx, t, n, onLine) {
			return n
		}
	}
	t.Fatalf("node %s: %d ports, and each was taken when it came to listen", name, starts)
	return nil
}

// start starts a node's process and waits until it is ready. It returns false
// when the process ended since its port is taken.
func (c *cluster) start(ctx context.Context, t *testing.T, n *node, onLine func(string) bool) bool {
	t.Helper()
	args := append(slices.Clone(n.args), "--listen", "127.0.0.1:"+strconv.Itoa(n.port))
	proc, err := process.Start(c.owner, "node "+n.name, onLine, nil, c.binary, args...)
	if err != nil {
		t.Fatal(err)
	}
	n.proc = proc
	taken := false
	until(ctx, t, "node "+n.name+" is ready", func() error {
		if err := proc.Ended(); err != nil {
			if taken = strings.Contains(proc.Said(), "address already in use"); taken {
				return nil
			}
			t.Fatal(err)
		}
		_, body, err := c.get(ctx, n.base()+"/readyz")
		if err == nil && body != "ready" {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
	return !taken
}

// get returns header and body of a 200, asked for without an Accept.
func (c *cluster) get(ctx context.Context, url string) (http.Header, string, error) {
	return c.ask(ctx, url, "")
}

func (c *cluster) ask(ctx context.Context, url, accept string) (_ http.Header, _ string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyBytes))
	if err == nil && (resp.StatusCode != http.StatusOK || resp.Request.URL.String() != url) {
		err = fmt.Errorf("GET %s: %s from %s: %s", url, resp.Status, resp.Request.URL, body)
	}
	return resp.Header, string(body), err
}

// listed is what a node's list tells of an instance. These tests read it beside
// the clients, so that they don't depend on what a client makes of it.
type listed struct {
	ID          string            `json:"instanceId"`
	Status      string            `json:"status"`
	Overridden  string            `json:"overriddenStatus"`
	HomePageURL string            `json:"homePageUrl"`
	Metadata    map[string]string `json:"metadata"`
	Dirty       string            `json:"lastDirtyTimestamp"`
	Lease       struct {
		Duration   int64 `json:"durationInSecs"`
		Registered int64 `json:"registrationTimestamp"` // ms
		Renewed    int64 `json:"lastRenewalTimestamp"`  // ms
	} `json:"leaseInfo"`
}

// state is the instance without what heartbeats change.
func (l listed) state() string {
	l.Lease.Renewed = 0
	return fmt.Sprintf("%+v", l)
}

// shared is the state as all nodes must know it alike. When an instance was
// registered each node says by itself, as in Eureka.
func (l listed) shared() string {
	l.Lease.Registered = 0
	return l.state()
}

// list returns the instances that a node lists by their ids, and its hash code.
func (c *cluster) list(ctx context.Context, n *node) (map[string]listed, string, error) {
	_, body, err := c.ask(ctx, n.registry()+"/apps", "application/json")
	if err != nil {
		return nil, "", err
	}
	var answer struct {
		Applications struct {
			Hash        string `json:"apps__hashcode"`
			Application []struct {
				Instance []listed `json:"instance"`
			} `json:"application"`
		} `json:"applications"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, "", fmt.Errorf("list of %s: %w", n.name, err)
	}
	all := map[string]listed{}
	for _, app := range answer.Applications.Application {
		for _, instance := range app.Instance {
			all[instance.ID] = instance
		}
	}
	return all, answer.Applications.Hash, nil
}

// lists waits until the nodes list these instances and no others.
func (c *cluster) lists(ctx context.Context, t *testing.T, nodes []*node, ids ...string) {
	t.Helper()
	slices.Sort(ids)
	for _, n := range nodes {
		until(ctx, t, fmt.Sprintf("node %s lists %v", n.name, ids), func() error {
			all, _, err := c.list(ctx, n)
			if got := slices.Sorted(maps.Keys(all)); err == nil && !slices.Equal(got, ids) {
				err = fmt.Errorf("%v", got)
			}
			return err
		})
	}
}

// counter returns a counter of a node's metrics.
func (c *cluster) counter(ctx context.Context, n *node, name string) (int, error) {
	_, body, err := c.get(ctx, n.base()+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("node %s has no metric %s", n.name, name)
}

// stop ends a node by SIGTERM, which must be the end with code 0.
func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.proc.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("node %s: %v", n.name, err)
	} else if n.proc.Err() != nil {
		t.Errorf("node %s after SIGTERM: %v", n.name, n.proc.Err())
	}
}
