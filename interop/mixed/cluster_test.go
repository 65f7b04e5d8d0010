package mixed_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("seed", 0, "of the random operations; 0: a new one")
	busyFlag = flag.Duration("busy", 70*time.Second, "how long TestCluster changes things")
)

// instance is a client as real ones are: it renews at its server, registers when that
// does not know it, and goes to another server when that does not answer.
type instance struct {
	id      string
	mu      sync.Mutex
	home    int // of the servers
	alive   bool
	cluster *mixedCluster
}

// mixedCluster is two nodes of registryd and a Java server.
type mixedCluster struct {
	servers []*server
}

// at does something at the instance's server, or at the next that answers.
func (i *instance) at(ctx context.Context, do func(*server) error) error {
	var err error
	for range i.cluster.servers {
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		code, _, asked := i.cluster.servers[i.home].do(one, http.MethodGet, "/eureka/apps/NOBODY", "")
		cancel()
		if asked == nil && code == http.StatusNotFound {
			if err = do(i.cluster.servers[i.home]); err == nil {
				return nil
			}
		}
		i.home = (i.home + 1) % len(i.cluster.servers)
	}
	return err
}

// renew is what a client does each ten seconds.
func (i *instance) renew(ctx context.Context) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.alive {
		_ = i.at(ctx, func(s *server) error { //nolint:errcheck // it tries again in ten seconds
			if s.renews(ctx, i.id) == nil {
				return nil
			}
			return s.registers(ctx, i.id)
		})
	}
}

// act does something random.
func (i *instance) act(ctx context.Context, what int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	_ = i.at(ctx, func(s *server) error { //nolint:errcheck // an operation may fail; the lists must be equal all the same
		path := "/eureka/apps/MIXED/" + i.id
		switch {
		case !i.alive || what < 3:
			i.alive = true
			return s.registers(ctx, i.id)
		case what < 5:
			i.alive = false
			return s.cancels(ctx, i.id)
		case what < 7:
			return s.want(ctx, 200, http.MethodPut, path+"/status?value=OUT_OF_SERVICE", "")
		case what < 9:
			return s.want(ctx, 200, http.MethodDelete, path+"/status?value=UP", "")
		default:
			return s.want(ctx, 200, http.MethodPut, fmt.Sprintf("%s/metadata?generation=m%d", path, time.Now().UnixMilli()), "")
		}
	})
}

// TestCluster changes instances at two nodes of registryd and a Java server, which know
// each other, while each of the three is suspended, and is killed and starts empty.
// When it is quiet all three list the same, and every instance that lives.
func TestCluster(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-args -seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	one, two, javaAddr := at(t, "127.0.0.1"), at(t, "127.0.0.5"), at(t, "127.0.0.4")
	routes := []string{at(t, "127.0.0.1"), at(t, "127.0.0.5")}
	var nodes []*server
	for i, addr := range []string{one, two} {
		nodes = append(nodes, node(fmt.Sprint("n", i+1), addr, "--advertise", "http://"+addr+"/eureka/",
			"--embedded-listen", "127.0.0.1:0", "--embedded-route-listen", routes[i], "--embedded-routes", strings.Join(routes, ","),
			"--eureka-peers", "http://"+javaAddr+"/eureka/"))
	}
	java := javaServer(javaAddr, one, two)
	c := &mixedCluster{servers: []*server{nodes[0], nodes[1], java}}
	for _, s := range c.servers {
		s.start(t)
	}
	for _, s := range c.servers {
		s.ready(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	instances := make([]*instance, 60)
	for n := range instances {
		i := &instance{id: fmt.Sprintf("i-%02d", n), home: n % 3, cluster: c}
		instances[n] = i
		offset := time.Duration(n) * 10 * time.Second / time.Duration(len(instances))
		clients.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(offset):
			}
			tick := time.NewTicker(10 * time.Second)
			defer tick.Stop()
			for {
				i.renew(ctx)
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}

	changing, quiet := context.WithTimeout(ctx, *busyFlag)
	defer quiet()
	order := random.Perm(2 * len(c.servers))
	clients.Go(func() {
		for changing.Err() == nil {
			i := instances[random.IntN(len(instances))]
			what := random.IntN(10)
			clients.Go(func() { i.act(ctx, what) })
			time.Sleep(50 * time.Millisecond)
		}
	})
	for _, n := range order { // one server at a time is away
		time.Sleep(*busyFlag / time.Duration(3*len(order)))
		s := c.servers[n/2]
		if n%2 == 0 {
			signal(t, s, syscall.SIGSTOP)
			time.Sleep(8 * time.Second)
			signal(t, s, syscall.SIGCONT)
			continue
		}
		signal(t, s, syscall.SIGKILL)
		if err := s.process.Gone(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.start(t)
		s.ready(t)
	}
	<-changing.Done()
	took := within(t, 2*time.Minute, "all three list the same", func() error {
		if err := differs(ctx, nil, c.servers...); err != nil {
			return err
		}
		list, err := c.servers[0].list(ctx)
		if err != nil {
			return err
		}
		for _, i := range instances {
			i.mu.Lock()
			alive := i.alive
			i.mu.Unlock()
			if _, ok := list[i.id]; alive && !ok {
				return fmt.Errorf("%s lives and is not listed", i.id)
			}
		}
		return nil
	})
	list, err := c.servers[0].list(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d listed alike %s after the last change: %v", len(list), took.Round(100*time.Millisecond), statuses(list))
}

// statuses counts the statuses of a list.
func statuses(list map[string]string) map[string]int {
	out := make(map[string]int)
	for is := range maps.Values(list) {
		status, _, _ := strings.Cut(is, "/")
		out[status]++
	}
	return out
}

func signal(t *testing.T, s *server, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.process.PID(), sig); err != nil {
		t.Error(err)
	}
}
