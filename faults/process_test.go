//go:build faults

package faults_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/internal/await"
)

// patience bounds every wait. It is far above what any of them takes, also on a
// busy machine.
const patience = 60 * time.Second

// process is a program on a host, which is killed and started again.
type process struct {
	t       *testing.T
	host    *host
	name    string
	program string
	args    []string
	env     []string
	log     string

	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
	ordered atomic.Bool   // the end was asked for
	stopped bool          // by SIGSTOP
}

func newProcess(t *testing.T, h *host, name, bin string, args ...string) *process {
	t.Helper()
	p := &process{t: t, host: h, name: name, program: program(bin), args: args, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the last lines of %s:\n%s", name, p.tail(40))
		}
	})
	return p
}

// start starts the program. Its output is appended to what it wrote before.
func (p *process) start() {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close() //nolint:errcheck // the child has its own
	// ip becomes the program, so the process id is the program's.
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", p.host.name, p.program}, p.args...)...) //nolint:noctx // kill ends it
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// Flags can come from the environment too; those of the caller's shell stay out. A
	// node keeps its snapshot in the test's directory, where no other run finds it.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "REGISTRYD_") })
	p.cmd.Env = append(p.cmd.Env, "XDG_STATE_HOME="+filepath.Join(filepath.Dir(p.log), "state"))
	p.cmd.Env = append(p.cmd.Env, p.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.ordered.Store(false)
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() {
		defer close(ended)
		if err := cmd.Wait(); !p.ordered.Load() {
			p.t.Errorf("%s ended by itself: %v", p.name, err)
		}
	}()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v to %s: %v", s, p.name, err)
	}
}

// kill ends the process by SIGKILL and waits for its end.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.ordered.Store(true)
	_ = p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.ended
	p.cmd, p.stopped = nil, false
}

// terminate ends the process by SIGTERM and waits for its end.
func (p *process) terminate() {
	p.t.Helper()
	p.ordered.Store(true)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Errorf("%s has not ended %v after SIGTERM", p.name, patience)
		p.kill()
	}
	p.cmd = nil
}

// tail returns the last lines that the program wrote.
func (p *process) tail(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// eventually waits until check returns no fault, and returns how long that
// took.
func eventually(t *testing.T, what string, check func() error) time.Duration {
	t.Helper()
	return await.Nil(t, patience, what, check)
}

// pause lets time pass: between two checks, and for as long as a fault lasts.
func pause(d time.Duration) { <-time.After(d) }
