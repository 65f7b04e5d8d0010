// Command registryd is a service registry for Eureka clients, whose nodes
// replicate through a batching pipeline over NATS.
//
//	flags > REGISTRYD_… > --config file > defaults ──▶ node.Options ──▶ node
//	status, diff, apps, … ──▶ asker, one HTTP client ──▶ nodes
//
// Exit codes: 0 after success or a clean stop, 1 after a failure and for what a signal stopped before it
// was done, 2 for bad usage, 3 if not all nodes could be asked. diff ends with 1 if the nodes differ.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/registryd/registryd/internal/logqueue"
)

func main() {
	args := normalise(os.Args[1:])
	stops := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if args[0] != "serve" { // which reloads
		stops = append(stops, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	defer stop()
	// The reader of standard error may be suspended. Nothing here waits for it.
	stderr := logqueue.New(os.Stderr, nil)
	p := &program{in: os.Stdin, out: os.Stdout, err: stderr, terminal: isTerminal(os.Stderr)}
	code := p.run(ctx, args)
	stderr.Close()
	os.Exit(code)
}

// run is the program without its process: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{in: eof{}, out: stdout, err: stderr}
	return p.run(ctx, normalise(args))
}

// eof is an input with nothing in it.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// build is what Go has noted of this program when it was built: the version is that of the
// tag, else one made of the commit's time.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit
	Go      string `json:"go"`
}

func builtAs() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "unknown"}
	}
	b := build{Version: cmp.Or(info.Main.Version, "(devel)"), Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		}
	}
	return b
}

// version is how a node names its version, to peers and on pages.
func version() string {
	b := builtAs()
	if len(b.Commit) < 12 || strings.Contains(b.Version, b.Commit[:12]) {
		return b.Version
	}
	return b.Version + " " + b.Commit[:12]
}

// String is the version for people, with the commit and its date where Go knows them.
func (b build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	return fmt.Sprintf("%s (commit %.12s of %s, %s)", b.Version, b.Commit, b.Date, b.Go)
}
