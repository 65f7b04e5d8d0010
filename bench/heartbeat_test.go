package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
)

// listen returns a listener on a free port.
func listen(b *testing.B) net.Listener {
	b.Helper()
	var config net.ListenConfig
	l, err := config.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// serveBare serves what net/http costs alone: a handler that says 200. The options are
// those of api.Server.
func serveBare(b *testing.B) net.Addr {
	b.Helper()
	l := listen(b)
	s := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
		ReadHeaderTimeout: api.DefaultReadHeaderTimeout, ReadTimeout: api.ReadTimeout,
		WriteTimeout: api.WriteTimeout, IdleTimeout: api.DefaultIdleTimeout, MaxHeaderBytes: api.MaxHeaderBytes,
	}
	var running sync.WaitGroup
	running.Go(func() { s.Serve(l) }) //nolint:errcheck // it is closed
	b.Cleanup(func() {
		s.Close() //nolint:errcheck // nothing is lost
		running.Wait()
	})
	return l.Addr()
}

// serve serves a handler by api.Server.
func serve(b *testing.B, h http.Handler) net.Addr {
	b.Helper()
	s, err := api.NewServer(listen(b), api.ServerOptions{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) }) //nolint:errcheck // requests may be cut off
	b.Cleanup(func() {
		cancel()
		running.Wait()
	})
	if err := s.Open(b.Context(), h); err != nil {
		b.Fatal(err)
	}
	return s.Addr()
}

// conn is a client's connection. It does as little as it can.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func dial(b *testing.B, to net.Addr) *conn {
	b.Helper()
	var dialer net.Dialer
	c, err := dialer.DialContext(b.Context(), "tcp", to.String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() }) //nolint:errcheck // nothing is lost
	return &conn{c, bufio.NewReader(c)}
}

// do sends a request and reads an answer that has no body.
func (c *conn) do(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return fmt.Errorf("%q", line)
		case len(line) == 2:
			return nil
		}
	}
}

// heartbeats are requests as Spring's client sends them.
func heartbeats(paths []string) [][]byte {
	out := make([][]byte, len(paths))
	for i, path := range paths {
		out[i] = fmt.Appendf(nil, "PUT %s?status=UP&lastDirtyTimestamp=1700000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
			"Accept: application/json, application/*+json\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"+
			"User-Agent: Apache-HttpClient/5.5.1 (Java/17)\r\nAccept-Encoding: gzip, x-gzip, deflate\r\n\r\n", path)
	}
	return out
}

// BenchmarkHeartbeat sends heartbeats over sockets, with peers that take all.
func BenchmarkHeartbeat(b *testing.B) {
	for _, conns := range []int{1, 2, 8} {
		for _, peers := range []int{0, 2, 8} {
			b.Run(fmt.Sprintf("conns=%d/peers=%d", conns, peers), func(b *testing.B) { besideBare(b, conns, peers) })
		}
	}
}

// BenchmarkPeers shows how a heartbeat's cost grows with the peers.
func BenchmarkPeers(b *testing.B) {
	for _, peers := range []int{1, 2, 4, 8, 16, 32, 64} {
		b.Run(strconv.Itoa(peers), func(b *testing.B) { besideBare(b, 2, peers) })
	}
}

// besideBare sends heartbeats in turn to a bare handler of net/http and to a node, on as
// many connections. x-bare is the median of the ratios of their times; ns/op is the sum
// of both.
func besideBare(b *testing.B, conns, peers int) {
	b.Helper()
	const chunk = 200 // requests on a connection before it is the other server's turn
	g := newRig(b, peers)
	requests := heartbeats(g.fill(1000))
	servers := [2]net.Addr{serveBare(b), serve(b, g.handler)}
	var clients [2][]*conn
	for i, addr := range servers {
		for range conns {
			clients[i] = append(clients[i], dial(b, addr))
		}
	}
	run := func(of []*conn, n int) time.Duration {
		began := time.Now()
		var wg sync.WaitGroup
		for c, client := range of {
			wg.Go(func() {
				for i := range n {
					if err := client.do(requests[(c*131+i)%len(requests)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	run(clients[0], chunk)
	run(clients[1], chunk)
	var ratios []float64
	var times [2]time.Duration
	requested := 0
	b.ResetTimer()
	for n := b.N; n > 0 && !b.Failed(); n -= chunk * conns {
		bare, ours := run(clients[0], chunk), run(clients[1], chunk)
		ratios = append(ratios, float64(ours)/float64(bare))
		times[0], times[1], requested = times[0]+bare, times[1]+ours, requested+chunk*conns
	}
	b.StopTimer()
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
	b.ReportMetric(float64(times[0].Nanoseconds())/float64(requested), "bare-ns")
	b.ReportMetric(float64(times[1].Nanoseconds())/float64(requested), "node-ns")
}
