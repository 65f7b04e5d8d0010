package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// server is a process that is measured.
type server struct {
	addr   string
	cmd    *exec.Cmd
	client *http.Client
	tick   time.Duration // of the system's accounting
}

// visit starts a server, fills it, measures all workloads, and stops it.
func visit(ctx context.Context, o *options, kind string, size int) (map[string]measured, error) {
	s, err := start(ctx, o, kind)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	f := &fleet{server: s, size: size}
	if err := f.fill(ctx, o.clients); err != nil {
		return nil, err
	}
	select {
	case <-time.After(o.settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make(map[string]measured)
	for _, w := range workloads() {
		if _, err := f.measure(ctx, o, w, o.lasts/2); err != nil { // warm up
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		if out[w.name], err = f.measure(ctx, o, w, o.lasts); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return out, nil
}

func start(ctx context.Context, o *options, kind string) (*server, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	s := &server{addr: addr, tick: 10 * time.Millisecond, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: o.clients, DisableCompression: true,
	}}}
	if kind == "java" {
		s.cmd = exec.CommandContext(ctx, "java", "-Xmx2g", "-jar", o.jar,
			"--server.address=127.0.0.1", "--server.port="+port, "--logging.level.root=warn",
			"--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false")
	} else {
		s.cmd = exec.CommandContext(ctx, o.registryd, "serve", "--node", "measured", "--listen", addr,
			"--embedded-listen", "127.0.0.1:0", "--data", "none", "--log-level", "warn")
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err := s.want(ctx, http.StatusOK, request{method: http.MethodGet, path: "/eureka/apps"}); err == nil {
			return s, nil
		} else if time.Since(began) > time.Minute || ctx.Err() != nil {
			s.stop()
			return nil, fmt.Errorf("does not serve: %w", err)
		}
	}
}

func (s *server) stop() {
	s.cmd.Process.Kill() //nolint:errcheck // it may have ended
	s.cmd.Wait()         //nolint:errcheck // it was killed
}

// cpu returns how long the process has computed.
func (s *server) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * s.tick, errors.Join(err, err2)
}

// memory returns the resident memory, in megabytes.
func (s *server) memory() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024, err
		}
	}
	return 0, errors.New("/proc: no VmRSS")
}
