package mixed_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// hopping makes a Spring client choose another of its servers every few seconds, at
// random. By default it does so every 20 minutes, so that of many clients some choose
// at any moment of a migration.
var hopping = []string{
	"--eureka.client.transport.sessioned-client-reconnect-interval-seconds=3",
	"--eureka.client.eureka-service-url-poll-interval-seconds=2",
}

// TestMigration replaces two Java servers with three nodes of registryd, one server at
// a time at its own address, and goes back to two Java servers. Two applications are
// registered all the way, and a third looks them up and calls them. No look-up fails,
// and none finds nothing. docs/migrate-from-java-eureka.md has the same steps.
func TestMigration(t *testing.T) {
	t.Parallel()
	a, b, c := at(t, "127.0.0.1"), at(t, "127.0.0.2"), at(t, "127.0.0.3")
	base := func(addr string) string { return "http://" + addr + "/eureka/" }
	javaA, javaB := stockJava("java-a", a, base(b)), stockJava("java-b", b, base(a))
	routes := []string{at(t, "127.0.0.1"), at(t, "127.0.0.2"), at(t, "127.0.0.3")}
	newNode := func(i int, name, addr string) *server {
		return newServer(name, addr, registryd, "serve", "--node", name, "--listen", addr, "--data", t.TempDir(),
			"--embedded-listen", "127.0.0.1:0", "--embedded-route-listen", routes[i], "--embedded-routes", strings.Join(routes, ","),
			"--eureka-peers", base(a)+","+base(b)) // of which some are nodes, its own one too
	}
	r1, r2, r3 := newNode(0, "r1", a), newNode(1, "r2", b), newNode(2, "r3", c)
	began := time.Now()
	step := func(format string, args ...any) {
		t.Logf("%6s  %s", time.Since(began).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
	}
	ctx := t.Context()
	servers := []string{base(a), base(b)}
	apps := []*app{
		newApp(t, boot35, "provider", servers, hopping...),
		newApp(t, boot40, "provider", servers, hopping...),
		newApp(t, boot35, "caller", servers, hopping...),
	}
	// replaces starts a server at the address of another one, and waits until it
	// lists what the servers beside it list. A node never lists less than clients need.
	replaces := func(old, s *server, beside ...*server) {
		t.Helper()
		if old != nil {
			old.stop(t)
			step("%s stopped", old.name)
		}
		s.start(t)
		answered := false
		eventually(t, s.name+" lists everything", func() error {
			if err := s.process.Ended(); err != nil {
				return err
			}
			list, err := s.list(ctx)
			if err != nil {
				return err
			}
			if !answered {
				answered = true
				step("%s answers", s.name)
			}
			for _, app := range apps {
				if _, ok := list[app.id]; !ok && s.program == registryd { // never, not even at first
					t.Fatalf("%s answers with a list without %s: %v", s.name, app.id, list)
				}
			}
			return differs(ctx, nil, append(beside, s)...)
		})
		if err := s.parks(ctx, "parked"); err != nil {
			t.Error(err)
		}
		step("%s lists everything", s.name)
	}

	for _, s := range []*server{javaA, javaB} {
		s.start(t)
	}
	for _, s := range []*server{javaA, javaB} {
		s.ready(t)
	}
	step("two Java servers answer")
	for _, app := range apps {
		app.start(t)
	}
	caller := apps[2]
	eventually(t, "the caller reaches both providers", func() error {
		return caller.reaches(ctx, "provider", apps[0].id, apps[1].id)
	})
	eventually(t, "both Java servers list everything", func() error {
		list, err := javaA.list(ctx)
		if err == nil && len(list) < 3 {
			err = fmt.Errorf("%d of 3 instances: %v", len(list), list)
		}
		if err != nil {
			return err
		}
		return differs(ctx, nil, javaA, javaB)
	})
	step("three Spring applications are registered")
	looking := lookUp(t, caller, "provider")
	parked := &instance{id: "parked", alive: true, cluster: &mixedCluster{servers: []*server{javaA, javaB}}}
	if err := errors.Join(javaA.registers(ctx, parked.id), javaA.overrides(ctx, parked.id)); err != nil {
		t.Fatal(err)
	}
	stop := parked.renewing(ctx, renewEvery)
	defer stop()
	eventually(t, "both Java servers know what is out of service", func() error {
		for _, s := range []*server{javaA, javaB} {
			if err := s.parks(ctx, parked.id); err != nil {
				return err
			}
		}
		return nil
	})

	replaces(javaA, r1, javaB)
	replaces(javaB, r2, r1)
	replaces(nil, r3, r1, r2)
	delta := func(s *server) int { return s.counts(t, `registryd_api_requests_total{code="200",operation="delta"}`) }
	before1, before2 := delta(r1), delta(r2)
	time.Sleep(leaseLasts + renewEvery) // longer than the leases of before
	if n1, n2 := delta(r1)-before1, delta(r2)-before2; n1 == 0 || n2 == 0 {
		t.Errorf("clients fetched %d and %d deltas: they do not choose their server anew", n1, n2)
	}

	replaces(r2, javaB, r1, r3)
	replaces(r1, javaA, javaB)
	r3.stop(t)
	step("r3 stopped")
	time.Sleep(leaseLasts + renewEvery)
	if err := caller.reaches(ctx, "provider", apps[0].id, apps[1].id); err != nil {
		t.Error(err)
	}
	looking.stop()
	looking.check(t)
	step("end")
}

// stockJava is a Java server as Spring Cloud sets it up: it registers at its peer, and
// begins with what that has that is UP. Only its cache and its own client are faster.
func stockJava(name, addr, peer string, args ...string) *server {
	host, port, _ := net.SplitHostPort(addr) //nolint:errcheck // made by net.JoinHostPort
	return newServer(name, addr, "java", append([]string{
		"-Xmx200m", firstCompiler, oneCollector, "-jar", jar,
		"--server.address=" + host, "--server.port=" + port, "--spring.application.name=eureka",
		"--eureka.instance.hostname=" + host, "--eureka.instance.instance-id=" + name,
		"--eureka.client.serviceUrl.defaultZone=" + peer,
		"--eureka.client.registry-fetch-interval-seconds=1", "--eureka.instance.lease-renewal-interval-in-seconds=5",
		"--eureka.server.response-cache-update-interval-ms=3000", "--eureka.server.registry-sync-retry-wait-ms=2000",
		"--eureka.client.instance-info-replication-interval-seconds=3",
	}, args...)...)
}

// stop ends a server as an operator does, and waits for that.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.client.CloseIdleConnections()
}

// renewing renews i until the function that it returns is called.
func (i *instance) renewing(ctx context.Context, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				i.renew(ctx)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// counts returns a metric of a node, by its name and labels.
func (s *server) counts(t *testing.T, name string) int {
	t.Helper()
	_, body, err := s.do(t.Context(), "GET", "/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	return 0
}

// parks returns why the server does not list an instance as taken out of service.
func (s *server) parks(ctx context.Context, id string) error {
	list, err := s.list(ctx)
	if err == nil && !strings.HasPrefix(list[id], "OUT_OF_SERVICE/OUT_OF_SERVICE/") {
		err = fmt.Errorf("%s lists %s as %q", s.name, id, list[id])
	}
	return err
}
