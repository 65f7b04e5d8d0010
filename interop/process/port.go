package process

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are taken below the range that systems give to outgoing connections, so
// that a process that was killed finds its port free again.
const firstPort, lastPort = 20_000, 30_000

// FreePort returns a port of 127.0.0.1 that nobody listens on. Another program may
// take it before the caller does.
func FreePort(ctx context.Context, t *testing.T) int {
	t.Helper()
	var listen net.ListenConfig
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if l, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", firstPort, lastPort)
	return 0
}
