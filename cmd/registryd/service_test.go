//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestServiceManager starts a node as systemd would, with a socket to notify and a
// watchdog. The node reports that it is ready, goes on reporting, and, once it is asked to
// stop, serves on for --shutdown-delay while /readyz is 503. A second signal cuts that
// short.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	addr := freeAddress(t)
	told := listenNotify(t)
	cmd := command(t, "serve", "--node", "a", "--listen", addr, "--embedded-listen", "127.0.0.1:0", "--shutdown-delay", "5m")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+told.path, "WATCHDOG_USEC=600000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told.await(t, "READY=1\nSTATUS=ready")
	for range 3 {
		told.await(t, "WATCHDOG=1\nSTATUS=ready")
	}
	is := func(path string, want int, body string) {
		t.Helper()
		code, got, err := send(http.MethodGet, "http://"+addr+path)
		if err != nil || code != want || !strings.Contains(got, body) {
			t.Errorf("%s: got %d %.100q, %v, want %d and %q in it", path, code, got, err, want, body)
		}
	}
	is("/readyz", http.StatusOK, "ready")

	sendSignal(t, cmd.Process, syscall.SIGHUP)
	told.await(t, "RELOADING=1\nMONOTONIC_USEC=")
	told.await(t, "READY=1")

	sendSignal(t, cmd.Process, syscall.SIGTERM)
	told.await(t, "STOPPING=1")
	told.await(t, "WATCHDOG=1") // it may take longer than the watchdog waits
	is("/readyz", http.StatusServiceUnavailable, "stopping")
	is("/eureka/apps", http.StatusOK, "applications")

	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	again := time.NewTicker(sameSignal) // the second may come too early to be one
	defer again.Stop()
	for deadline := time.After(patience); ; {
		select {
		case err := <-exited:
			if err != nil {
				t.Errorf("stopped: %v, want exit 0", err)
			}
			return
		case <-again.C:
			_ = cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // It may have ended.
		case <-deadline:
			t.Fatalf("still there %v after a second SIGTERM", patience)
		}
	}
}

// TestSecondSignal sends signals to a process that is stopping. timeout(1) sends its one
// signal twice, which is no reason to hurry.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   []time.Duration // since the first
		cut  time.Duration   // 0: never
	}{
		{"none", nil, 0},
		{"the same once more", []time.Duration{0, time.Millisecond, sameSignal - 1}, 0},
		{"a second", []time.Duration{sameSignal + 1}, sameSignal + 1},
		{"the same once more, and a second", []time.Duration{time.Millisecond, 3 * time.Second}, 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				signals := make(chan os.Signal, 1)
				began := time.Now()
				var cut time.Duration
				go func() {
					for _, at := range tc.at {
						time.Sleep(at - time.Since(began))
						signals <- syscall.SIGTERM
					}
				}()
				untilSecond(ctx, signals, func() { cut = time.Since(began) })
				if cut != tc.cut {
					t.Errorf("waiting was cut short after %v, want %v (0: never)", cut, tc.cut)
				}
			})
		})
	}
}

func sendSignal(t *testing.T, p *os.Process, sig syscall.Signal) {
	t.Helper()
	if err := p.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// notifySocket is a service manager's end of sd_notify.
type notifySocket struct {
	path string
	conn *net.UnixConn
}

func listenNotify(t *testing.T) notifySocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // A socket's path has to be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) //nolint:errcheck // A temporary one.
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) //nolint:errcheck // Nobody writes any more.
	return notifySocket{path, conn}
}

// await reads messages until one begins with what is wanted.
func (n notifySocket) await(t *testing.T, want string) {
	t.Helper()
	var got []string
	if err := n.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; {
		size, err := n.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("got %q, want one that begins with %q: %w", got, want, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, string(buf[:size])); strings.HasPrefix(got[len(got)-1], want) {
			return
		}
	}
}
