package differential

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

var (
	seed     = flag.Uint64("seed", 1, "of the sequences; 0 draws one")
	requests = flag.Int("requests", 2000, "that each server is asked")
)

// most is how many failures are shrunk and shown.
const most = 5

// TestDifferential compares registryd with a real server, and checks that the comparison can fail.
func TestDifferential(t *testing.T) {
	java, ours, played := startJava(t), startOurs(t), new(int)
	t.Run("registryd answers as Java does", func(t *testing.T) { testAnswers(t, java, ours, played) })
	t.Run("a changed answer is noticed", func(t *testing.T) { testNotices(t, java, ours.addr, played) })
}

func newPlayer(java, ours *server, played *int) *player {
	return &player{java: java, ours: ours, classes: classes(), played: played, seen: map[string]int{}}
}

// testAnswers compares the answers to random requests.
func testAnswers(t *testing.T, java, ours *server, played *int) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d, %d requests (go test -args -seed %d -requests %d)", *seed, *requests, *seed, *requests)
	p, g := newPlayer(java, ours, played), newGenerator(*seed)
	for failures := 0; p.asked < *requests && failures < most; {
		f, err := p.play(t.Context(), g.sequence())
		if err != nil {
			t.Fatal(err)
		}
		if f == nil {
			continue
		}
		failures++
		asked := p.asked
		least, err := p.shrink(t.Context(), f)
		if err != nil {
			t.Error(err)
		}
		p.asked = asked
		t.Errorf("answers differ. The least sequence ({0} stands for a number of its own):\n%s", least)
	}
	t.Logf("%d requests in %d sequences; differences by class:", p.asked, *played)
	for _, name := range slices.Sorted(maps.Keys(p.seen)) {
		t.Logf("%7d %s", p.seen[name], name)
	}
}

const (
	startTime = 90 * time.Second
	retention = 30 // s that a change stays in the delta: far longer than a sequence takes
)

var tomcatPort = regexp.MustCompile(`Tomcat started on port (\d+)`)

// startJava starts the Java server and waits until it answers.
func startJava(t *testing.T) *server {
	t.Helper()
	jar := filepath.Join("..", "java", "server", "target", "server.jar")
	if _, err := os.Stat(jar); err != nil {
		t.Fatalf(`%v: run "mvn package" in interop/java first`, err)
	}
	port := make(chan string, 1)
	_, err := process.Start(t, "Java's server", func(line string) bool {
		if m := tomcatPort.FindStringSubmatch(line); m != nil {
			port <- m[1]
		}
		return true
	}, nil, "java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", jar,
		"--server.address=127.0.0.1", "--server.port=0",
		"--eureka.instance.hostname=127.0.0.1", "--eureka.client.service-url.defaultZone=http://127.0.0.1/eureka/",
		"--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false",
		"--eureka.server.use-read-only-response-cache=false", "--eureka.server.response-cache-auto-expiration-in-seconds=0",
		"--eureka.server.enable-self-preservation=false", "--eureka.server.eviction-interval-timer-in-ms=86400000",
		"--eureka.server.retention-time-in-m-s-in-delta-queue="+strconv.Itoa(retention*1000), "--eureka.server.delta-retention-timer-interval-in-ms=1000")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case p := <-port:
		return ready(t, &server{name: "Java", addr: "127.0.0.1:" + p})
	case <-time.After(startTime):
		t.Fatalf("Java's server does not listen after %s", startTime)
		return nil
	}
}

// startOurs starts registryd and waits until it answers.
func startOurs(t *testing.T) *server {
	t.Helper()
	binary := os.Getenv("INTEROP_REGISTRYD")
	if binary == "" {
		binary = filepath.Join("..", "..", "bin", "registryd")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf(`%v: run "make build" first`, err)
	}
	port := process.FreePort(t.Context(), t)
	addr := "127.0.0.1:" + strconv.Itoa(port)
	if _, err := process.Start(t, "registryd", func(string) bool { return true }, nil, binary, "serve", "--node", "differential", "--listen", addr,
		"--data", "none", "--embedded-listen", "127.0.0.1:0", "--self-preservation=false", "--eviction-interval", "1h", "--delta-retention", strconv.Itoa(retention)+"s"); err != nil {
		t.Fatal(err)
	}
	return ready(t, &server{name: "registryd", addr: addr})
}

func ready(t *testing.T, s *server) *server {
	t.Helper()
	t.Cleanup(s.close)
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := s.ask(ctx, &request{method: http.MethodGet, target: "/eureka/apps"}, "")
		if err == nil && a.code == http.StatusOK {
			return s
		}
		if err == nil {
			err = fmt.Errorf("%s: status %d", s.name, a.code)
		}
		select {
		case <-ctx.Done():
			t.Fatal(errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
