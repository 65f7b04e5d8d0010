package page_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

const (
	starts    = 5 // of a node, each on another port
	startTime = 30 * time.Second
	lookEvery = 20 * time.Millisecond
)

// node is one registryd in a process of its own.
type node struct {
	name string
	port int
	nats string // where its broker listens; "": it has none of its own
	proc *process.Process
}

func (n *node) root() string { return fmt.Sprintf("http://127.0.0.1:%d/", n.port) }

// start starts a node and waits until it is ready.
func start(ctx context.Context, t *testing.T, name string, args ...string) *node {
	t.Helper()
	binary := os.Getenv("INTEROP_REGISTRYD")
	if binary == "" {
		binary = filepath.Join("..", "..", "bin", "registryd")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf(`%v: run "make build" first`, err)
	}
	for range starts {
		n := &node{name: name, port: process.FreePort(ctx, t)}
		broker := make(chan string, 1)
		proc, err := process.Start(t, "node "+name, func(line string) bool {
			if url, ok := strings.CutPrefix(line, "embedded broker: "); ok {
				broker <- url
			}
			return true
		}, nil, binary, slices.Concat([]string{
			"serve", "--node", name, "--data", "none", "--listen", "127.0.0.1:" + strconv.Itoa(n.port),
		}, args)...)
		if err != nil {
			t.Fatal(err)
		}
		n.proc = proc
		taken := false
		await(ctx, t, startTime, "node "+name+" is ready", func() error {
			if err := proc.Ended(); err != nil {
				if taken = strings.Contains(proc.Said(), "address already in use"); taken {
					return nil
				}
				t.Fatal(err)
			}
			body, err := send(ctx, http.MethodGet, n.root()+"readyz", "")
			if err == nil && body != "ready" {
				err = fmt.Errorf("it says %q", body)
			}
			return err
		})
		if taken {
			continue
		}
		if slices.Contains(args, "--embedded-listen") {
			await(ctx, t, startTime, "node "+name+" says where its broker listens", func() error {
				select {
				case n.nats = <-broker:
					return nil
				default:
					return errors.New("no such line yet")
				}
			})
		}
		return n
	}
	t.Fatalf("node %s: %d ports, and each was taken when it came to listen", name, starts)
	return nil
}

// await looks again and again until check returns nil.
func await(ctx context.Context, t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, within, err)
		case <-tick.C:
		}
	}
}

// client does not ask the environment's proxy for what is on this machine.
func client() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
}

// send sends a request and returns the body of a 2xx.
func send(ctx context.Context, method, url, body string) (string, error) {
	return sendBy(ctx, client(), method, url, body)
}

func sendBy(ctx context.Context, c *http.Client, method, url, body string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // all is read
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s %q", method, url, res.Status, text)
	}
	return string(text), err
}

// register registers an instance as a client does.
func (n *node) register(ctx context.Context, t *testing.T, c *http.Client, app, id, zone string) {
	t.Helper()
	body := fmt.Sprintf(`{"instance":{"instanceId":%q,"app":%q,"hostName":"h","ipAddr":"192.0.2.1","status":"UP",`+
		`"port":{"$":8080,"@enabled":"true"},"vipAddress":"v","metadata":{"zone":%q},`+
		`"leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":3600},`+
		`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}}`, id, app, zone)
	if _, err := sendBy(ctx, c, http.MethodPost, n.root()+"eureka/apps/"+app, body); err != nil {
		t.Fatal(err)
	}
}
