package api_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// counted is a listener whose connections count what the server writes.
type counted struct {
	net.Listener
	writes atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &countedConn{c, &l.writes}, err
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.writes.Add(1)
	return n, err
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkWatchers is the cost of one change for 9,500 watchers over sockets of this machine,
// as many as 20,000 open files allow. Nobody reads while it is measured: the kernel has room.
func BenchmarkWatchers(b *testing.B) {
	const watchers = 9500
	n := newNode(b, api.Options{})
	fill(b, n, 100)
	var lc net.ListenConfig
	tcp, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l := &counted{Listener: tcp}
	server := &http.Server{Handler: n, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(l) //nolint:errcheck // it is closed
	}()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	conns := make([]net.Conn, watchers)
	drain := func() { // what waits in the kernel
		buffer := make([]byte, 1<<20)
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // it is read in vain then
			for {
				if k, err := c.Read(buffer); err != nil || k < len(buffer) {
					break
				}
			}
		}
	}
	for i := range conns {
		var dialer net.Dialer
		if conns[i], err = dialer.DialContext(b.Context(), "tcp", l.Addr().String()); err != nil {
			b.Fatal(err)
		}
		if _, err := conns[i].Write([]byte("GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			b.Fatal(err)
		}
		for in := bufio.NewReader(conns[i]); ; {
			if line, err := in.ReadString('\n'); err != nil || strings.HasPrefix(line, "event: reset") {
				break
			}
		}
	}
	drain()
	each := float64(heap()-before) / watchers
	wait := func(writes int64) {
		for l.writes.Load() < writes {
			time.Sleep(100 * time.Microsecond)
		}
	}
	key := registry.NewKey("APP-000", "host-1:app:8080")
	statuses := []eureka.Status{eureka.StatusDown, eureka.StatusUp}
	took, changes := time.Duration(0), 0
	for b.Loop() {
		b.StopTimer()
		if changes++; changes%30 == 0 {
			drain()
		}
		time.Sleep(50 * time.Millisecond)
		start, sent := cpuTime(b), l.writes.Load()
		b.StartTimer()
		n.reg.SetStatus(key, statuses[changes%2], eureka.NoTimestamp, registry.Origin{})
		wait(sent + watchers)
		took += cpuTime(b) - start
	}
	b.ReportMetric(float64(took.Microseconds())/float64(changes)/watchers, "cpu-us/watcher")
	b.ReportMetric(each, "B/watcher")
	b.StopTimer()
	n.Handler.(*api.Handler).EndStreams()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	server.Shutdown(ctx) //nolint:errcheck // what is left ends with the process
	<-served
	for _, c := range conns {
		c.Close() //nolint:errcheck // nobody cares any more
	}
}

// BenchmarkHeartbeatHistory is a heartbeat with and without a history: renewals are not in it.
func BenchmarkHeartbeatHistory(b *testing.B) {
	benchmarkHistory(b, func(b *testing.B, n http.Handler) {
		r := newRequest(b, http.MethodPut, "/eureka/apps/ORDERS/host:orders:8080?status=UP&lastDirtyTimestamp=1700000000000")
		w := newSink()
		b.ReportAllocs()
		for b.Loop() {
			w.reset()
			n.ServeHTTP(w, r)
		}
	})
}

// BenchmarkStatusHistory is a change, which is in it.
func BenchmarkStatusHistory(b *testing.B) {
	benchmarkHistory(b, func(b *testing.B, n http.Handler) {
		requests := []*http.Request{
			newRequest(b, http.MethodPut, "/eureka/apps/ORDERS/host:orders:8080/status?value=OUT_OF_SERVICE"),
			newRequest(b, http.MethodDelete, "/eureka/apps/ORDERS/host:orders:8080/status?value=UP"),
		}
		w := newSink()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			w.reset()
			n.ServeHTTP(w, requests[i%2])
		}
	})
}

func benchmarkHistory(b *testing.B, run func(*testing.B, http.Handler)) {
	for _, with := range []bool{false, true} {
		name := map[bool]string{false: "without", true: "with"}[with]
		b.Run(name, func(b *testing.B) {
			opts := api.Options{Node: &fakeNode{now: ready}, Metrics: prometheus.NewRegistry()}
			var recorder registry.Recorder
			if with {
				h, err := history.New(history.Options{})
				if err != nil {
					b.Fatal(err)
				}
				opts.History, recorder = h, h
			}
			reg, err := registry.New(registry.Options{Recorder: recorder})
			if err != nil {
				b.Fatal(err)
			}
			h, err := api.New(reg, opts)
			if err != nil {
				b.Fatal(err)
			}
			info, err := eureka.DecodeInstance(eureka.JSON, []byte(registration("ORDERS", "host:orders:8080", "")))
			if err != nil {
				b.Fatal(err)
			}
			reg.Register(info, registry.Origin{})
			run(b, h)
		})
	}
}

func newRequest(b *testing.B, method, path string) *http.Request {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, path, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "10.12.14.16:43210"
	return r
}

// BenchmarkChange is the making of a change's JSON, once for all who get it.
func BenchmarkChange(b *testing.B) {
	n := newNode(b, api.Options{})
	fill(b, n, 100)
	h := n.Handler.(*api.Handler)
	events, _ := n.history.Query(history.Filter{}, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		events[0].Seq++ // another event each time
		h.Change(&events[0])
	}
}
