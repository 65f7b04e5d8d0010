package topology_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	exitTime = 30 * time.Second // from a signal until the process is gone
	maxLines = 4000             // kept of a process's output
	maxShown = 30               // of them, when its test has failed
)

// process is a program that a test started. It ends with that test.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *lines // standard output
	err  *lines // standard error
	done chan struct{}
}

// spawn starts a program. Of the variables with the prefix REGISTRYD_ it gets
// only those of the test. A node keeps its snapshot in the test's directory, where no
// other run finds it.
func spawn(tb testing.TB, name string, env []string, program string, args ...string) *process {
	tb.Helper()
	p := &process{name: name, out: &lines{}, err: &lines{}, done: make(chan struct{})}
	// The test's context ends before its cleanups, which stop the process in order.
	p.cmd = exec.CommandContext(context.WithoutCancel(tb.Context()), program, args...)
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "REGISTRYD_") })
	p.cmd.Env = append(p.cmd.Env, "XDG_STATE_HOME="+tb.TempDir())
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() //nolint:errcheck // Its state shows that.
	}()
	tb.Cleanup(func() {
		p.kill(tb)
		if tb.Failed() {
			tb.Logf("%s, pid %d, %v, said last:\n%s%s", strings.Join(p.cmd.Args, " "), p.cmd.Process.Pid, p.cmd.ProcessState, p.out, p.err)
		}
	})
	return p
}

// signal sends a signal; of a process that is gone it wants nothing.
func (p *process) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Errorf("signal %v to %s: %v", sig, p.name, err)
	}
}

// kill is kill -9: the process can't say goodbye.
func (p *process) kill(tb testing.TB) { tb.Helper(); p.signal(tb, syscall.SIGKILL); p.gone(tb) }

// term asks the process to stop, and returns its exit code.
func (p *process) term(tb testing.TB) int {
	tb.Helper()
	p.signal(tb, syscall.SIGTERM)
	p.gone(tb)
	return p.cmd.ProcessState.ExitCode()
}

// freeze and thaw are SIGSTOP and SIGCONT: the sockets stay open, and nothing
// reads from them.
func (p *process) freeze(tb testing.TB) { tb.Helper(); p.signal(tb, syscall.SIGSTOP) }
func (p *process) thaw(tb testing.TB)   { tb.Helper(); p.signal(tb, syscall.SIGCONT) }

// gone waits until the process is gone.
func (p *process) gone(tb testing.TB) {
	tb.Helper()
	late := time.NewTimer(exitTime)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		tb.Fatalf("%s, pid %d, is still there after %s", p.name, p.cmd.Process.Pid, exitTime)
	}
}

// ended is an error once the process is gone.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v", p.name, p.cmd.ProcessState)
	default:
		return nil
	}
}

// lines holds the last lines of a process's output.
type lines struct {
	mu   sync.Mutex
	all  []string
	rest []byte
}

var _ io.Writer = (*lines)(nil)

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		if l.all = append(l.all, string(line)); len(l.all) > maxLines {
			l.all = l.all[1:]
		}
		l.rest = rest
	}
}

// with returns the lines that hold all of the texts.
func (l *lines) with(texts ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, line := range l.all {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			out = append(out, line)
		}
	}
	return out
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sb strings.Builder
	for _, line := range l.all[max(0, len(l.all)-maxShown):] {
		fmt.Fprintf(&sb, "  | %.600s\n", line)
	}
	return sb.String()
}

// ports hands out ports of 127.0.0.1. They are below those that the kernel gives
// to connections, so that one which a killed server leaves is free when the
// server is started again.
type portRange struct {
	mu    sync.Mutex
	taken map[int]bool
}

var ports = portRange{taken: map[int]bool{}}

const firstPort, lastPort = 20_000, 32_000

// freePort returns a port where no server listens, and which no other test
// gets.
func freePort(tb testing.TB) int {
	tb.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if ports.taken[port] {
			continue
		}
		l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		ports.taken[port] = true
		return port
	}
	tb.Fatal("no free port")
	return 0
}

// freeAddress returns a host:port of 127.0.0.1, as freePort.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(tb))
}
