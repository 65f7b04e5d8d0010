package topology_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// natsServer is a stock nats-server, as a process of its own.
type natsServer struct {
	*process
	address string
	args    []string
	env     []string
	config  string // path of its configuration file, if startNATS made it
}

// startNATS starts a nats-server on a free port of 127.0.0.1. config is the
// rest of its configuration file; "" is none.
func startNATS(tb testing.TB, config string, args ...string) *natsServer {
	tb.Helper()
	s := &natsServer{address: freeAddress(tb)}
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		tb.Fatal(err)
	}
	s.args = append([]string{"-a", "127.0.0.1", "-p", port}, args...)
	if config != "" {
		s.config = file(tb, "nats.conf", config)
		s.args = append(s.args, "-c", s.config)
	}
	s.start(tb)
	return s
}

// start starts the server, or starts it again where it was, and waits until it
// takes connections.
func (s *natsServer) start(tb testing.TB) {
	tb.Helper()
	s.process = spawn(tb, "nats-server on "+s.address, s.env, programs.nats, s.args...)
	eventually(tb, "nats-server takes connections", func() error {
		if err := s.ended(); err != nil {
			tb.Fatalf("%v:\n%s", err, s.err)
		}
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(tb.Context(), "tcp", s.address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// reload makes the server read another configuration.
func (s *natsServer) reload(tb testing.TB, config string) {
	tb.Helper()
	before := len(s.err.with("Reloaded server configuration"))
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.signal(tb, syscall.SIGHUP)
	eventually(tb, s.name+" has read its configuration again", func() error {
		if got := len(s.err.with("Reloaded server configuration")); got != before+1 {
			return fmt.Errorf("%d times", got)
		}
		return nil
	})
}

// url returns the server's URL; user is what stands before the @, or "".
func (s *natsServer) url(user string) string {
	if user != "" {
		user += "@"
	}
	return "nats://" + user + s.address
}

// startNATSCluster starts a NATS cluster of stock servers.
func startNATSCluster(tb testing.TB, size int, args ...string) []*natsServer {
	tb.Helper()
	addresses := make([]string, size)
	for i := range addresses {
		addresses[i] = freeAddress(tb)
	}
	routes := "nats://" + strings.Join(addresses, ",nats://")
	servers := make([]*natsServer, size)
	for i := range servers {
		servers[i] = startNATS(tb, "", append([]string{
			"-n", "s" + strconv.Itoa(i+1), "--cluster_name", "stock",
			"--cluster", "nats://" + addresses[i], "--routes", routes,
		}, args...)...)
	}
	for _, s := range servers {
		eventually(tb, s.name+" has its routes", func() error {
			if n := len(s.err.with("Route connection created")); n < size-1 {
				return fmt.Errorf("%d routes", n)
			}
			return nil
		})
	}
	return servers
}

// file writes a file of the test's own and returns its path.
func file(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
