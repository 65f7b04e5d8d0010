// Package process starts servers as processes, has fleets of instances ask them, and
// looks at what that costs from outside. It needs Linux.
//
//	Start ──▶ Server ◀──Do── Fleet's requests
//	            └─▶ CPU, Memory, from /proc
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Request is one request.
type Request struct{ Method, Path, Body string }

// Server is a process that serves Eureka's REST API. Any goroutine may use it.
type Server struct {
	Addr string // host and port

	cmd    *exec.Cmd
	client *http.Client
	ended  chan struct{} // closed when the process has ended
}

// tick is the unit of the system's accounting.
const tick = 10 * time.Millisecond

// startTime bounds how long a server needs to serve.
const startTime = 2 * time.Minute

// answerTime bounds a request: a first list of a million instances takes long.
const answerTime = 10 * time.Minute

// FreeAddr returns an address on the loopback at which nobody listens.
func FreeAddr(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Start starts a program that is to serve at addr, and waits until it serves lists, two
// minutes at most. env is added to this process's. conns is how many connections to it
// are kept.
func Start(ctx context.Context, addr string, conns int, env []string, program string, args ...string) (*Server, error) {
	s := &Server{
		Addr: addr, cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{}),
		client: newClient(conns),
	}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		s.cmd.Wait() //nolint:errcheck // its state tells
		close(s.ended)
	}()
	if err := s.Serves(ctx); err != nil {
		s.Kill()
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return s, nil
}

// Serves waits until lists are served, two minutes at most.
func (s *Server) Serves(ctx context.Context) error {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := s.Want(ctx, http.StatusOK, Request{Method: http.MethodGet, Path: "/eureka/apps/delta"})
		if err == nil {
			return nil
		}
		if time.Since(began) > startTime || ctx.Err() != nil || s.Ended() {
			return fmt.Errorf("%s does not serve: %w", s.Addr, err)
		}
	}
}

// Node starts a registryd that serves at a free address. args are added to those of serve.
func Node(ctx context.Context, program, name string, conns int, env []string, args ...string) (*Server, error) {
	addr, err := FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	return Start(ctx, addr, conns, env, program,
		append([]string{"serve", "--node", name, "--listen", addr, "--log-level", "error"}, args...)...)
}

// At returns a server that this package has not started.
func At(addr string, conns int) *Server { return &Server{Addr: addr, client: newClient(conns)} }

func newClient(conns int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true},
		Timeout:   answerTime,
	}
}

// At returns another address at which the same process serves.
func (s *Server) At(addr string) *Server {
	other := *s
	other.Addr = addr
	return &other
}

// Ended reports whether the process has ended.
func (s *Server) Ended() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Kill ends the process at once.
func (s *Server) Kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-s.ended
}

// Stop asks the process to stop, and waits until it has.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-s.ended
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s: exit code %d", s.Addr, code)
	}
	return nil
}

// Freeze stops the process for so long, as a suspended machine does.
func (s *Server) Freeze(ctx context.Context, lasts time.Duration) error {
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	select {
	case <-time.After(lasts):
	case <-ctx.Done():
	}
	return s.cmd.Process.Signal(syscall.SIGCONT)
}

// CPU returns how long the process has computed.
func (s *Server) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, errors.Join(err, err2)
}

// Memory returns the resident memory, in megabytes.
func (s *Server) Memory() (float64, error) {
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

// Do makes a request, reads the answer, and returns its status and its headers. Answers
// may be gzipped.
func (s *Server) Do(ctx context.Context, r Request) (int, http.Header, error) {
	resp, err := s.send(ctx, r, "gzip")
	if err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, errors.Join(err, resp.Body.Close())
}

// Get returns the body of a path that is answered with 200.
func (s *Server) Get(ctx context.Context, path string) ([]byte, error) {
	resp, err := s.send(ctx, Request{Method: http.MethodGet, Path: path}, "identity")
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", path, resp.StatusCode)
	}
	return body, err
}

func (s *Server) send(ctx context.Context, r Request, coding string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://"+s.Addr+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", coding)
	return s.client.Do(req)
}

// Want is Do for a request that must have this status.
func (s *Server) Want(ctx context.Context, want int, r Request) error {
	code, _, err := s.Do(ctx, r)
	if err == nil && code != want {
		err = fmt.Errorf("%s %s: status %d, want %d", r.Method, r.Path, code, want)
	}
	return err
}
