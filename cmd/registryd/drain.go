package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/internal/redact"
)

const (
	// drainLook is how long one question to a node about a drain may wait for its end.
	drainLook = 2 * time.Second
	// maxDrain bounds the answer about a drain, in bytes.
	maxDrain = 4 << 20
	// shownClients is how many clients of a node are shown that have not fetched.
	shownClients = 20
)

func (p *program) drainCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "drain APP/INSTANCE", Short: "take an instance out of service, and wait until its clients know it",
		Long: `It is taken out of service on all nodes. The command ends with 0 when every client that fetches lists
has been served one in which the instance is not UP, so that it can be stopped. It ends with 1 after --wait, and
names the clients that have not. The instance stays out of service then too.

` + instanceNaming,
		Args: exactly("APP/INSTANCE"), Example: "  registryd drain ORDERS/orders-1:8080 --wait 2m",
	}
	nodes, asJSON := addNodes(c, firstAnswers), addJSON(c)
	wait := c.Flags().Duration("wait", time.Minute, "how long to wait, at most 24h")
	c.ValidArgsFunction = nodes.complete(true)
	c.RunE = func(c *cobra.Command, args []string) error {
		app, id, err := instanceName(args[0])
		if err != nil {
			return err
		}
		if *wait < 0 || *wait > 24*time.Hour {
			return usagef("--wait %v: not from 0 to 24h", *wait)
		}
		a, roots, err := nodes.open(nil)
		if err != nil {
			return err
		}
		defer a.close()
		done := p.working("draining " + args[0])
		began := time.Now()
		out, err := a.drain(c.Context(), roots, app, id, *wait)
		done()
		if out == nil {
			return err
		}
		if *asJSON {
			err = cmp.Or(err, p.json(out))
		} else {
			for _, line := range drainLines(out, time.Since(began)) {
				fmt.Fprintln(p.out, plain.Text(line))
			}
			undo := "registryd apps up " + shellWord(instanceText(out.App, out.Instance))
			if *nodes.urls != "" {
				undo += " --url " + shellWord(redact.Text(*nodes.urls))
			}
			fmt.Fprintln(p.out, "undo:", plain.Text(undo))
		}
		if err == nil && !out.Drained {
			err = errors.New("not drained in time")
		}
		return err
	}
	return c
}

// drain takes an instance out of service, and asks the node that did so until all clients know
// it or the time is over. With an error it returns what was known last, nil if nothing was done.
func (a *asker) drain(
	ctx context.Context, roots []*url.URL, app, id string, wait time.Duration,
) (*api.Drain, error) {
	until := time.Now().Add(wait)
	r := request{method: http.MethodPost, path: []string{"v1", "apps", app, id, "drain"}, bound: maxDrain}
	root, body, err := a.first(ctx, roots, r)
	if isCode(err, http.StatusNotFound) {
		if root, apps, err := a.applications(ctx, []*url.URL{root}); err == nil {
			return nil, notThere(root, instanceText(app, id), names(apps, true))
		}
	}
	var known *api.Drain
	for {
		if err != nil {
			return known, err
		}
		out, err2 := decode(root, body, "the state of a drain", func(d *api.Drain) bool { return len(d.Nodes) > 0 })
		if err2 != nil {
			return known, err2
		}
		known = out
		left := time.Until(until)
		if out.Drained || left <= 0 {
			return out, nil
		}
		r.method = http.MethodGet
		r.query = url.Values{"wait": {min(left, drainLook).String()}}
		body, err = a.ask(ctx, root, r)
	}
}

// drainLines say what became of a drain.
func drainLines(d *api.Drain, took time.Duration) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	served, silent := 0, 0
	for i := range d.Nodes {
		served += d.Nodes[i].Served
		if d.Nodes[i].Error != "" {
			silent++
		}
	}
	name := instanceText(d.App, d.Instance)
	if d.Drained {
		add("%s is drained: %s of %s have been served lists without it, in %v", name,
			plural(served, "client"), plural(len(d.Nodes), "node"), took.Round(100*time.Millisecond))
	} else {
		add("%s is out of service, but not drained after %v", name, took.Round(100*time.Millisecond))
	}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		switch {
		case n.Foreign:
			add("  %s: a Java server, which can't be asked for its clients", n.Node)
		case n.Error != "":
			add("  %s: no answer: %s", n.Node, n.Error)
		case !n.Out:
			add("  %s: has not heard of it, or shows it as UP all the same", n.Node)
		case n.Waiting > 0:
			add("  %s: %s not fetched since:", n.Node, havePlural(n.Waiting, "client"))
			for k := range n.Clients[:min(len(n.Clients), shownClients)] {
				add("    %s", clientText(&n.Clients[k]))
			}
			if more := n.Waiting - min(len(n.Clients), shownClients); more > 0 {
				add("    and %d more", more)
			}
		}
	}
	return out
}

// clientText describes a client that has not fetched.
func clientText(c *api.DrainClient) string {
	who := strings.TrimSpace(strings.Join([]string{c.Name, c.Version, c.ID}, " "))
	ms := func(n int64) time.Duration {
		return (time.Duration(n) * time.Millisecond).Round(100 * time.Millisecond)
	}
	return fmt.Sprintf("%s %s reads %s every %v, last %v ago", c.Address, cmp.Or(who, c.Agent, "-"), c.Reads,
		ms(c.Every), ms(c.Silent))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func havePlural(n int, what string) string {
	if n == 1 {
		return "1 " + what + " has"
	}
	return plural(n, what) + " have"
}
