//go:build faults

// Package faults_test breaks real processes and looks at them from outside.
//
//	fleet of clients ──HTTP──▶ registryd n1 n2 n3 ──▶ nats-server s1 s2 s3
//	       │                        ▲   each in a network namespace of its own,
//	   what must be true            │   all on one bridge
//	       └──── the same lists? ───┘   kill -9 · SIGSTOP · tc · a full disk
//
// The test binary builds what it runs, then starts itself again in new network,
// mount and process namespaces. So nothing that it makes is seen by the machine
// outside, and whatever way it ends the kernel takes all of it away.
//
// It needs root, and iproute2's ip and tc. What is missing is named, and fails.
package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
		if err = tools(); err == nil {
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
		fmt.Fprintln(os.Stderr, "faults: FAIL: new network, mount and process namespaces:", err)
		return 1
	}
	return 0
}

// tools says what is missing on this machine.
func tools() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("missing: root; network namespaces, tc and mounts need it"))
	}
	for _, tool := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(tool); err != nil {
			errs = append(errs, fmt.Errorf("missing: %s (apt-get install -y iproute2)", tool))
		}
	}
	return errors.Join(errs...)
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
	commit := os.Getenv(envPrevious)
	if commit == "" {
		commit = "HEAD~1"
	}
	source := filepath.Join(dir, "previous")
	if err := os.Mkdir(source, 0o755); err != nil {
		return err
	}
	archive := filepath.Join(dir, "previous.tar")
	if _, err := output(root, "git", "archive", "-o", archive, commit); err != nil {
		return fmt.Errorf("missing: the source of %s (a clone with history; %s names another commit): %w", commit, envPrevious, err)
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
