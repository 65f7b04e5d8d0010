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
	var providers, callers []*app
	for _, g := range generations {
		var bases []string
		for _, addr := range addrs {
			p := newCounting(t, addr)
			proxies[g] = append(proxies[g], p)
			bases = append(bases, p.base())
		}
		providers = append(providers, newApp(t, g, "provider-"+string(g), bases))
		callers = append(callers, newApp(t, g, "caller-"+string(g), bases))
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
	looking := make([]*lookups, len(callers))
	for i, c := range callers {
		looking[i] = lookUp(t, c, providers[0].service, providers[1].service)
	}
	before := make(map[generation]map[string]int)
	for g, p := range proxies {
		before[g] = total(p...)
	}
	churn(ctx, t, nodes, time.Minute)
	for _, g := range generations {
		got := since(before[g], proxies[g]...)
		t.Logf("%s, before: %v; in a minute of changes: %v", g, before[g], got)
		if n := got[fullFetch]; n > 0 {
			t.Errorf("%s: %d full fetches", g, n)
		}
		if n := before[g][fullFetch]; n < 2 {
			t.Errorf("%s: %d full fetches at the start of two clients: the proxy does not count them", g, n)
		}
		if n := got[deltaFetch]; n < 60 { // of 120: two clients, one each second
			t.Errorf("%s: %d fetches of the delta", g, n)
		}
	}

	// The node that these clients use most is killed.
	busiest := 0
	counts := make([]int, len(nodes))
	for i := range nodes {
		for _, g := range generations {
			counts[i] += total(proxies[g][i])[deltaFetch]
		}
		if counts[i] > counts[busiest] {
			busiest = i
		}
	}
	killed, left := nodes[busiest], nodes[1-busiest]
	for _, g := range generations {
		proxies[g][busiest].close()
		before[g] = total(proxies[g]...)
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
