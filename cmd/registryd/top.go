package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/node"
)

const (
	// minTopInterval is the shortest time between two looks of top.
	minTopInterval = 100 * time.Millisecond
	// sizeInterval is how often top looks whether the terminal has another size.
	sizeInterval = 200 * time.Millisecond
	// barWidth is how wide a bar is that is full, in characters.
	barWidth = 10
)

// What top writes to a terminal beside text.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

func (p *program) topCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "top [NODE…]", Short: "the pipeline to each peer, live in the terminal",
		Long: `It shows what waits in acceptorQueue, processingOrder and batchWorkQueue, what is in flight, and what
peers answer. q or Ctrl-C ends it. Where the output is no terminal it prints once.`,
		Args: cobra.ArbitraryArgs, Example: "  registryd top node-1",
	}
	fs := c.Flags()
	nodes := addNodes(c, firstAnswers)
	interval := fs.Duration("interval", time.Second, "time between two looks")
	onlyHere(fs, "interval")
	asJSON := addJSON(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if *interval < minTopInterval {
			return usagef("--interval %v: less than %v", *interval, minTopInterval)
		}
		roots, err := nodes.roots(args)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.status(c.Context(), nodes, roots, false, true)
		}
		a, err := nodes.asker()
		if err != nil {
			return err
		}
		defer a.close()
		return p.top(c.Context(), a, roots, *interval)
	}
	return c
}

// top shows a node until the person at the terminal has seen enough, or once.
func (p *program) top(ctx context.Context, a *asker, roots []*url.URL, interval time.Duration) error {
	look := func(ctx context.Context) (*node.Overview, error) {
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		_, o, err := a.status(ctx, roots)
		return o, err
	}
	first, err := look(ctx)
	if err != nil {
		return fmt.Errorf("top: %w", err)
	}
	out, ok := p.out.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		_, err := io.WriteString(p.out, topText(first, nil, 0, time.Now()))
		return err
	}
	t := &top{
		out: out, look: look, interval: interval,
		size: func() (width, height int) {
			width, height, err := term.GetSize(int(out.Fd()))
			if err != nil {
				return 80, 24
			}
			return width, height
		},
	}
	if in, ok := p.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		state, err := term.MakeRaw(int(in.Fd()))
		if err == nil {
			defer term.Restore(int(in.Fd()), state) //nolint:errcheck // There is nothing to be done.
			t.keys = keysOf(in)
		}
	}
	return t.run(ctx, first)
}

// keysOf returns what is typed. Its goroutine waits for the next key until the process ends: a read of a
// terminal can't be ended otherwise.
func keysOf(in io.Reader) <-chan byte {
	keys := make(chan byte)
	go func() {
		var key [1]byte
		for {
			if n, err := in.Read(key[:]); err != nil || n == 0 {
				return
			}
			keys <- key[0]
		}
	}()
	return keys
}

// top draws a node again and again.
type top struct {
	out      io.Writer
	keys     <-chan byte // nil: nobody types
	size     func() (width, height int)
	look     func(context.Context) (*node.Overview, error)
	interval time.Duration
}

// run draws until ctx ends or q is typed.
func (t *top) run(ctx context.Context, now *node.Overview) error {
	fmt.Fprint(t.out, enterScreen)
	defer fmt.Fprint(t.out, leaveScreen)
	var before *node.Overview
	var trouble error
	at, beforeAt := time.Now(), time.Time{}
	width, height := t.size()
	draw := func() {
		text := topText(now, before, at.Sub(beforeAt), at)
		if trouble != nil {
			text = "no answer: " + oneLine(trouble.Error()) + "\n" + text
		}
		fmt.Fprint(t.out, screen(text, width, height))
	}
	draw()
	next, resize := time.NewTicker(t.interval), time.NewTicker(sizeInterval)
	defer next.Stop()
	defer resize.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case key := <-t.keys:
			if key == 'q' || key == 'Q' || key == 3 { // Ctrl-C of a raw terminal
				return nil
			}
			continue
		case <-resize.C:
			if w, h := t.size(); w == width && h == height {
				continue
			} else {
				width, height = w, h
			}
		case <-next.C:
			var o *node.Overview
			if o, trouble = t.look(ctx); trouble == nil {
				before, beforeAt = now, at
				now, at = o, time.Now()
			}
		}
		draw()
	}
}

// screen writes text over what a terminal of some size shows.
func screen(text string, width, height int) string {
	var out strings.Builder
	out.WriteString(home)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines[:min(len(lines), max(height, 1))] {
		if i > 0 {
			out.WriteString("\r\n")
		}
		if utf8.RuneCountInString(line) > width {
			line = string([]rune(line)[:max(width, 0)])
		}
		out.WriteString(line)
		out.WriteString(clearLine)
	}
	out.WriteString(clearRest)
	return out.String()
}

// topText is what top shows. before is what the node was before elapsed; nil: it is not known.
func topText(o, before *node.Overview, elapsed time.Duration, now time.Time) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s of cluster %s: %s, up %v, %s\n",
		plain.Text(o.Node), plain.Text(o.Cluster), plain.Text(o.State),
		max(0, now.Sub(o.Started)).Truncate(time.Second), count(o.Instances, "instance", "instances"))
	fmt.Fprintf(&out, "leases: %d expected, %d missing; self-preservation %s\n",
		o.Leases.Expected, o.Leases.Missing, preservation(o))
	if !o.Broker.Connected {
		fmt.Fprintf(&out, "broker: not connected for %s: %s\n", seconds(o.Broker.For), plain.Text(o.Broker.Trouble))
	}
	if len(o.Peers) == 0 {
		fmt.Fprintln(&out, "\nno peers")
		return out.String()
	}
	fmt.Fprintln(&out)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PEER\tSTATUS\tACCEPTORQUEUE\tPROCESSINGORDER\tBATCHWORKQUEUE\tIN FLIGHT\t"+
		"LAG\tTASKS/S\tANSWERS\tTROUBLE")
	for i := range o.Peers {
		p := &o.Peers[i]
		rate := "-"
		if old := peerNamed(before, p.Name); old != nil && elapsed > 0 && p.SentTasks >= old.SentTasks {
			rate = fmt.Sprintf("%.1f", float64(p.SentTasks-old.SentTasks)/elapsed.Seconds())
		}
		flight := "-"
		if p.Batches > 0 {
			flight = fmt.Sprintf("%d in %s", p.InFlight, count(p.Batches, "batch", "batches"))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n",
			cell(p.Name), peerStatus(p.Status, p.Silent),
			bar(p.AcceptorQueue, o.Pipeline.Queue), gathering(p, &o.Pipeline), p.BatchWorkQueue,
			flight, seconds(p.Lag), rate, answers(p.Answers), trouble(p))
	}
	table.Flush() //nolint:errcheck // To memory.
	return out.String()
}

func peerNamed(o *node.Overview, name string) *api.PeerOverview {
	if o == nil {
		return nil
	}
	for i := range o.Peers {
		if o.Peers[i].Name == name {
			return &o.Peers[i]
		}
	}
	return nil
}

// bar shows a number beside how full that is.
func bar(n, of int) string {
	full := 0
	if of > 0 && n > 0 {
		full = max(1, min(barWidth, n*barWidth/of))
	}
	return strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + fmt.Sprintf(" %d", n)
}

// gathering shows the batch that is gathered, and how old its first action is.
func gathering(p *api.PeerOverview, of *api.PipelineOverview) string {
	text := bar(p.ProcessingOrder+p.Retrying, of.Batch)
	if p.Oldest > 0 {
		text += fmt.Sprintf(", %s of %s", seconds(p.Oldest), seconds(of.Delay))
	}
	return text
}

// answers writes what a peer answered, by code.
func answers(counts map[string]uint64) string {
	var out []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[code]; n > 0 {
			out = append(out, fmt.Sprintf("%s×%d", plain.Text(code), n))
		}
	}
	return cmp.Or(strings.Join(out, " "), "-")
}
