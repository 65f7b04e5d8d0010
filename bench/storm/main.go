// Command storm measures what heartbeats of a node cost while 5,000 clients register at once
// and 200 slow ones hold connections. It fails if their 99th percentile is more than ten times
// that of an idle node, or if a client does not get in.
//
//	storm ──starts──▶ registryd serve
//	  ├─ heartbeats, paced, on kept connections: idle, then
//	  └─starts──▶ storm -attack, nicer: registrations and slow clients, a connection each
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	beaters   = 4
	pace      = 5 * time.Millisecond // between two heartbeats of one of these
	idle      = 5 * time.Second
	bound     = 2 * time.Minute // of the whole
	allowed   = 10              // times the idle percentile
	trickle   = time.Second     // between two bytes of a slow client
	wholeWait = time.Minute     // until all have registered
)

func main() {
	binary := flag.String("registryd", "bin/registryd", "`FILE` of the program")
	clients := flag.Int("clients", 5000, "`COUNT` of clients that register at once")
	slow := flag.Int("slow", 200, "`COUNT` of clients that send a byte a second")
	tries := flag.Int("tries", 3, "`COUNT` of measurements, of which one must pass: others on the machine only slow it")
	attack := flag.String("attack", "", "`HOST:PORT` to flood, for the program's own use")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	run := func() (err error) {
		for range *tries {
			if err = measure(ctx, *binary, *clients, *slow); err == nil || ctx.Err() != nil {
				return err
			}
		}
		return err
	}
	if *attack != "" {
		run = func() error { return flood(ctx, *attack, *clients, *slow) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // What was deferred has been done.
	}
}

// measure runs a node, and heartbeats without and with the storm.
func measure(ctx context.Context, binary string, clients, slow int) error {
	at, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	node := exec.CommandContext(ctx, binary, "serve", "--listen", at, "--embedded-listen", "127.0.0.1:0",
		"--node", "storm", "--data", "none", "--log-level", "error",
		"--max-connections-per-address", strconv.Itoa(2*(clients+slow+beaters)))
	node.Stderr = os.Stderr
	if err := node.Start(); err != nil {
		return err
	}
	defer func() {
		_ = node.Process.Kill() //nolint:errcheck // It is there only for this.
		_ = node.Wait()         //nolint:errcheck // The same.
	}()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: beaters}, Timeout: 10 * time.Second}
	for {
		code, _ := send(ctx, client, http.MethodPost, url(at, "BEAT", ""), body("BEAT", "one"))
		if code == http.StatusNoContent {
			break
		}
		select {
		case <-ctx.Done():
			return errors.New("the node does not serve")
		case <-time.After(20 * time.Millisecond):
		}
	}
	beating, stop := context.WithTimeout(ctx, idle)
	before := beat(beating, client, at)
	stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	storm := exec.CommandContext(ctx, "nice", "-n", "19", self, "-attack", at,
		"-clients", strconv.Itoa(clients), "-slow", strconv.Itoa(slow))
	storm.Stdout, storm.Stderr = os.Stdout, os.Stderr
	if err := storm.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	beating, stop = context.WithCancel(ctx)
	go func() {
		ended <- storm.Wait()
		stop()
	}()
	during := beat(beating, client, at)
	if err := <-ended; err != nil {
		return fmt.Errorf("the storm: %w", err)
	}
	fmt.Printf("heartbeats, idle:     %s\nheartbeats, in storm: %s\n", before, during)
	if p, q := before.percentile(99), during.percentile(99); q > allowed*p {
		return fmt.Errorf("99th percentile %v, idle %v: more than %d times as long", q, p, allowed)
	}
	if before.failed+during.failed > 0 {
		return errors.New("heartbeats failed")
	}
	return nil
}

// times are those of heartbeats that were answered.
type times struct {
	took   []time.Duration
	failed int
}

func (t *times) percentile(p int) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	return t.took[min(len(t.took)-1, len(t.took)*p/100)]
}

func (t *times) String() string {
	return fmt.Sprintf("%d, p50 %v, p99 %v, longest %v, failed %d", len(t.took),
		t.percentile(50), t.percentile(99), t.percentile(100), t.failed)
}

// beat sends heartbeats until ctx is done.
func beat(ctx context.Context, client *http.Client, at string) *times {
	var mu sync.Mutex
	var beating sync.WaitGroup
	out := &times{}
	for range beaters {
		beating.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				began := time.Now()
				code, _ := send(context.WithoutCancel(ctx), client, http.MethodPut, url(at, "BEAT", "/one"), "")
				took := time.Since(began)
				mu.Lock()
				if code == http.StatusOK {
					out.took = append(out.took, took)
				} else {
					out.failed++
				}
				mu.Unlock()
			}
		})
	}
	beating.Wait()
	slices.Sort(out.took)
	return out
}

// flood registers all clients, each on a connection of its own, while the slow ones hold
// theirs.
func flood(ctx context.Context, at string, clients, slow int) error {
	slowCtx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range slow {
		all.Go(func() { crawl(slowCtx, at) })
	}
	var in, busy, other atomic.Int64
	began := time.Now()
	registering, cancel := context.WithTimeout(ctx, wholeWait)
	defer cancel()
	var fast sync.WaitGroup
	for i := range clients {
		fast.Go(func() {
			c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 20 * time.Second}
			defer c.CloseIdleConnections()
			for registering.Err() == nil {
				what := body("STORM", "i-"+strconv.Itoa(i))
				code, again := send(registering, c, http.MethodPost, url(at, "STORM", ""), what)
				switch code {
				case http.StatusNoContent:
					in.Add(1)
					return
				case http.StatusServiceUnavailable:
					busy.Add(1)
				default:
					other.Add(1)
				}
				select {
				case <-registering.Done():
				case <-time.After(max(again, 100*time.Millisecond)):
				}
			}
		})
	}
	fast.Wait()
	fmt.Printf("storm: %d of %d clients registered in %v beside %d slow ones; answers busy %d, others %d\n",
		in.Load(), clients, time.Since(began).Round(time.Millisecond), slow, busy.Load(), other.Load())
	stop()
	all.Wait()
	if in.Load() < int64(clients) {
		return errors.New("not all clients have registered")
	}
	return nil
}

// crawl announces a registration, and sends a byte of it from time to time.
func crawl(ctx context.Context, at string) {
	var d net.Dialer
	for ctx.Err() == nil {
		c, err := d.DialContext(ctx, "tcp", at)
		if err != nil {
			return
		}
		_, err = io.WriteString(c, "POST /eureka/apps/SLOW HTTP/1.1\r\nHost: h\r\n"+
			"Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n")
		for err == nil {
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(trickle):
				_, err = io.WriteString(c, " ")
			}
		}
		_ = c.Close() //nolint:errcheck // The node may have closed it.
	}
}

// send makes a request, and returns the code, 0 for none, and when to come again.
func send(ctx context.Context, client *http.Client, method, to, content string) (code int, again time.Duration) {
	r, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(content))
	if err != nil {
		return 0, 0
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := client.Do(r)
	if err != nil {
		return 0, 0
	}
	defer res.Body.Close()               //nolint:errcheck // It was read.
	_, _ = io.Copy(io.Discard, res.Body) //nolint:errcheck // The code counts.
	n, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil {
		n = 0
	}
	return res.StatusCode, time.Duration(n) * time.Second
}

func url(at, app, below string) string { return "http://" + at + "/eureka/apps/" + app + below }

func body(app, id string) string {
	return `{"instance":{"instanceId":"` + id + `","hostName":"h","app":"` + app + `","ipAddr":"192.0.2.1",` +
		`"status":"UP","vipAddress":"` + strings.ToLower(app) + `",` +
		`"metadata":{"zone":"` + strings.Repeat("a", 500) + `"},` +
		`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}}`
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
