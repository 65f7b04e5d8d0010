// Package process starts the programs that the interop tests put together. Each
// ends with the test that owns it, and what it said last is in that test's log.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	exitTime  = 20 * time.Second // from a signal until the process is gone
	tailLines = 40               // kept of what a process says
)

// Process is a program that a test started. It ends with that test, its owner.
type Process struct {
	name string
	cmd  *exec.Cmd
	said *tail
	done chan struct{} // closed when the process is gone
	err  error         // of Wait, once done is closed
}

// Start starts a program. Each line of its standard output goes to onLine, which
// reports whether it is kept for [Process.Said]; of standard error all are. A stdin is
// what the process reads. Call it from the goroutine of the owner.
func Start(owner *testing.T, name string, onLine func(line string) (keep bool), stdin *os.File, program string, args ...string) (*Process, error) {
	owner.Helper()
	cmd := exec.CommandContext(owner.Context(), program, args...)
	p := &Process{name: name, cmd: cmd, said: &tail{}, done: make(chan struct{})}
	// Flags can come from the environment too; those of the caller's shell stay out. A
	// node keeps its snapshot in the test's directory, where no other run finds it.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "REGISTRYD_") })
	p.cmd.Env = append(p.cmd.Env, "XDG_STATE_HOME="+owner.TempDir())
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	p.cmd.Stdout = &lineWriter{line: func(line string) {
		if onLine(line) {
			p.said.add(line)
		}
	}}
	p.cmd.Stderr = &lineWriter{line: p.said.add}
	p.said.add("$ " + strings.Join(p.cmd.Args, " "))
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.said.add(fmt.Sprintf("(ended: %v)", p.cmd.ProcessState))
		close(p.done)
	}()
	owner.Cleanup(func() {
		if err := p.Signal(syscall.SIGKILL); err != nil {
			owner.Errorf("kill %s: %v", name, err)
		}
		if owner.Failed() {
			owner.Logf("%s, pid %d, said last:\n%s", name, p.cmd.Process.Pid, p.said)
		}
	})
	return p, nil
}

// Signal sends a signal and waits until the process is gone. Of a process that
// is gone already it wants nothing.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Gone()
}

// Gone waits until the process is gone.
func (p *Process) Gone() error {
	late := time.NewTimer(exitTime)
	defer late.Stop()
	select {
	case <-p.done:
		return nil
	case <-late.C:
		return fmt.Errorf("pid %d is still there after %s", p.cmd.Process.Pid, exitTime)
	}
}

// Ended says how the process ended, or nil while it runs.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s, pid %d, ended: %v", p.name, p.cmd.Process.Pid, p.cmd.ProcessState)
	default:
		return nil
	}
}

// Done is closed when the process is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns nil if the process ended with exit code 0. It waits until the process is
// gone.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Said returns the last lines that the process said.
func (p *Process) Said() string { return p.said.String() }

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// tail holds the last lines that a process said.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (l *tail) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines = append(l.lines, line); len(l.lines) > tailLines {
		l.lines = l.lines[1:]
	}
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "  | " + strings.Join(l.lines, "\n  | ")
}

// lineWriter calls line for each whole line written. One goroutine writes.
type lineWriter struct {
	line func(string)
	rest []byte
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		w.line(string(line))
		w.rest = rest
	}
}
