package interop_test

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

// process is a program that a test started. It ends with that test, its owner.
type process struct {
	name string
	cmd  *exec.Cmd
	said *tail
	done chan struct{} // closed when the process is gone
	err  error         // of Wait, once done is closed
}

// spawn starts a program. Each line of its standard output goes to onLine, which
// reports whether it belongs into the tail; of standard error all do. A stdin is what
// the process reads.
func spawn(owner *testing.T, name string, onLine func(line string) (keep bool), stdin *os.File, program string, args ...string) (*process, error) {
	owner.Helper()
	cmd := exec.CommandContext(owner.Context(), program, args...)
	p := &process{name: name, cmd: cmd, said: &tail{}, done: make(chan struct{})}
	// Flags can come from the environment too; those of the caller's shell stay out.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "REGISTRYD_") })
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
		if err := p.signal(syscall.SIGKILL); err != nil {
			owner.Errorf("kill %s: %v", name, err)
		}
		if owner.Failed() {
			owner.Logf("%s, pid %d, said last:\n%s", name, p.cmd.Process.Pid, p.said)
		}
	})
	return p, nil
}

// signal sends a signal and waits until the process is gone. Of a process that
// is gone already it wants nothing.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.gone()
}

// gone waits until the process is gone.
func (p *process) gone() error {
	late := time.NewTimer(exitTime)
	defer late.Stop()
	select {
	case <-p.done:
		return nil
	case <-late.C:
		return fmt.Errorf("pid %d is still there after %s", p.cmd.Process.Pid, exitTime)
	}
}

// ended says how the process ended, or nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s, pid %d, ended: %v", p.name, p.cmd.Process.Pid, p.cmd.ProcessState)
	default:
		return nil
	}
}

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
