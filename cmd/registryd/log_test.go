//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNobodyReadsTheLog has a node whose standard output and error are full pipes
// that nobody reads, while a peer comes and goes. The node goes on serving, and stops
// when it is asked to.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	const duration = 10 * time.Second // a peer counts as unreachable after 5
	pipe, stderr := fullPipe(t)
	http1, broker, http2 := freeAddress(t), freeAddress(t), freeAddress(t)
	n1 := command(t, "serve", "--node", "n1", "--listen", http1, "--embedded-listen", broker,
		"--log-level", "debug", "--batch-mode", "adaptive")
	n1.Stderr = stderr
	unread, stdout := fullPipe(t)
	unread.fill(t)
	n1.Stdout = stdout
	if err := n1.Start(); err != nil {
		t.Fatal(err)
	}
	status := func(method, path, body string) (int, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, "http://"+http1+path, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		return res.StatusCode, res.Body.Close()
	}
	eventually(t, func() error {
		code, err := status(http.MethodGet, "/readyz", "")
		if code != http.StatusOK {
			return fmt.Errorf("/readyz: %d, %w", code, err)
		}
		return nil
	})
	instance := `{"instance":{"instanceId":"a","hostName":"h","app":"DEMO","ipAddr":"127.0.0.1","status":"UP",
		"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}}`
	if code, err := status(http.MethodPost, "/eureka/apps/DEMO", instance); code != http.StatusNoContent {
		t.Fatalf("register: %d, %v", code, err)
	}

	pipe.fill(t)
	n2 := command(t, "serve", "--node", "n2", "--listen", http2, "--nats", "nats://"+broker)
	if err := n2.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	began := time.Now()
	for tick := time.NewTicker(50 * time.Millisecond); time.Since(began) < duration; <-tick.C {
		for method, path := range map[string]string{http.MethodPut: "/eureka/apps/DEMO/a", http.MethodGet: "/eureka/apps"} {
			if code, err := status(method, path, ""); code != http.StatusOK {
				t.Fatalf("after %v, %s %s: %d, %v", time.Since(began), method, path, code, err)
			}
		}
		if time.Since(began) > 2*time.Second && !killed {
			killed = true
			if err := n2.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code, body, err := send(http.MethodGet, "http://"+http1+"/metrics"); err != nil || code != http.StatusOK ||
		!strings.Contains(body, "\nregistryd_log_dropped_lines_total 0\n") {
		t.Errorf("metrics: %d, %v, want registryd_log_dropped_lines_total in them", code, err)
	}
	if !pipe.isFull(t) {
		t.Error("somebody has read the log")
	}
	if err := n1.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- n1.Wait() }()
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v, want exit 0", err)
		}
	case <-time.After(patience):
		t.Errorf("still there %v after SIGTERM", patience)
		if err := n1.Process.Kill(); err != nil {
			t.Error(err)
		}
		t.Logf("killed: %v", <-exited)
	}
}

// command returns registryd with its arguments, to be killed with the test.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "registryd", args...) //nolint:gosec // TestMain's own.
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	t.Cleanup(func() { _ = cmd.Wait() }) //nolint:errcheck // It was killed, or waited for.
	return cmd
}

// freeAddress returns an address of 127.0.0.1 where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // Only its address is wanted.
	return l.Addr().String()
}

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// namedPipe is one that nobody reads, as a descriptor that does not block.
type namedPipe int

// fullPipe returns a pipe and its other end, for a child's standard error.
func fullPipe(t *testing.T) (namedPipe, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Close(fd); err != nil {
			t.Error(err)
		}
	})
	end, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end.Close() }) //nolint:errcheck // Nothing is written here.
	return namedPipe(fd), end
}

// fill writes until the pipe takes no byte more.
func (p namedPipe) fill(t *testing.T) {
	t.Helper()
	for !p.isFull(t) {
	}
}

// isFull reports whether the pipe takes no byte more. If it does, it has one
// more now.
func (p namedPipe) isFull(t *testing.T) bool {
	t.Helper()
	switch _, err := syscall.Write(int(p), []byte{'\n'}); {
	case errors.Is(err, syscall.EAGAIN):
		return true
	case err != nil && !errors.Is(err, syscall.EINTR):
		t.Fatal(err)
	}
	return false
}
