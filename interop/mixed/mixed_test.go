// Package mixed_test runs registryd and a real Java Eureka server side by side, as
// peers of each other over the bridge. The programs are built before: `make interop`.
package mixed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

const (
	registryd = "../../bin/registryd"
	jar       = "../java/server/target/server.jar"
	// patience ends a wait for what must come. A Java server takes a minute to start on a busy machine.
	patience = 3 * time.Minute
	// What makes a JVM start sooner, of which several start at once.
	firstCompiler = "-XX:TieredStopAtLevel=1"
	oneCollector  = "-XX:+UseSerialGC"
)

// server is a Eureka server of either kind.
type server struct {
	name    string
	addr    string // host:port
	args    []string
	program string
	process *process.Process
	client  http.Client
}

func newServer(name, addr, program string, args ...string) *server {
	return &server{
		name: name, addr: addr, program: program, args: args,
		client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
}

// javaServer is a Java server at addr with the peers, by their addresses. Without its
// read-only cache its lists are never stale, so that the tests see what it has. The
// bridge expects staleness.
func javaServer(addr string, peers ...string) *server {
	host, port, _ := net.SplitHostPort(addr) //nolint:errcheck // made by net.JoinHostPort
	urls := make([]string, len(peers))
	for i, p := range peers {
		urls[i] = "http://" + p + "/eureka/"
	}
	return newServer("java", addr, "java", "-Xmx200m", firstCompiler, oneCollector, "-jar", jar,
		"--server.address="+host, "--server.port="+port, "--eureka.instance.hostname="+host,
		"--eureka.client.serviceUrl.defaultZone="+strings.Join(urls, ","),
		"--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false",
		"--eureka.server.enable-self-preservation=false", "--eureka.server.use-read-only-response-cache=false",
		// A list that is made while an instance registers may miss it, and stay in the cache.
		"--eureka.server.response-cache-auto-expiration-in-seconds=0")
}

// node is a registryd with Java servers as its peers.
func node(name, addr string, args ...string) *server {
	return newServer(name, addr, registryd, append([]string{
		"serve", "--node", name, "--listen", addr, "--data", "none", "--self-preservation=false",
	}, args...)...)
}

func (s *server) start(t *testing.T) {
	t.Helper()
	var err error
	if s.process, err = process.Start(t, s.name, func(string) bool { return true }, nil, s.program, s.args...); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the server answers with a list.
func (s *server) ready(t *testing.T) {
	t.Helper()
	eventually(t, s.name+" serves", func() error {
		if err := s.process.Ended(); err != nil {
			return err
		}
		_, err := s.list(t.Context())
		return err
	})
}

// do makes a request, and returns the status and the body.
func (s *server) do(ctx context.Context, method, path, body string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	var out bytes.Buffer
	_, err = out.ReadFrom(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, out.Bytes(), errors.Join(err, resp.Body.Close())
}

// list returns all instances that the server lists: status and override by id.
func (s *server) list(ctx context.Context) (map[string]string, error) {
	code, body, err := s.do(ctx, http.MethodGet, "/eureka/apps", "")
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("%s: apps: status %d", s.name, code)
	}
	var list struct {
		Applications struct {
			Application []struct {
				Instance []struct {
					ID         string            `json:"instanceId"`
					Status     string            `json:"status"`
					Overridden string            `json:"overriddenStatus"`
					Metadata   map[string]string `json:"metadata"`
				} `json:"instance"`
			} `json:"application"`
		} `json:"applications"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, a := range list.Applications.Application {
		for _, i := range a.Instance {
			out[i.ID] = i.Status + "/" + i.Overridden + "/" + i.Metadata["generation"]
		}
	}
	return out, nil
}

// registers registers an instance now: its timestamp is the time.
func (s *server) registers(ctx context.Context, id string) error {
	now := time.Now().UnixMilli()
	return s.want(ctx, 204, http.MethodPost, "/eureka/apps/MIXED", `{"instance":{"instanceId":"`+id+`","hostName":"`+id+`.example",`+
		`"app":"MIXED","ipAddr":"10.0.0.1","status":"UP","port":{"$":8080,"@enabled":"true"},"vipAddress":"mixed",`+
		`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},`+
		`"leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":90},`+
		`"metadata":{"generation":"`+strconv.FormatInt(now, 10)+`"},"lastDirtyTimestamp":"`+strconv.FormatInt(now, 10)+`"}}`)
}

func (s *server) cancels(ctx context.Context, id string) error {
	return s.want(ctx, 200, http.MethodDelete, "/eureka/apps/MIXED/"+id, "")
}

func (s *server) renews(ctx context.Context, id string) error {
	return s.want(ctx, 200, http.MethodPut, "/eureka/apps/MIXED/"+id, "")
}

func (s *server) want(ctx context.Context, want int, method, path, body string) error {
	code, answer, err := s.do(ctx, method, path, body)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if code != want {
		return fmt.Errorf("%s: %s %s: status %d, want %d: %.200s", s.name, method, path, code, want, answer)
	}
	return nil
}

// all does something for each id, ten at a time.
func all(ids []string, do func(id string) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	next := make(chan string)
	for range 10 {
		wg.Go(func() {
			for id := range next {
				if err := do(id); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	wg.Wait()
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return out
}

// differs returns how the lists of the servers differ from the first one's, and that
// from the ids wanted; nil: any.
func differs(ctx context.Context, want []string, servers ...*server) error {
	var first map[string]string
	for _, s := range servers {
		list, err := s.list(ctx)
		if err != nil {
			return err
		}
		if first == nil {
			first = list
			if got := slices.Sorted(maps.Keys(list)); want != nil && !slices.Equal(got, want) {
				return fmt.Errorf("%s: %s", s.name, difference(want, got))
			}
			continue
		}
		if maps.Equal(list, first) {
			continue
		}
		for id, is := range first {
			if list[id] != is {
				return fmt.Errorf("%s lists %d, %s %d; %s is %q and %q",
					servers[0].name, len(first), s.name, len(list), id, is, list[id])
			}
		}
		return fmt.Errorf("%s lists %d, %s %d: %s", servers[0].name, len(first), s.name, len(list),
			difference(slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(list))))
	}
	return nil
}

func difference(want, got []string) string {
	missing := slices.DeleteFunc(slices.Clone(want), func(id string) bool { return slices.Contains(got, id) })
	extra := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return slices.Contains(want, id) })
	return fmt.Sprintf("%d missing: %v; %d too many: %v", len(missing), missing[:min(3, len(missing))],
		len(extra), extra[:min(3, len(extra))])
}

func eventually(t *testing.T, what string, check func() error) time.Duration {
	t.Helper()
	return within(t, patience, what, check)
}

// within waits until check succeeds, and returns how long that took.
func within(t *testing.T, bound time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := check()
		took := time.Since(began)
		switch {
		case err == nil:
			return took
		case took > bound:
			t.Fatalf("%s: not within %s: %v", what, bound, err)
		case t.Context().Err() != nil:
			t.Fatal(t.Context().Err())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func at(t *testing.T, host string) string {
	t.Helper()
	return net.JoinHostPort(host, strconv.Itoa(process.FreePort(t.Context(), t)))
}

// renewing renews instances at their servers each 15 s until the function that it
// returns is called. What is not there may have been cancelled.
func renewing(ctx context.Context, homes func() map[string]*server) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			live := homes()
			_ = all(slices.Collect(maps.Keys(live)), func(id string) error { //nolint:errcheck // the lists show it
				return live[id].renews(ctx, id)
			})
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestCut cuts registryd and a Java server off from each other for 45 s, while clients
// register 3,000 instances and cancel 1,000, half of each on either side. What Java
// could not send for 30 s it forgets. Both lists are equal with the second
// comparison after the cut, which is half a minute after the first: a cancel may still be on its way.
func TestCut(t *testing.T) {
	t.Parallel()
	javaAddr, nodeAddr := at(t, "127.0.0.2"), at(t, "127.0.0.1")
	toJava, toNode := newProxy(t, "127.0.0.1", javaAddr), newProxy(t, "127.0.0.1", nodeAddr)
	java := javaServer(javaAddr, toNode.addr())
	n := node("n1", nodeAddr, "--embedded-listen", "127.0.0.1:0", "--eureka-peers", "http://"+toJava.addr()+"/eureka/")
	java.start(t)
	n.start(t)
	java.ready(t)
	n.ready(t)
	ctx := t.Context()

	var mu sync.Mutex
	home := make(map[string]*server)
	change := func(s *server, ids []string, do func(context.Context, string) error, lives bool, spread time.Duration) error {
		return all(ids, func(id string) error {
			if err := do(ctx, id); err != nil {
				return err
			}
			mu.Lock()
			if delete(home, id); lives {
				home[id] = s
			}
			mu.Unlock()
			time.Sleep(10 * spread / time.Duration(len(ids))) // ten at a time
			return nil
		})
	}
	stop := renewing(ctx, func() map[string]*server {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(home)
	})
	defer stop()
	for _, s := range []*server{java, n} {
		if err := change(s, numbered(s.name+"-early", 700), s.registers, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both list the early ones", func() error { return differs(ctx, slices.Sorted(maps.Keys(home)), java, n) })
	// The bridge has compared once since: it knows that Java had these.
	time.Sleep(31 * time.Second)

	toJava.cut()
	toNode.cut()
	cut := time.Now()
	var work sync.WaitGroup
	failed := make(chan error, 4)
	for _, s := range []*server{java, n} {
		work.Go(func() { failed <- change(s, numbered(s.name+"-late", 1500), s.registers, true, 40*time.Second) })
		work.Go(func() {
			failed <- change(s, numbered(s.name+"-early", 700)[:500], s.cancels, false, 40*time.Second)
		})
	}
	work.Wait()
	for range 4 {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Until(cut.Add(45 * time.Second)))
	if differs(ctx, nil, java, n) == nil {
		t.Fatal("the lists are equal in the cut: the test shows nothing")
	}
	toJava.heal()
	toNode.heal()
	took := within(t, time.Minute, "both lists are equal", func() error {
		mu.Lock()
		want := slices.Sorted(maps.Keys(home))
		mu.Unlock()
		return differs(ctx, want, java, n)
	})
	t.Logf("equal %s after the cut", took.Round(100*time.Millisecond))
}

// TestEmptyRestart makes a Java server that has forgotten everything whole, without
// any client's help.
func TestEmptyRestart(t *testing.T) {
	t.Parallel()
	javaAddr, nodeAddr := at(t, "127.0.0.3"), at(t, "127.0.0.1")
	java := javaServer(javaAddr, nodeAddr)
	n := node("n1", nodeAddr, "--embedded-listen", "127.0.0.1:0", "--eureka-peers", "http://"+javaAddr+"/eureka/")
	java.start(t)
	n.start(t)
	java.ready(t)
	n.ready(t)
	ctx := t.Context()
	ids := slices.Concat(numbered("java", 200), numbered("n1", 200))
	for _, s := range []*server{java, n} {
		if err := all(numbered(s.name, 200), func(id string) error { return s.registers(ctx, id) }); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both list all", func() error { return differs(ctx, ids, java, n) })
	if err := java.process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	java.start(t)
	took := eventually(t, "the Java server lists all again", func() error { return differs(ctx, ids, java, n) })
	t.Logf("whole %s after its start", took.Round(100*time.Millisecond))
}
