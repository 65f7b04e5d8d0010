package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/node"
)

// maxOverdue is how many overdue instances status lists.
const maxOverdue = 10

func (p *program) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "status [NODE…]", Short: "a node, its leases and its peers, at a glance",
		Args: cobra.ArbitraryArgs,
		Example: `  registryd status
  registryd status node-1 --verbose
  registryd status --url http://node-1:8761/eureka/,http://node-2:8761/eureka/ --json`,
	}
	nodes := addNodes(c, firstAnswers)
	verbose := c.Flags().BoolP("verbose", "v", false, "show the three queues to each peer, and all counters")
	asJSON := addJSON(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		roots, err := nodes.roots(args)
		if err != nil {
			return err
		}
		return p.status(c.Context(), nodes, roots, *verbose, *asJSON)
	}
	return c
}

func (p *program) status(ctx context.Context, nodes nodeFlags, roots []*url.URL, verbose, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout*time.Duration(len(roots)))
	defer cancel()
	a, err := nodes.asker()
	if err != nil {
		return err
	}
	defer a.close()
	done := p.working("asking for the status")
	body, o, err := a.status(ctx, roots)
	done()
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if asJSON {
		_, err := p.out.Write(plain.JSON(append(bytes.TrimSpace(body), '\n')))
		return err
	}
	return printStatus(p.out, o, time.Now(), verbose)
}

// status returns the status of the first node that answers, also as it answered.
func (a *asker) status(ctx context.Context, roots []*url.URL) ([]byte, *node.Overview, error) {
	root, body, err := a.first(ctx, roots, request{path: []string{"status"}, bound: maxStatus})
	if err != nil {
		return nil, nil, err
	}
	o, err := decode(root, body, "the status", func(o *node.Overview) bool { return o.Node != "" })
	return body, o, err
}

// printStatus writes what a person wants to know first.
func printStatus(w io.Writer, o *node.Overview, now time.Time, verbose bool) error {
	var out bytes.Buffer
	uptime := max(0, now.Sub(o.Started)).Truncate(time.Second)
	fmt.Fprintf(&out, "node       %s of cluster %s, registryd %s, at %s\n",
		plain.Text(o.Node), plain.Text(o.Cluster), plain.Text(o.Version), plain.Text(o.URL))
	fmt.Fprintf(&out, "state      %s, up %v\n", plain.Text(o.State), uptime)
	fmt.Fprintf(&out, "instances  %d", o.Instances)
	if hidden := o.Entries - o.Instances; hidden > 0 {
		fmt.Fprintf(&out, ", and %d cancelled or evicted ones that are remembered", hidden)
	}
	fmt.Fprintf(&out, "\nleases     %d expected, %d missing; self-preservation %s\n",
		o.Leases.Expected, o.Leases.Missing, preservation(o))
	for i, over := range o.Overdue {
		if i == maxOverdue {
			fmt.Fprintf(&out, "           and %d more\n", len(o.Overdue)-i)
			break
		}
		fmt.Fprintf(&out, "overdue    %s/%s, silent for %s of %ds\n",
			plain.Text(over.App), plain.Text(over.ID), seconds(over.Silent), over.Lease)
	}
	if !o.Broker.Connected {
		fmt.Fprintf(&out, "broker     not connected for %s: %s\n", seconds(o.Broker.For), plain.Text(o.Broker.Trouble))
	}
	for i := range o.Regions {
		fmt.Fprintf(&out, "region     %s\n", region(&o.Regions[i]))
	}
	fmt.Fprintf(&out, "peers      %d\n", len(o.Peers))
	if len(o.Peers) == 0 {
		fmt.Fprintf(&out, "           this node has met no other node of cluster %s on its broker\n",
			plain.Text(o.Cluster))
	}
	if len(o.Peers) > 0 {
		print := printPeers
		if verbose {
			print = printQueues
		}
		if err := print(&out, o.Peers); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(w)
	return err
}

// printPeers writes a line for each peer.
func printPeers(out io.Writer, peers []api.PeerOverview) error {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PEER\tSTATUS\tCHANGES ON THEIR WAY\tBEHIND BY\tTROUBLE")
	for i := range peers {
		p := &peers[i]
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", cell(p.Name), peerStatus(p.Status, p.Silent),
			p.Pending()+p.InFlight, seconds(p.Lag), trouble(p))
	}
	return table.Flush()
}

// trouble says what is wrong with a peer, "-" if nothing is.
func trouble(p *api.PeerOverview) string {
	var out []string
	if p.Waiting != "" {
		out = append(out, fmt.Sprintf("nothing is sent for %s: %s", seconds(p.WaitLeft), plain.Text(p.Waiting)))
	}
	if p.Divergent > 0 {
		out = append(out, count(int(p.Divergent), "instance differs", "instances differ"))
	}
	if p.Skew > 1 || p.Skew < -1 {
		out = append(out, fmt.Sprintf("its clock is %s off", seconds(max(p.Skew, -p.Skew))))
	}
	if n := reasons(p.Dropped); n != "0" {
		out = append(out, "dropped: "+n)
	}
	if n := reasons(p.Failed); n != "0" {
		out = append(out, "failed batches: "+n)
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, "; ")
}

// printQueues writes a line for each peer, with its queues.
func printQueues(out io.Writer, peers []api.PeerOverview) error {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PEER\tSTATUS\tQUEUES\tIN FLIGHT\tOLDEST\tROUND TRIP\tLAG\tSENT\tFAILED\tDROPPED\tWAITING")
	for i := range peers {
		p := &peers[i]
		fmt.Fprintf(table, "%s\t%s\t%d/%d/%d\t%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
			cell(p.Name), peerStatus(p.Status, p.Silent),
			p.AcceptorQueue, p.ProcessingOrder+p.Retrying, p.BatchWorkQueue,
			p.InFlight, seconds(p.Oldest), seconds(p.RoundTripLast), seconds(p.Lag), p.SentTasks,
			reasons(p.Failed), reasons(p.Dropped), waiting(p.Waiting, p.WaitLeft))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nQUEUES are acceptorQueue/processingOrder/batchWorkQueue, in actions, slots and batches; "+
		"SENT and IN FLIGHT are tasks, FAILED batches.")
	return nil
}

// region writes what is held of another region.
func region(r *api.RegionOverview) string {
	text := fmt.Sprintf("%s at %s: ", plain.Text(r.Name), plain.Text(r.URL))
	if r.Loaded {
		text += fmt.Sprintf("%d instances, fetched %s ago", r.Instances, seconds(r.Age))
	} else {
		text += fmt.Sprintf("never fetched since %s", seconds(r.Age))
	}
	if r.Trouble != "" {
		text += ", last try failed: " + plain.Text(r.Trouble)
	}
	return text
}

func preservation(o *node.Overview) string {
	if o.Leases.SelfPreservation {
		return "on: nothing is evicted"
	}
	if o.Leases.Off {
		return "switched off"
	}
	return "inactive"
}

func peerStatus(status string, silent float64) string {
	if status == "reachable" {
		return status
	}
	return fmt.Sprintf("%s for %s", plain.Text(status), seconds(silent))
}

func waiting(why string, left float64) string {
	if why == "" {
		return "-"
	}
	return fmt.Sprintf("%s, %s more", plain.Text(why), seconds(left))
}

// seconds writes a time to three digits, "-" for none.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// reasons writes what a counter with a label holds: the sum, and what it is of.
func reasons(counts map[string]uint64) string {
	total := uint64(0)
	var of []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[reason]; n > 0 {
			total += n
			of = append(of, fmt.Sprintf("%s %d", plain.Text(reason), n))
		}
	}
	switch len(of) {
	case 0:
		return "0"
	case 1:
		return of[0]
	default:
		return strconv.FormatUint(total, 10) + " (" + strings.Join(of, ", ") + ")"
	}
}
