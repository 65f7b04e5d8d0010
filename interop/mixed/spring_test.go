package mixed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

// generation is a Spring Boot with its Spring Cloud, of which client.jar is built.
type generation string

const (
	boot35 generation = "boot35" // Spring Boot 3.5, Spring Cloud 2025.0
	boot40 generation = "boot40" // Spring Boot 4.0, Spring Cloud 2025.1
)

func (g generation) jar() string { return "../java/client/" + string(g) + "/target/client.jar" }

// Settings of the Spring clients: Eureka's own ones, but shorter.
const (
	// fetchEvery is also how long the client lets a fetch take. Beyond that it begins the
	// next one, finds its list locked, and fetches everything.
	fetchEvery = 3 * time.Second
	renewEvery = 5 * time.Second
	leaseLasts = 15 * time.Second
)

// app is a Spring Boot application that registers, and calls others by their names.
type app struct {
	id      string
	service string
	addr    string // host:port
	args    []string
	process *process.Process
	client  http.Client
}

// newApp is an instance of a service, with the bases of its servers.
func newApp(t *testing.T, g generation, service string, servers []string, args ...string) *app {
	addr := at(t, "127.0.0.1")
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{
		id: service + "-" + string(g), service: service, addr: addr,
		client: http.Client{Timeout: 10 * time.Second},
	}
	a.args = append([]string{
		"-Xmx200m", firstCompiler, oneCollector, "-jar", g.jar(),
		"--server.address=127.0.0.1", "--server.port=" + port, "--spring.application.name=" + service,
		"--eureka.instance.hostname=127.0.0.1", "--eureka.instance.instance-id=" + a.id,
		"--eureka.client.serviceUrl.defaultZone=" + strings.Join(servers, ","),
		fmt.Sprintf("--eureka.client.registry-fetch-interval-seconds=%.0f", fetchEvery.Seconds()),
		fmt.Sprintf("--eureka.instance.lease-renewal-interval-in-seconds=%.0f", renewEvery.Seconds()),
		fmt.Sprintf("--eureka.instance.lease-expiration-duration-in-seconds=%.0f", leaseLasts.Seconds()),
		"--spring.cloud.loadbalancer.cache.ttl=1s", // Spring's load balancer keeps a list for 35 s otherwise
	}, args...)
	return a
}

func (a *app) start(t *testing.T) {
	t.Helper()
	var err error
	if a.process, err = process.Start(t, a.id, func(string) bool { return true }, nil, "java", a.args...); err != nil {
		t.Fatal(err)
	}
}

// stop ends the application as an operator does, and waits for that.
func (a *app) stop(t *testing.T) {
	t.Helper()
	if err := a.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// get returns the body of a 200.
func (a *app) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: GET %s: status %d: %.300s", a.id, path, resp.StatusCode, body)
	}
	return body, nil
}

// knows returns the instances of a service that the application knows.
func (a *app) knows(ctx context.Context, service string) (ids []string, err error) {
	body, err := a.get(ctx, "/instances/"+service)
	if err != nil {
		return nil, err
	}
	return ids, json.Unmarshal(body, &ids)
}

// calls calls a service by its name, and returns the id of the instance that answered.
func (a *app) calls(ctx context.Context, service string) (string, error) {
	body, err := a.get(ctx, "/call/"+service)
	return string(body), err
}

// reaches returns why the application does not know exactly these instances of a
// service, or can't call it.
func (a *app) reaches(ctx context.Context, service string, want ...string) error {
	if err := a.process.Ended(); err != nil {
		return err
	}
	ids, err := a.knows(ctx, service)
	if err != nil {
		return err
	}
	if !slices.Equal(ids, want) {
		return fmt.Errorf("%s knows %v of %s, want %v", a.id, ids, service, want)
	}
	answered, err := a.calls(ctx, service)
	if err == nil && !slices.Contains(want, answered) {
		err = fmt.Errorf("%s called %s, and %q answered", a.id, service, answered)
	}
	return err
}
