package interop_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hudl/fargo"
)

// tries is how often a call is made when its node fails, before the client waits
// for its next heartbeat. Two of three nodes are there, so all fail once in 6,500.
const tries = 8

// fargoClient is an application that uses fargo, as fargo wants to be used: the
// library picks one of its service URLs at random for each request and says what
// went wrong; the application beats, calls again and registers again.
type fargoClient struct {
	name string
	json bool
	urls []string

	mu       sync.Mutex // neither a connection nor an instance of fargo is safe for concurrent use
	instance *fargo.Instance
	tally    tally

	stop    context.CancelFunc
	stopped chan struct{}
}

// tally counts what came of a client's heartbeats.
type tally struct {
	beats        int            // answered with 200
	reregistered int            // answered with 404
	failed       map[string]int // else, by error
}

// at returns a connection to these service URLs.
func (c *fargoClient) at(urls ...string) *fargo.EurekaConnection {
	conn := fargo.NewConn(urls...)
	conn.UseJson = c.json
	conn.PollInterval = renewal
	return &conn
}

// register registers through one node and begins to send heartbeats to all. want
// is what fargo must read back at once; of a read that fails it says nothing, but
// leaves the times that the server sets at zero.
func (c *fargoClient) register(ctx context.Context, t *testing.T, n *node, want facts) {
	t.Helper()
	if err := c.at(n.registry()).RegisterInstance(c.instance); err != nil {
		t.Fatalf("%s registers at %s: %v", c.name, n.name, err)
	}
	if c.instance.LeaseInfo.RegistrationTimestamp == 0 {
		t.Fatalf("%s did not read its registration back from %s", c.name, n.name)
	}
	if got, err := readFacts(c.instance); err != nil || got != want {
		t.Errorf("%s read back from %s:\n got %+v (%v)\nwant %+v", c.name, n.name, got, err, want)
	}
	c.tally.failed = map[string]int{}
	ctx, c.stop = context.WithCancel(ctx)
	c.stopped = make(chan struct{})
	go func() {
		defer close(c.stopped)
		tick := time.NewTicker(renewal)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c.beat()
			}
		}
	}()
}

// beat sends one heartbeat, to another node when one fails.
func (c *fargoClient) beat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.at(c.urls...)
	for range tries {
		err := conn.HeartBeatInstance(c.instance)
		if err == nil {
			c.tally.beats++
			return
		}
		if code, _ := fargo.HTTPResponseStatusCode(err); code == http.StatusNotFound {
			c.tally.reregistered++
			err = conn.ReregisterInstance(c.instance)
			if err == nil {
				return
			}
		}
		c.tally.failed[err.Error()]++
	}
}

// abandon ends the heartbeats, if there are any, and tells nobody, as a crash would.
func (c *fargoClient) abandon() {
	if c.stop != nil {
		c.stop()
		<-c.stopped
	}
}

// deregister ends the heartbeats, and then the lease.
func (c *fargoClient) deregister(t *testing.T) {
	t.Helper()
	c.abandon()
	c.call(t, "deregister", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
		return conn.DeregisterInstance(instance)
	})
}

// call makes one call of fargo for the client's own instance. When a node fails
// it calls again, so that fargo picks another; an answer that says no is final.
func (c *fargoClient) call(t *testing.T, what string, do func(*fargo.EurekaConnection, *fargo.Instance) error) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for range tries {
		err := do(c.at(c.urls...), c.instance)
		if err == nil {
			return
		}
		errs = append(errs, err)
		if _, answered := fargo.HTTPResponseStatusCode(err); answered {
			break
		}
	}
	t.Fatalf("%s: %s: %v", c.name, what, errors.Join(errs...))
}

// count returns the tally as it is now.
func (c *fargoClient) count() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.tally
	now.failed = maps.Clone(now.failed)
	return now
}

// read returns what fargo reads of all instances at one node, by their ids.
func (c *fargoClient) read(n *node) (map[string]*fargo.Instance, error) {
	apps, err := c.at(n.registry()).GetApps()
	if err != nil {
		return nil, fmt.Errorf("%s reads from %s: %w", c.name, n.name, err)
	}
	all := map[string]*fargo.Instance{}
	for _, app := range apps {
		for _, instance := range app.Instances {
			all[instance.Id()] = instance
		}
	}
	return all, nil
}

// facts is what an instance says of itself, in whatever format it travelled.
type facts struct {
	app, host, ip, vip, secureVip  string
	status, overridden             fargo.StatusType
	port, securePort               int
	portEnabled, securePortEnabled bool
	home, statusPage, healthCheck  string
	country                        int64
	dataCenter                     string
	amazon                         fargo.AmazonMetadataType
	renewal, duration              int32
	metadata                       string
}

func factsOf(i *fargo.Instance) facts {
	return facts{
		app: i.App, host: i.HostName, ip: i.IPAddr, vip: i.VipAddress, secureVip: i.SecureVipAddress,
		status: i.Status, overridden: i.Overriddenstatus,
		port: i.Port, securePort: i.SecurePort, portEnabled: i.PortEnabled, securePortEnabled: i.SecurePortEnabled,
		home: i.HomePageUrl, statusPage: i.StatusPageUrl, healthCheck: i.HealthCheckUrl,
		country:    i.CountryId,
		dataCenter: i.DataCenterInfo.Name, amazon: i.DataCenterInfo.Metadata,
		renewal: i.LeaseInfo.RenewalIntervalInSecs, duration: i.LeaseInfo.DurationInSecs,
		metadata: fmt.Sprint(i.Metadata.GetMap()), // fmt sorts the keys
	}
}

// readFacts is factsOf of an instance whose metadata fargo has not parsed yet.
func readFacts(i *fargo.Instance) (facts, error) {
	_, err := i.Metadata.GetString("") // parses them
	return factsOf(i), err
}

// ids returns the ids of instances in order.
func ids(instances []*fargo.Instance) []string {
	var out []string
	for _, instance := range instances {
		out = append(out, instance.Id())
	}
	slices.Sort(out)
	return out
}
