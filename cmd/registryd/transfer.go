package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/plain"
)

// Bounds of an import.
const (
	maxLine   = 4 << 20   // bytes of one line
	maxImport = 1_000_000 // instances
	importers = 8         // requests at a time
)

// exportFormat is the version of the format of an export.
const exportFormat = 1

// exportHead is the first line of an export.
type exportHead struct {
	Format    int       `json:"registryd_export"`
	Node      string    `json:"node"`
	Cluster   string    `json:"cluster"`
	Time      time.Time `json:"time"`
	Instances int       `json:"instances"` // lines that follow
}

// exportLine is any other line: an instance, and its override if it has one.
type exportLine struct {
	Instance json.RawMessage `json:"instance"`
	Override eureka.Status   `json:"override,omitempty"`
}

func (p *program) exportCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "export", Short: "print all instances with their overrides, as JSON lines for import",
		Long: `The first line says where they are from and how many there are.
Instances of other regions are left out.`,
		Args: noArgs, Example: `  registryd export --url node-1 > backup.jsonl`,
	}
	nodes := addNodes(c, firstAnswers)
	addJSON(c) // It prints nothing else.
	c.RunE = func(c *cobra.Command, _ []string) error {
		roots, err := nodes.roots(nil)
		if err != nil {
			return err
		}
		done := p.working("asking for the list")
		head, all, err := exported(c.Context(), nodes, roots)
		done()
		if err != nil {
			return err
		}
		return writeExport(p.out, head, all)
	}
	return c
}

// exported returns what the first node that answers exports.
func exported(
	ctx context.Context, nodes nodeFlags, roots []*url.URL,
) (exportHead, []*eureka.InstanceInfo, error) {
	a, err := nodes.asker()
	if err != nil {
		return exportHead{}, nil, err
	}
	defer a.close()
	root, apps, err := a.applications(ctx, roots)
	if err != nil {
		return exportHead{}, nil, err
	}
	_, o, err := a.status(ctx, []*url.URL{root})
	if err != nil {
		return exportHead{}, nil, err
	}
	all := instances(apps)
	if len(o.Regions) > 0 { // what they lend is not of this cluster
		n := asked{root: root}
		if n.ask(ctx, a); n.err != nil {
			return exportHead{}, nil, n.err
		}
		own := map[string]bool{}
		for _, e := range n.versions.Entries {
			own[instanceText(e.App, e.ID)] = e.Live
		}
		all = slices.DeleteFunc(all, func(i *eureka.InstanceInfo) bool { return !own[instanceText(i.App, i.ID())] })
	}
	return exportHead{
		Format: exportFormat, Node: o.Node, Cluster: o.Cluster,
		Time: time.Now().UTC().Truncate(time.Second), Instances: len(all),
	}, all, nil
}

func writeExport(w io.Writer, head exportHead, all []*eureka.InstanceInfo) error {
	out := bufio.NewWriter(w)
	line := func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = out.Write(plain.JSON(append(text, '\n')))
		return err
	}
	if err := line(head); err != nil {
		return err
	}
	for _, i := range all {
		err := line(exportLine{Instance: eureka.Form{}.AppendInstance(nil, i), Override: overrideOf(i)})
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

func (p *program) importCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "import FILE", Short: "register what export printed, with its overrides",
		Long: `FILE is - for the standard input. Instances are registered as their clients would do it. One that the
node knows as it is in the file, or as its client has registered it since, is kept as it is there, and so is an override
that it has by now. A lease begins anew: who does not renew it, leaves when it is over.

Nothing is done if a line can't be read. Exit code 1: the node refused some.`,
		Args: exactly("FILE"),
		Example: `  registryd import backup.jsonl --dry-run
  registryd export --url old-node | registryd import - --url new-node`,
	}
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault // files
	}
	nodes := addNodes(c, firstAnswers)
	dry := c.Flags().Bool("dry-run", false, "say what would be done, and do nothing")
	asJSON := addJSON(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		roots, err := nodes.roots(nil)
		if err != nil {
			return err
		}
		in, name := p.in, "standard input"
		if args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			defer file.Close() //nolint:errcheck // It is only read.
			in, name = file, args[0]
		}
		lines, err := stoppable(c.Context(), func() ([]importLine, error) { return readExport(in) })
		switch {
		case c.Context().Err() != nil:
			return c.Context().Err()
		case err != nil:
			return usagef("%s: %w", name, err)
		}
		done := p.working("registering")
		r, err := importTo(c.Context(), nodes, roots, lines, *dry)
		done()
		if r == nil {
			return err
		}
		if *asJSON {
			err = cmp.Or(err, p.json(r))
		} else {
			r.print(p.out)
		}
		if err == nil && r.Refused > 0 {
			err = fmt.Errorf("%s refused %d of %d instances", r.URL, r.Refused, len(lines))
		}
		return err
	}
	return c
}

// importLine is an instance that is imported.
type importLine struct {
	info     *eureka.InstanceInfo
	override eureka.Status // "": none
}

func (l *importLine) name() string { return instanceText(l.info.App, l.info.ID()) }

// readExport reads an export, or lines of one. Its errors name the line.
func readExport(in io.Reader) ([]importLine, error) {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	lines := []importLine{}
	seen := map[string]int{}
	want := -1
	n := 0
	for scanner.Scan() {
		n++
		text := scanner.Bytes()
		if n == 1 {
			if bytes.HasPrefix(text, []byte("\x1f\x8b")) {
				return nil, errors.New("it is compressed: gunzip it first")
			}
			text = bytes.TrimPrefix(text, []byte("\uFEFF")) // as Windows writes it
		}
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		if head, ok := readHead(text); ok {
			if head.Format != exportFormat {
				return nil, fmt.Errorf("line %d: format %d, this program knows %d", n, head.Format, exportFormat)
			}
			want = max(want, 0) + head.Instances // files may be joined
			continue
		}
		line, err := readLine(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if before := seen[line.name()]; before > 0 {
			return nil, fmt.Errorf("line %d: %s is on line %d too", n, line.name(), before)
		}
		if len(lines) == maxImport {
			return nil, fmt.Errorf("line %d: more than %d instances", n, maxImport)
		}
		seen[line.name()] = n
		lines = append(lines, line)
	}
	switch err := scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: longer than %d bytes", n+1, maxLine)
	case err != nil:
		return nil, err
	case want < 0 && len(lines) == 0:
		return nil, errors.New("it is empty: an export begins with a line about itself, also of no instances")
	case want >= 0 && want != len(lines):
		return nil, fmt.Errorf("%d instances, where its head says %d: it is cut off", len(lines), want)
	}
	return lines, nil
}

func readHead(text []byte) (exportHead, bool) {
	var head exportHead
	err := json.Unmarshal(text, &head)
	return head, err == nil && head.Format != 0
}

func readLine(text []byte) (importLine, error) {
	var line exportLine
	if err := json.Unmarshal(text, &line); err != nil {
		return importLine{}, err
	}
	if len(line.Instance) == 0 {
		return importLine{}, errors.New("no member instance")
	}
	info, err := eureka.DecodeInstance(eureka.JSON, slices.Concat([]byte(`{"instance":`), line.Instance, []byte("}")))
	if err != nil {
		return importLine{}, err
	}
	if err := info.Check(info.App); err != nil {
		return importLine{}, err
	}
	if _, ok := eureka.ParseStatus(string(line.Override)); !ok && line.Override != "" {
		return importLine{}, fmt.Errorf("override %.80q: not one of %v", line.Override, statuses())
	}
	return importLine{info, line.Override}, nil
}

// importResult is what an import did, or would do.
type importResult struct {
	URL       string            `json:"url"`
	DryRun    bool              `json:"dry_run"`
	New       int               `json:"new"`
	Replaced  int               `json:"replaced"` // the node had an older registration
	Kept      int               `json:"kept"`     // the node has as new a registration
	Refused   int               `json:"refused"`
	Overrides int               `json:"overrides"` // set
	Reasons   map[string]string `json:"reasons"`   // of what was refused, by instance
}

// maxReasons is how many refusals an import names for people.
const maxReasons = 10

func (r *importResult) print(w io.Writer) {
	would := ""
	if r.DryRun {
		would = "would be: "
	}
	fmt.Fprintf(w, "%s%d new, %d replaced, %d kept as the node has them, %d refused; %s set\n",
		would, r.New, r.Replaced, r.Kept, r.Refused, count(r.Overrides, "override", "overrides"))
	shown := 0
	for name, reason := range r.Reasons {
		if shown++; shown > maxReasons {
			fmt.Fprintf(w, "  and %d more\n", len(r.Reasons)-maxReasons)
			return
		}
		fmt.Fprintf(w, "  refused %s: %s\n", plain.Text(name), oneLine(reason))
	}
	if r.New+r.Replaced > 0 && !r.DryRun {
		fmt.Fprintln(w, "they stay for as long as their clients renew them here, and for one lease if none does")
	}
}

// importTo registers instances at the first node that answers.
func importTo(
	ctx context.Context, nodes nodeFlags, roots []*url.URL, lines []importLine, dry bool,
) (*importResult, error) {
	a, err := nodes.asker()
	if err != nil {
		return nil, err
	}
	defer a.close()
	root, apps, err := a.applications(ctx, roots)
	if err != nil {
		return nil, err
	}
	known := map[string]*eureka.InstanceInfo{}
	for _, i := range instances(apps) {
		known[instanceText(i.App, i.ID())] = i
	}
	r := &importResult{URL: root.Redacted(), DryRun: dry, Reasons: map[string]string{}}
	var mu sync.Mutex // guards r
	work := make(chan *importLine)
	var workers sync.WaitGroup
	for range importers {
		workers.Go(func() {
			for line := range work {
				did := a.importOne(ctx, root, line, known[line.name()], dry)
				if did.err != nil && ctx.Err() != nil {
					continue // no node is to blame
				}
				mu.Lock()
				r.add(line, did)
				mu.Unlock()
			}
		})
	}
	for i := range lines {
		select {
		case work <- &lines[i]:
		case <-ctx.Done():
		}
	}
	close(work)
	workers.Wait()
	return r, ctx.Err()
}

// imported is what became of one instance.
type imported struct {
	isNew, replaced, overridden bool
	err                         error
}

func (r *importResult) add(line *importLine, did imported) {
	switch {
	case did.err != nil:
		r.Refused++
		r.Reasons[line.name()] = did.err.Error()
	case did.isNew:
		r.New++
	case did.replaced:
		r.Replaced++
	default:
		r.Kept++
	}
	if did.overridden {
		r.Overrides++
	}
}

// importOne registers one instance and sets its override, unless the node knows better.
func (a *asker) importOne(
	ctx context.Context, root *url.URL, line *importLine, known *eureka.InstanceInfo, dry bool,
) imported {
	did := imported{
		isNew:      known == nil,
		replaced:   known != nil && known.LastDirtyTimestamp < line.info.LastDirtyTimestamp,
		overridden: line.override != "" && (known == nil || overrideOf(known) == "" && known.Status != line.override),
	}
	if dry {
		return did
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	path := []string{"eureka", "apps", line.info.App}
	info := *line.info
	info.OverriddenStatus = cmp.Or(line.override, eureka.StatusUnknown) // which a node takes with a registration
	if did.isNew || did.replaced {
		_, did.err = a.ask(ctx, root, request{
			method: http.MethodPost, path: path, want: http.StatusNoContent, bound: maxStatus,
			body: eureka.JSON.AppendInstanceDocument(nil, &info),
		})
	}
	if did.err == nil && did.overridden && known != nil {
		_, did.err = a.ask(ctx, root, request{
			method: http.MethodPut, path: append(path, line.info.ID(), "status"), bound: maxStatus,
			query: url.Values{"value": {string(line.override)}},
		})
	}
	did.overridden = did.overridden && did.err == nil
	return did
}
