package mixed_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSpringClients runs Spring Boot applications of two generations against two nodes:
// a provider and a caller each. Every caller looks both providers up and calls them, all
// the way. Others register, cancel and change their status for a minute: no client
// fetches the full list. Then a node is killed, and starts empty. At last the providers
// end, and are gone at once.
func TestSpringClients(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	addrs := []string{at(t, "127.0.0.1"), at(t, "127.0.0.1")}
	routes := []string{at(t, "127.0.0.1"), at(t, "127.0.0.1")}
	var nodes []*server
	for i, addr := range addrs {
		s := node(fmt.Sprint("n", i+1), addr, "--embedded-listen", "127.0.0.1:0",
			"--embedded-route-listen", routes[i], "--embedded-routes", strings.Join(routes, ","))
		s.start(t)
		nodes = append(nodes, s)
	}
	for _, s := range nodes {
		s.ready(t)
	}

	generations := []generation{boot35, boot40}
	proxies := make(map[generation][]*counting)
	own := make(map[*app][]*counting) // of each application: one before each node
	newClient := func(g generation, service string) *app {
		var bases []string
		var mine []*counting
		for _, addr := range addrs {
			p := newCounting(t, addr)
			mine, bases = append(mine, p), append(bases, p.base())
		}
		a := newApp(t, g, service+string(g), bases)
		own[a] = mine
		proxies[g] = append(proxies[g], mine...)
		return a
	}
	var providers, callers []*app
	for _, g := range generations {
		providers = append(providers, newClient(g, "provider-"))
		callers = append(callers, newClient(g, "caller-"))
	}
	for _, a := range slices.Concat(providers, callers) {
		a.start(t)
	}
	reached := func() error {
		for _, c := range callers {
			for _, p := range providers {
				if err := c.reaches(ctx, p.service, p.id); err != nil {
					return err
				}
			}
		}
		return differs(ctx, nil, nodes...)
	}
	eventually(t, "each caller reaches both providers", reached)
	// A client whose list was empty fetches the full one again.
	eventually(t, "each client fetches deltas", func() error {
		for a, mine := range own {
			if n := total(mine...)[deltaFetch]; n < 2 {
				return fmt.Errorf("%s has fetched %d", a.id, n)
			}
		}
		return nil
	})
	looking := make([]*lookups, len(callers))
	for i, c := range callers {
		looking[i] = lookUp(t, c, providers[0].service, providers[1].service)
	}
	before := make(map[generation]map[string]int)
	for g, p := range proxies {
		before[g] = total(p...)
	}
	atNode := func(a *app, node int) map[string]int { return total(own[a][node]) }
	earlier := make(map[*app][]map[string]int)
	for a := range own {
		earlier[a] = []map[string]int{atNode(a, 0), atNode(a, 1)}
	}
	churn(ctx, t, nodes, time.Minute)
	for a, mine := range own {
		one, two := since(earlier[a][0], mine[0]), since(earlier[a][1], mine[1])
		t.Logf("%s: at n1 %v, at n2 %v", a.id, one, two)
		if n := one[fullFetch] + two[fullFetch]; n > 0 {
			t.Errorf("%s: %d full fetches", a.id, n)
		}
	}
	for _, g := range generations {
		got := since(before[g], proxies[g]...)
		t.Logf("%s, before: %v; in a minute of changes: %v", g, before[g], got)
		if n := before[g][fullFetch]; n < 2 {
			t.Errorf("%s: %d full fetches at the start of two clients: the proxy does not count them", g, n)
		}
		if n := got[deltaFetch]; n < 20 { // of 40: two clients, one each three seconds
			t.Errorf("%s: %d fetches of the delta", g, n)
		}
	}

	// The node that these clients use most is killed.
	busiest := 0
	counts := make([]int, len(nodes))
	for i := range nodes {
		for _, mine := range own {
			counts[i] += total(mine[i])[deltaFetch]
		}
		if counts[i] > counts[busiest] {
			busiest = i
		}
	}
	killed, left := nodes[busiest], nodes[1-busiest]
	for _, g := range generations {
		before[g] = total(proxies[g]...)
	}
	for _, mine := range own {
		mine[busiest].close()
	}
	signal(t, killed, syscall.SIGKILL)
	if err := killed.process.Gone(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(leaseLasts + renewEvery) // all leases of before are over
	for _, g := range generations {
		got := since(before[g], proxies[g]...)
		t.Logf("%s, since %s was killed (fetches before: %v): %v", g, killed.name, counts, got)
		if n := got[renewal+" 200"]; n < 4 {
			t.Errorf("%s: %d heartbeats at %s, want 4 of two clients", g, n, left.name)
		}
	}
	for _, c := range callers {
		for _, p := range providers {
			if err := c.reaches(ctx, p.service, p.id); err != nil {
				t.Error(err)
			}
		}
	}
	for _, l := range looking {
		l.stop()
		l.check(t)
	}

	killed.start(t)
	killed.ready(t)
	eventually(t, "both nodes list the same again", func() error { return differs(ctx, nil, nodes...) })
	var stopping sync.WaitGroup
	for _, p := range providers {
		stopping.Go(func() { p.stop(t) })
	}
	stopping.Wait()
	gone := func(s *server) error {
		list, err := s.list(ctx)
		if err != nil {
			return err
		}
		for _, p := range providers {
			if is, ok := list[p.id]; ok {
				return fmt.Errorf("%s lists %s: %s", s.name, p.id, is)
			}
		}
		return nil
	}
	for _, s := range nodes {
		took := within(t, 2*time.Second, s.name+" lists no provider", func() error { return gone(s) })
		t.Logf("%s: gone %s after they ended", s.name, took.Round(time.Millisecond))
	}
	for _, c := range callers {
		for _, p := range providers {
			within(t, 5*time.Second, c.id+" knows no "+p.service, func() error {
				ids, err := c.knows(ctx, p.service)
				if err == nil && len(ids) > 0 {
					err = fmt.Errorf("it knows %v", ids)
				}
				return err
			})
		}
	}
}

// churn registers, cancels and changes the status of other instances, at random nodes.
func churn(ctx context.Context, t *testing.T, nodes []*server, lasts time.Duration) {
	t.Helper()
	end := time.Now().Add(lasts)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	ids := numbered("other", 30)
	done := make(map[string]int)
	for time.Now().Before(end) {
		<-tick.C
		s, id := nodes[rand.IntN(len(nodes))], ids[rand.IntN(len(ids))]
		what, act := "register", s.registers
		switch rand.IntN(6) {
		case 0, 1:
			what, act = "cancel", s.cancels
		case 2:
			what, act = "override", s.overrides
		case 3:
			what, act = "release", s.releases
		}
		if err := act(ctx, id); err == nil { // what is not there is not changed
			done[what]++
		}
	}
	for _, what := range []string{"register", "cancel", "override", "release"} {
		if done[what] == 0 {
			t.Errorf("no %s in %s", what, lasts)
		}
	}
	t.Logf("changed in %s: %v", lasts, done)
}

func (s *server) overrides(ctx context.Context, id string) error {
	return s.want(ctx, 200, "PUT", "/eureka/apps/MIXED/"+id+"/status?value=OUT_OF_SERVICE", "")
}

func (s *server) releases(ctx context.Context, id string) error {
	return s.want(ctx, 200, "DELETE", "/eureka/apps/MIXED/"+id+"/status?value=UP", "")
}
