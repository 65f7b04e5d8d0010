// Command registryd is a service registry for Eureka clients, whose nodes
// replicate through a batching pipeline over NATS.
//
//	flags > REGISTRYD_… > --config file > defaults ──▶ node.Options ──▶ node
//
// Exit codes: 0 after a clean stop, 1 after a failure, 2 for bad usage. Those of
// diff: 0 if the nodes are equal, 1 if they differ, 3 if those that answered are
// equal but not all did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/internal/plain"
)

const usage = `registryd is a service registry for Eureka clients.

Usage:
  registryd [serve] [flags]   one node
  registryd dev [flags]       a cluster in one process, with demo instances
  registryd tail [flags]      replication as it happens, one line a task
  registryd status [flags]    a node, its leases, its peers and their queues
  registryd diff [flags]      which instances differ between nodes, and how
  registryd repair [flags]    have a node compare itself with its peers now
  registryd version           the version of this program

registryd COMMAND --help lists a command's flags.
`

// errUsage marks errors of usage: one line, exit 2.
var errUsage = errors.New("usage fault")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

func main() {
	stops := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if command, _ := commandOf(os.Args[1:]); command != "serve" { // which reloads
		stops = append(stops, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	defer stop()
	// The reader of standard error may be suspended. Nothing here waits for it.
	stderr := logqueue.New(os.Stderr, nil)
	code := run(ctx, os.Args[1:], os.Stdout, stderr)
	stderr.Close()
	os.Exit(code)
}

// run is the program without its process: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	code := 1
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))):
		return 0 // stopped before it had started
	case errors.Is(err, errUsage):
		code = 2
	case errors.Is(err, errNotAll):
		code = 3
	}
	fmt.Fprintln(stderr, "registryd:", usageText(err))
	return code
}

// usageText returns an error as one line, without the mark of those of usage.
func usageText(err error) string {
	return oneLine(strings.ReplaceAll(err.Error(), errUsage.Error()+": ", ""))
}

// oneLine joins the lines of errors that came together, and keeps what others
// wrote in them from the terminal.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return plain.Text(strings.Join(lines, "; "))
}

// commandOf returns the command of a line, and what follows it.
func commandOf(args []string) (name string, rest []string) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return args[0], args[1:]
	}
	return "serve", args
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	command, args := commandOf(args)
	if command == "serve" && len(args) == 1 && (args[0] == "-h" || args[0] == "--help" || args[0] == "-help") {
		fmt.Fprint(stdout, usage)
	}
	switch command {
	case "serve":
		return serve(ctx, args, stdout, stderr)
	case "dev":
		return runDev(ctx, args, stdout, stderr)
	case "tail":
		return runTail(ctx, args, stdout, stderr)
	case "status":
		return runStatus(ctx, args, stdout)
	case "diff":
		return runDiff(ctx, args, stdout, stderr)
	case "repair":
		return runRepair(ctx, args, stdout, stderr)
	case "version":
		fmt.Fprintln(stdout, "registryd", version())
		return nil
	case "help":
		fmt.Fprint(stdout, usage)
		return nil
	default:
		return usagef("unknown command %q; see registryd help", command)
	}
}

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
