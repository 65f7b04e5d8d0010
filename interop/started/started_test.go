// Package started_test runs docs/getting-started.md as a reader would: a node, and a
// service of each language, with the blocks of the page as they stand there. Only the
// port is another, because a test takes a free one.
package started_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

// patience is how long a service may take to be listed, a JVM on a busy machine included.
const patience = 90 * time.Second

// leaseLasts is how long the leases of the page last, but for that of HELLO.
const leaseLasts = 90 * time.Second

// page is the document, and the node that its blocks are about.
type page struct {
	blocks map[string][]string // by language
	addr   string
}

func open(t *testing.T) *page {
	t.Helper()
	text, err := os.ReadFile("../../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	p := &page{blocks: map[string][]string{}, addr: fmt.Sprintf("127.0.0.1:%d", process.FreePort(t.Context(), t))}
	_, port, _ := strings.Cut(p.addr, ":")
	for _, block := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		code := strings.NewReplacer("127.0.0.1:8761", p.addr, "port: 8761", "port: "+port).Replace(block[2])
		if code == block[2] {
			t.Fatalf("this block names no node: %s", code)
		}
		p.blocks[block[1]] = append(p.blocks[block[1]], code)
	}
	start(t, "registryd", "../../bin/registryd", "--listen", p.addr, "--embedded-listen", "127.0.0.1:0", "--data", "none")
	p.await(t, "/readyz", "ready")
	return p
}

// one returns the only block of a language.
func (p *page) one(t *testing.T, language string) string {
	t.Helper()
	if len(p.blocks[language]) != 1 {
		t.Fatalf("%d blocks of %s, want one", len(p.blocks[language]), language)
	}
	return p.blocks[language][0]
}

func start(t *testing.T, name, program string, args ...string) *process.Process {
	t.Helper()
	p, err := process.Start(t, name, func(string) bool { return true }, nil, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// await asks the node until an answer has a text in it; of "" until it is 404.
func (p *page) await(t *testing.T, path, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		code, body, err := p.get(t.Context(), path)
		if err == nil && (want != "" && code == http.StatusOK && strings.Contains(body, want) || want == "" && code == http.StatusNotFound) {
			return
		}
		got = fmt.Sprintf("%d %.200q %v", code, body, err)
	}
	t.Fatalf("%s: got %s, want %q", path, got, want)
}

func (p *page) get(ctx context.Context, path string) (code int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // all is read
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(text), err
}

// file writes a block into a new file of a directory, to be removed with the test.
func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(name) }) //nolint:errcheck // a temporary file
	return name
}

// buildGo builds the block of Go as if it stood in this repository, which has the client.
func (p *page) buildGo(t *testing.T) (program string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "cmd", "stock", "main.go"): file(t, t.TempDir(), "main.go", p.one(t, "go")),
	}})
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(t.TempDir(), "stock")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", file(t, t.TempDir(), "overlay.json", string(overlay)),
		"-o", program, "./cmd/stock")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// TestGettingStarted runs all blocks. Each service is listed, and gone once it was asked
// to stop: it has cancelled, since its lease would last longer.
func TestGettingStarted(t *testing.T) {
	p := open(t)
	program := p.buildGo(t)
	services := map[string]*process.Process{
		"/eureka/apps/STOCK/stock-1":   start(t, "go", program),
		"/eureka/apps/CARTS/carts-1":   start(t, "node", "node", file(t, "../node", "getting-started.mjs", p.one(t, "js"))),
		"/eureka/apps/PRICES/prices-1": start(t, "python", "../python/bin/python", file(t, t.TempDir(), "prices.py", p.one(t, "python"))),
		"/eureka/apps/ORDERS/orders-1": start(t, "spring", "java", "-Xmx200m", "-jar", "../java/client/boot40/target/client.jar",
			"--server.port=0", "--spring.config.additional-location=file:"+file(t, t.TempDir(), "application.yml", p.one(t, "yaml"))),
	}
	for path := range services {
		p.await(t, path, `"UP"`)
	}
	if len(p.blocks["sh"]) != 2 {
		t.Fatalf("%d blocks of sh, want two", len(p.blocks["sh"]))
	}
	for i, want := range [][]string{
		{},
		{"carts-1", "orders-1", "prices-1", "stock-1", "hello-1", "OUT_OF_SERVICE"},
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", p.blocks["sh"][i])
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", p.blocks["sh"][i], err, out)
		}
		for _, text := range want {
			if !strings.Contains(string(out), text) {
				t.Errorf("%q is not in:\n%s", text, out)
			}
		}
		p.await(t, "/eureka/apps/HELLO/hello-1", `"hello-1"`)
	}
	p.await(t, "/eureka/apps/CARTS/carts-1", `"UP"`)
	for path, service := range services {
		began := time.Now()
		if err := service.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		p.await(t, path, "")
		if took := time.Since(began); took > leaseLasts/3 {
			t.Errorf("%s went %v after its end: it has not cancelled", path, took)
		}
	}
}
