package started_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/registryd/registryd/interop/process"
)

// TestOperations runs the blocks of docs/operations.md as one script, with free ports in
// place of the page's: a secured cluster, an upgrade, another secret, a backup and its restore.
func TestOperations(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 6 {
		t.Fatalf("%d blocks, want 6", len(blocks))
	}
	var ports []string // pairs of the page's and a free one
	taken := map[int]bool{}
	for _, page := range []int{8761, 8762, 8763, 6222, 6223, 6224, 4222, 4223, 4224} {
		port := process.FreePort(t.Context(), t)
		for taken[port] {
			port = process.FreePort(t.Context(), t)
		}
		taken[port] = true
		ports = append(ports, fmt.Sprint(page), fmt.Sprint(port))
	}
	free := strings.NewReplacer(ports...)
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	script := "set -euo pipefail\ntrap 'kill $(cat *.pid) 2>/dev/null || true; wait' EXIT\n"
	for i, block := range blocks {
		script += fmt.Sprintf("echo '== block %d'\n%s", i+1, free.Replace(block[1]))
	}
	cmd := exec.CommandContext(t.Context(), "timeout", "120", "bash", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_STATE_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := exec.CommandContext(t.Context(), "bash", "-c", "tail -n 5 "+cmd.Dir+"/*.log").CombinedOutput() //nolint:errcheck // what it printed tells
		t.Fatalf("%v\n%s\n%s", err, out, logs)
	}
	for block, want := range map[int]string{
		3: "ORDERS-1",
		4: "3 nodes, 1 entry on the first, 0 differ", // an upgrade loses nothing
		5: "3 nodes, 1 entry on the first, 0 differ", // nor does another secret
		6: "1 new",
	} {
		_, after, _ := strings.Cut(string(out), fmt.Sprintf("== block %d\n", block))
		after, _, _ = strings.Cut(after, "== block")
		if !strings.Contains(after, want) {
			t.Errorf("block %d: %q is not in:\n%s", block, want, after)
		}
	}
}
