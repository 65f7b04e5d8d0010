package node_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestCloseIsBounded stops a node while a client is in the middle of a request: the
// shutdown timeout bounds all parts of the stop together.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	n, err := node.Start(t.Context(), node.Options{ShutdownTimeout: 3 * time.Second, Logger: natstest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", n.URL()[len("http://"):len(n.URL())-len("/eureka/")])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // A test's own.
	if _, err := io.WriteString(c, "POST /eureka/apps/ORDERS HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"+
		"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil { // the node waits for the body
		t.Fatal(err)
	}
	began := time.Now()
	err = n.Close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Close took %v, with a shutdown timeout of 3s", took)
	}
	if err == nil || strings.Contains(err.Error(), "cluster") {
		t.Errorf("Close: %v, want that a request was cut off, and time left for the cluster", err)
	}
}

// TestCloseLeavesNothingBehind stops a node with less time than the drain takes: what
// could not be sent is counted and logged all the same, before Close returns.
func TestCloseLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	var log lines
	n, err := node.Start(t.Context(), node.Options{
		Name: "n1", Cluster: natstest.Cluster, Broker: broker.Access{Server: server}, ShutdownTimeout: time.Second,
		Logger: log.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	announce := haunt(t, server, "ghost") // it serves nothing
	eventually(t, "n1 takes the ghost for a peer", func() error {
		announce("ready")
		if peers := n.Overview().Peers; len(peers) != 1 {
			return fmt.Errorf("it has %d peers", len(peers))
		}
		return nil
	})
	n.RegisterHere(instance("a", "1"))
	if err := n.Close(); err == nil || !strings.Contains(err.Error(), "pipelines not drained") {
		t.Errorf("Close: %v, want that the pipelines are not drained", err)
	}
	if lost := log.with(t, "msg", "pipeline ended, tasks dropped", "reason", "shutdown"); len(lost) != 1 || lost[0]["tasks"] != 1.0 {
		t.Errorf("Close has returned, and the log says of what is lost: %v, want one task", lost)
	}
}
