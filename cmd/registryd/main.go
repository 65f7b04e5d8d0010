// Command registryd is a service registry for Eureka clients, whose nodes
// replicate through a batching pipeline over NATS.
//
//	flags > REGISTRYD_… > --config file > defaults ──▶ node.Options ──▶ node
//	status, diff, apps, … ──▶ asker, one HTTP client ──▶ nodes
//
// Exit codes: 0 after success or a clean stop, 1 after a failure, 2 for bad usage, 3 if not all
// nodes could be asked. diff ends with 1 if the nodes differ.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
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

// version is the module's version as built, with the commit where Go knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return v + " " + s.Value[:12]
		}
	}
	return v
}
