//go:build faults

// Package faults_test breaks real processes and looks at them from outside.
//
//	fleet of clients ──HTTP──▶ registryd n1 n2 n3 ──▶ nats-server s1 s2 s3
//	       │                        ▲   each in a network namespace of its own,
//	 the true state                 │   all on one bridge
//	       └──── the same lists? ───┘   kill -9 · SIGSTOP · tc · a full disk
//
// The test binary builds the programs, then starts itself again in new network,
// mount and process namespaces. So the machine outside sees nothing of it, and
// however it ends, the kernel removes everything.
//
// It needs root, and iproute2's ip and tc. It fails with the name of what is
// missing.
package faults_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The environment of the inner test binary.
const (
	envBinaries = "REGISTRYD_FAULTS_BINARIES" // directory of the three programs; set: this is the inner one
	envPrevious = "REGISTRYD_FAULTS_PREVIOUS" // commit of the older registryd, default HEAD~1
)

func TestMain(m *testing.M) {
	if os.Getenv(envBinaries) == "" {
		os.Exit(outside())
	}
	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, "faults: FAIL:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// outside builds the programs and runs this binary again, inside.
func outside() int {
	dir, err := os.MkdirTemp("", "registryd-faults-")
	if err == nil {
		defer os.RemoveAll(dir) //nolint:errcheck // a directory of /tmp
		if err = missing(); err == nil {
			err = build(dir)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults: FAIL:", err)
		return 1
	}
	runtime.LockOSThread()                                // The inner one is killed when the thread that started it ends.
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // it ends with -test.timeout
	cmd.Env = append(os.Environ(), envBinaries+"="+dir, "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(1, exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults: FAIL: missing: network, mount and process namespaces (a container needs --privileged):", err)
		return 1
	}
	return 0
}

// missing lists everything that is missing on this machine, as far as that
// shows from outside; enter tries the rest.
func missing() error {
	var errs []error
	lack := func(format string, args ...any) { errs = append(errs, fmt.Errorf("missing: "+format, args...)) }
	if os.Geteuid() != 0 {
		lack("root; namespaces, tc and mounts need it")
	} else {
		for _, c := range []struct {
			name string
			bit  uint
		}{{"CAP_NET_ADMIN", 12}, {"CAP_SYS_ADMIN", 21}} {
			if has, err := capable(c.bit); err != nil {
				errs = append(errs, err)
			} else if !has {
				lack("%s, which this root has not (a container needs --privileged)", c.name)
			}
		}
	}
	for _, tool := range []struct{ name, from string }{
		{"ip", "apt-get install -y iproute2"},
		{"tc", "apt-get install -y iproute2"},
		{"git", "apt-get install -y git"},
		{"tar", "apt-get install -y tar"},
		{"go", "https://go.dev/dl"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			lack("%s (%s)", tool.name, tool.from)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return missingSource()
}

// capable reports whether this process has a capability (linux/capability.h).
func capable(bit uint) (bool, error) {
	const path, field = "/proc/self/status", "CapEff:"
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, field); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return set>>bit&1 == 1, err
		}
	}
	return false, fmt.Errorf("%s: no %s", path, field)
}

// previous returns the commit whose registryd is the older one.
func previous() string { return cmp.Or(os.Getenv(envPrevious), "HEAD~1") }

// missingSource reports whether the checkout lacks the previous commit.
func missingSource() error {
	_, err := output("..", "git", "rev-parse", "--verify", "--quiet", previous()+"^{commit}")
	if err == nil {
		return nil
	}
	if _, broken := output("..", "git", "rev-parse", "HEAD"); broken != nil {
		return fmt.Errorf("missing: a git checkout, for the source of %s, the registryd to upgrade from: %w", previous(), broken)
	}
	err = fmt.Errorf("missing: the source of %s, the registryd to upgrade from; %s names another commit", previous(), envPrevious)
	if shallow, asked := output("..", "git", "rev-parse", "--is-shallow-repository"); asked == nil && strings.TrimSpace(shallow) == "true" {
		err = fmt.Errorf("%w; this clone is shallow: `git fetch --deepen=1` brings its HEAD~1", err)
	}
	return err
}

// build makes registryd, the one of the previous commit, and a stock
// nats-server of the version in go.mod.
func build(dir string) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	if err := goBuild(root, filepath.Join(dir, "registryd"), "./cmd/registryd"); err != nil {
		return err
	}
	if err := goBuild(root, filepath.Join(dir, "nats-server"), "github.com/nats-io/nats-server/v2"); err != nil {
		return err
	}
	source := filepath.Join(dir, "previous")
	if err := os.Mkdir(source, 0o755); err != nil {
		return err
	}
	archive := filepath.Join(dir, "previous.tar")
	if _, err := output(root, "git", "archive", "-o", archive, previous()); err != nil {
		return err
	}
	if _, err := output(source, "tar", "-xf", archive); err != nil {
		return err
	}
	if err := goBuild(source, filepath.Join(dir, "registryd-previous"), "./cmd/registryd"); err != nil {
		return err
	}
	return errors.Join(os.Remove(archive), os.RemoveAll(source))
}

func goBuild(root, to, what string) error {
	_, err := output(root, "go", "build", "-o", to, what)
	return err
}

// output runs a program to its end. The error holds what it wrote.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Dir = dir
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(both.String()))
	}
	return both.String(), nil
}

// program returns the path of a program that was built.
func program(name string) string { return filepath.Join(os.Getenv(envBinaries), name) }

// enter prepares the namespaces that this process was started in, and tries
// each capability once.
func enter() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("missing: private mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("missing: /proc of a process namespace: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("missing: tmpfs: %w", err)
	}
	if err := os.Mkdir("/run/netns", 0o755); err != nil { // where ip keeps the names
		return err
	}
	hosts := filepath.Join(os.Getenv(envBinaries), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o600); err != nil {
		return err
	}
	if err := syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("missing: bind mounts: %w", err)
	}
	for _, try := range []struct {
		capability string
		commands   []string
	}{
		{"a loopback device", []string{"ip link set lo up"}},
		{"network namespaces", []string{"ip netns add try"}},
		{"bridges", []string{"ip link add trybridge type bridge"}},
		{"veth pairs", []string{"ip link add try0 type veth peer name try1", "ip link set try0 up"}},
		{"tc: clsact (CONFIG_NET_SCH_INGRESS)", []string{"tc qdisc add dev try0 clsact"}},
		{"tc: bpf filters (CONFIG_NET_CLS_BPF)", []string{"tc filter add dev try0 ingress prio 1 protocol all bpf da bytecode " + always}},
		{"tc: tbf (CONFIG_NET_SCH_TBF)", []string{"tc qdisc add dev try0 root " + slowTBF}},
	} {
		for _, command := range try.commands {
			if err := sh(command); err != nil {
				return fmt.Errorf("missing: %s: %w", try.capability, err)
			}
		}
	}
	return errors.Join(sh("ip link del try0"), sh("ip link del trybridge"), sh("ip netns del try"))
}

// sh runs a command of words without spaces; a word may have underscores for
// spaces in a bytecode.
func sh(command string) error {
	words := strings.Fields(command)
	for i, w := range words {
		if i > 0 && words[i-1] == "bytecode" {
			words[i] = strings.ReplaceAll(w, "_", " ")
		}
	}
	_, err := output("", words[0], words[1:]...)
	return err
}
