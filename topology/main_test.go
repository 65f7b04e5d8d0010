// Package topology_test runs registryd as it is deployed: real processes of this
// program, and of a stock nats-server, on free ports of 127.0.0.1.
//
//	TestMain ──builds──▶ registryd, nats-server (of the version in go.mod)
//	test ──starts──▶ processes ──▶ kill -9, stop, restart ──▶ what clients see, /readyz, /metrics, the log
//
// docs/topologies.md lists what each shape survives, with the test that shows
// it.
package topology_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	// The packages of registryd, so that the go command runs these tests again
	// when they change.
	_ "github.com/registryd/registryd/dev"
	_ "github.com/registryd/registryd/node"
	_ "github.com/registryd/registryd/tail"

	"github.com/registryd/registryd/internal/await"
)

// patience bounds each wait; only a failing test takes that long.
const patience = 60 * time.Second

// sideBySide is how many tests run at a time. They wait for processes more than
// they compute, so that there may be more of them than processors.
const sideBySide = 6

// programs are the paths of the programs that TestMain has built.
var programs struct{ registryd, nats string }

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(build(m))
}

// build builds the programs, runs the tests, and returns their exit code.
func build(m *testing.M) int {
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < sideBySide {
		if err := flag.Set("test.parallel", strconv.Itoa(sideBySide)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := noticed("../cmd/registryd", "../deploy/nats"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "topology") // There is no test yet.
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // It is a temporary folder.
	for _, p := range []struct {
		path *string
		name string
		what string
	}{
		{&programs.registryd, "registryd", "github.com/registryd/registryd/cmd/registryd"},
		{&programs.nats, "nats-server", "github.com/nats-io/nats-server/v2"},
	} {
		*p.path = filepath.Join(dir, p.name)
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", *p.path, p.what) // There is no test yet.
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build %s: %v\n%s", p.what, err, out)
			return 1
		}
	}
	return m.Run()
}

// noticed reads the files that only other processes read, so that the go command
// runs these tests again when one of them changes.
func noticed(folders ...string) error {
	for _, folder := range folders {
		files, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.IsDir() {
				continue
			}
			if _, err := os.ReadFile(filepath.Join(folder, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// eventually polls until check returns nil.
func eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	await.Nil(tb, patience, what, check)
}

// fetch gets a URL with a connection of its own.
func fetch(ctx context.Context, url string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), errors.Join(err, res.Body.Close())
}
