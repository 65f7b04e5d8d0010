package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/near"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/internal/redact"
)

// maxInstance bounds the answer that holds one instance, in bytes.
const maxInstance = 4 << 20

func (p *program) appsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "apps", Short: "applications and their instances: list, show, take out of service and back, cancel",
		Example: `  registryd apps
  registryd apps show ORDERS/orders-1:8080
  registryd apps out-of-service ORDERS/orders-1:8080
  registryd apps up ORDERS/orders-1:8080`,
	}
	c.AddCommand(p.listCommand(), p.showCommand(),
		p.changeCommand("out-of-service", "take an instance out of service: clients see it, and send it nothing",
			`An override of its status does it, on all nodes, and for as long as the instance is registered: its client
can neither change nor remove it, except by Spring's and Netflix's own calls for that.`, outOfService),
		p.changeCommand("up", "put an instance back: remove the override of its status", "", up),
		p.changeCommand("cancel", "remove an instance, as if it had shut down",
			`A client that still runs registers its instance again with its next heartbeat. So cancel what is dead, and
take out of service what lives.`, cancelInstance),
	)
	list := p.listCommand()
	c.Flags().AddFlagSet(list.Flags())
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(args[0], c)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		list.SetContext(c.Context())
		return list.RunE(list, args)
	}
	return c
}

func (p *program) listCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "list [APP]", Short: "list instances, the troubled ones first", Args: atMost(1),
		Example: `  registryd apps list
  registryd apps list ORDERS --status UP --json`,
	}
	nodes := addNodes(c, firstAnswers)
	status := c.Flags().String("status", "", "only instances with this `STATUS`: "+strings.Join(statuses(), ", "))
	asJSON := addJSON(c)
	complete(c, "status", statuses()...)
	c.ValidArgsFunction = nodes.complete(false)
	c.RunE = func(c *cobra.Command, args []string) error {
		if *status != "" && !slices.Contains(statuses(), strings.ToUpper(*status)) {
			return usagef("--status %.80q: not one of %s", *status, strings.Join(statuses(), ", "))
		}
		if len(args) > 0 && args[0] == "" {
			return usagef("APP: the name given is empty")
		}
		a, roots, err := nodes.open(nil)
		if err != nil {
			return err
		}
		defer a.close()
		done := p.working("asking for the list")
		root, apps, err := a.applications(c.Context(), roots)
		done()
		if err != nil {
			return err
		}
		var all []*eureka.InstanceInfo
		for _, i := range instances(apps) {
			if (len(args) == 0 || i.App == eureka.Upper(args[0])) &&
				(*status == "" || strings.EqualFold(string(i.Status), *status)) {
				all = append(all, i)
			}
		}
		if len(args) > 0 && len(all) == 0 && !slices.ContainsFunc(apps.Applications, named(args[0])) {
			return notThere(root, args[0], names(apps, false))
		}
		if *asJSON {
			return p.instancesJSON(all)
		}
		return p.printInstances(all, time.Now())
	}
	return c
}

func statuses() []string {
	return []string{
		string(eureka.StatusUp), string(eureka.StatusDown), string(eureka.StatusStarting),
		string(eureka.StatusOutOfService), string(eureka.StatusUnknown),
	}
}

func named(name string) func(eureka.Application) bool {
	return func(a eureka.Application) bool { return a.Name == eureka.Upper(name) }
}

// completionTimeout bounds what a shell asks of a node while a person types.
const completionTimeout = time.Second

// complete has shells complete applications, or instances as APP/INSTANCE, as the node lists them.
func (n nodeFlags) complete(whole bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, given string) ([]string, cobra.ShellCompDirective) {
		var out []string
		roots, err := n.roots(nil)
		if err == nil && len(args) == 0 {
			ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
			defer cancel()
			a, err := n.asker()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			defer a.close()
			if _, apps, err := a.applications(ctx, roots); err == nil { // else there is nothing to offer
				out = names(apps, whole)
			}
		}
		return slices.DeleteFunc(out, func(name string) bool {
			return !strings.HasPrefix(name, given) || plain.Text(name) != name
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

// applications returns the list of the first node that answers.
func (a *asker) applications(ctx context.Context, roots []*url.URL) (*url.URL, eureka.Applications, error) {
	root, body, err := a.first(ctx, roots, request{path: []string{"eureka", "apps"}, bound: maxList})
	if err != nil {
		return nil, eureka.Applications{}, err
	}
	apps, err := eureka.DecodeApplications(eureka.JSON, body)
	if err != nil {
		return nil, apps, fmt.Errorf("%s: not a list of instances: %w", root.Redacted(), err)
	}
	return root, apps, nil
}

// instances returns the instances of a list, in its order.
func instances(apps eureka.Applications) []*eureka.InstanceInfo {
	var all []*eureka.InstanceInfo
	for _, app := range apps.Applications {
		all = append(all, app.Instances...)
	}
	return all
}

// names returns the applications of a list, or its instances as APP/INSTANCE.
func names(apps eureka.Applications, whole bool) []string {
	var out []string
	for _, app := range apps.Applications {
		if !whole {
			out = append(out, app.Name)
			continue
		}
		for _, i := range app.Instances {
			out = append(out, instanceText(i.App, i.ID()))
		}
	}
	return out
}

func notThere(root *url.URL, name string, known []string) error {
	return fmt.Errorf("%s: not known at %s%s", name, root.Redacted(), didYouMean(near.Closest(name, known)))
}

func (p *program) printInstances(all []*eureka.InstanceInfo, now time.Time) error {
	if len(all) == 0 {
		fmt.Fprintln(p.out, "no instances")
		return nil
	}
	slices.SortStableFunc(all, func(a, b *eureka.InstanceInfo) int {
		troubled := func(i *eureka.InstanceInfo) int {
			if i.Status == eureka.StatusUp {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(troubled(a), troubled(b)), cmp.Compare(a.App, b.App), cmp.Compare(a.ID(), b.ID()))
	})
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "INSTANCE\tSTATUS\tADDRESS\tRENEWED")
	for _, i := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", cell(instanceText(i.App, i.ID())), cell(statusText(i)),
			cell(address(i)), renewed(i, now))
	}
	return table.Flush()
}

// statusText returns the status of an instance, and whether an override says so.
func statusText(i *eureka.InstanceInfo) string {
	if overrideOf(i) != "" {
		return string(i.Status) + " (override)"
	}
	return string(i.Status)
}

// overrideOf returns the override of an instance, "" for none.
func overrideOf(i *eureka.InstanceInfo) eureka.Status {
	if i.OverriddenStatus == eureka.StatusUnknown {
		return ""
	}
	return i.OverriddenStatus
}

func address(i *eureka.InstanceInfo) string {
	port := i.Port
	if !port.Enabled && i.SecurePort.Enabled {
		port = i.SecurePort
	}
	return fmt.Sprintf("%s:%d", plain.Text(cmp.Or(i.HostName, i.IPAddr)), port.Number)
}

// renewed says when an instance last renewed its lease, by the node's clock.
func renewed(i *eureka.InstanceInfo, now time.Time) string {
	if i.LeaseInfo.LastRenewalTimestamp <= 0 {
		return "-"
	}
	ago := max(0, now.Sub(time.UnixMilli(i.LeaseInfo.LastRenewalTimestamp)))
	return fmt.Sprintf("%v ago, lease %d s", ago.Truncate(time.Second), i.LeaseInfo.DurationInSecs)
}

// instancesJSON prints instances as Eureka's JSON writes them, as an array.
func (p *program) instancesJSON(all []*eureka.InstanceInfo) error {
	out := make([]json.RawMessage, len(all))
	for n, i := range all {
		out[n] = eureka.Form{}.AppendInstance(nil, i)
	}
	return p.json(out)
}

func (p *program) showCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show APP[/INSTANCE]", Short: "show all that is known of an instance, or of those of an application",
		Args: exactly("APP[/INSTANCE]"), Long: instanceNaming, Example: "  registryd apps show ORDERS/orders-1:8080",
	}
	nodes, asJSON := addNodes(c, firstAnswers), addJSON(c)
	c.ValidArgsFunction = nodes.complete(true)
	c.RunE = func(c *cobra.Command, args []string) error {
		app, id, whole := nameParts(args[0])
		if app == "" || whole && id == "" {
			return usagef("%.200q: not APP[/INSTANCE]", args[0])
		}
		a, roots, err := nodes.open(nil)
		if err != nil {
			return err
		}
		defer a.close()
		done := p.working("asking for the list")
		root, apps, err := a.applications(c.Context(), roots)
		done()
		if err != nil {
			return err
		}
		all := slices.DeleteFunc(instances(apps), func(i *eureka.InstanceInfo) bool {
			return i.App != eureka.Upper(app) || whole && i.ID() != id
		})
		if len(all) == 0 {
			return notThere(root, args[0], names(apps, whole))
		}
		if *asJSON {
			return p.instancesJSON(all)
		}
		for n, i := range all {
			if n > 0 {
				fmt.Fprintln(p.out)
			}
			if err := p.showInstance(i, time.Now()); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

func (p *program) showInstance(i *eureka.InstanceInfo, now time.Time) error {
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, plain.Text(text))
		}
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	at := func(ms int64) string {
		if ms <= 0 {
			return ""
		}
		return time.UnixMilli(ms).Format(time.DateTime)
	}
	row("instance", instanceText(i.App, i.ID()))
	row("status", statusText(i))
	row("address", address(i))
	row("ip", i.IPAddr)
	row("renewed", renewed(i, now))
	row("registered", at(i.LeaseInfo.RegistrationTimestamp))
	row("up since", at(i.LeaseInfo.ServiceUpTimestamp))
	row("changed", at(i.LastUpdatedTimestamp))
	row("vip", text(i.VIPAddress))
	row("secure vip", text(i.SecureVIPAddress))
	row("group", text(i.AppGroupName))
	row("data centre", i.DataCenterInfo.Name)
	row("home", text(i.HomePageURL))
	row("status page", text(i.StatusPageURL))
	row("health", text(i.HealthCheckURL))
	for _, key := range slices.Sorted(maps.Keys(i.Metadata)) {
		row("metadata", key+" = "+i.Metadata[key])
	}
	return table.Flush()
}

// change is something that is done to one instance.
type change uint8

const (
	outOfService change = iota
	up
	cancelInstance
)

// changed is what a change did, also as JSON.
type changed struct {
	App      string          `json:"app"`
	ID       string          `json:"id"`
	URL      string          `json:"url"`
	Changed  bool            `json:"changed"`
	Was      eureka.Status   `json:"was"`
	Override eureka.Status   `json:"override_was,omitempty"`
	Did      string          `json:"did"`
	Undo     string          `json:"undo,omitempty"`
	Instance json.RawMessage `json:"instance,omitempty"` // cancelled: what `registryd import` takes
}

func (p *program) changeCommand(name, short, long string, what change) *cobra.Command {
	c := &cobra.Command{
		Use: name + " APP/INSTANCE", Short: short, Args: exactly("APP/INSTANCE"),
		Long:    strings.TrimSpace(long + "\n\n" + instanceNaming),
		Example: "  registryd apps " + name + " ORDERS/orders-1:8080",
	}
	nodes, asJSON := addNodes(c, firstAnswers), addJSON(c)
	c.ValidArgsFunction = nodes.complete(true)
	c.RunE = func(c *cobra.Command, args []string) error {
		app, id, err := instanceName(args[0])
		if err != nil {
			return err
		}
		a, roots, err := nodes.open(nil)
		if err != nil {
			return err
		}
		defer a.close()
		done := p.working("changing " + args[0])
		out, err := a.change(c.Context(), roots, app, id, what)
		done()
		if err != nil {
			return err
		}
		if out.Undo != "" && *nodes.urls != "" {
			out.Undo += " --url " + shellWord(redact.Text(*nodes.urls))
		}
		if *asJSON {
			return p.json(out)
		}
		fmt.Fprintln(p.out, plain.Text(out.Did))
		if out.Undo != "" {
			fmt.Fprintln(p.out, "undo:", plain.Text(out.Undo)+out.input())
		}
		return nil
	}
	return c
}

// input is what the command that undoes a cancel reads: a here document of a shell.
func (c *changed) input() string {
	if c.Instance == nil {
		return ""
	}
	return " <<'END'\n" + string(plain.JSON(fmt.Appendf(nil, `{"instance":%s}`, c.Instance))) + "\nEND"
}

// In APP/INSTANCE the first slash parts the two, and INSTANCE is taken as it is: an id may hold
// anything. APP has %2F for a slash, and %25 for a percent sign.
var (
	escapeApp   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescapeApp = strings.NewReplacer("%25", "%", "%2F", "/", "%2f", "/")
)

// instanceNaming is that rule in the help of commands.
const instanceNaming = "The first / parts APP and INSTANCE. INSTANCE is written as it is, with all its characters; " +
	"in APP\nwrite / as %2F and % as %25. Quote for the shell what it would take apart."

// instanceText writes an instance as APP/INSTANCE.
func instanceText(app, id string) string { return escapeApp.Replace(app) + "/" + id }

// nameParts takes APP[/INSTANCE] apart. whole reports whether there is an instance.
func nameParts(text string) (app, id string, whole bool) {
	app, id, whole = strings.Cut(text, "/")
	return unescapeApp.Replace(app), id, whole
}

// instanceName takes APP/INSTANCE apart.
func instanceName(text string) (app, id string, err error) {
	app, id, whole := nameParts(text)
	if !whole || app == "" || id == "" {
		return "", "", usagef("%.200q: not APP/INSTANCE", text)
	}
	return app, id, nil
}

// change changes an instance, and says what it did and how that is undone.
func (a *asker) change(ctx context.Context, roots []*url.URL, app, id string, what change) (*changed, error) {
	path := []string{"eureka", "apps", app, id}
	root, body, err := a.first(ctx, roots, request{path: path, bound: maxInstance})
	if isCode(err, http.StatusNotFound) {
		if root, apps, err := a.applications(ctx, []*url.URL{root}); err == nil {
			return nil, notThere(root, instanceText(app, id), names(apps, true))
		}
	}
	if err != nil {
		return nil, err
	}
	i, err := eureka.DecodeInstance(eureka.JSON, body)
	if err != nil {
		return nil, fmt.Errorf("%s: not an instance: %w", root.Redacted(), err)
	}
	name := instanceText(i.App, i.ID())
	out := &changed{App: i.App, ID: i.ID(), URL: root.Redacted(), Was: i.Status, Override: overrideOf(i)}
	r := request{path: append(path, "status"), bound: maxStatus}
	switch what {
	case outOfService:
		if overrideOf(i) == eureka.StatusOutOfService {
			out.Did = name + " is out of service already, by an override"
			return out, nil
		}
		r.method, r.query = http.MethodPut, url.Values{"value": {string(eureka.StatusOutOfService)}}
		out.Did = fmt.Sprintf("%s is OUT_OF_SERVICE by an override, it was %s", name, statusText(i))
		out.Undo = "registryd apps up " + shellWord(name)
	case up:
		if overrideOf(i) == "" {
			out.Did = fmt.Sprintf("%s has no override: its client says %s", name, i.Status)
			return out, nil
		}
		r.method, r.query = http.MethodDelete, url.Values{"value": {string(eureka.StatusUp)}}
		out.Did = fmt.Sprintf("%s is UP, until its client says otherwise; the override %s is removed",
			name, overrideOf(i))
		if overrideOf(i) == eureka.StatusOutOfService {
			out.Undo = "registryd apps out-of-service " + shellWord(name)
		}
	case cancelInstance:
		r.method, r.path = http.MethodDelete, path
		out.Did = name + " is cancelled; a client that still runs registers it again with its next heartbeat"
		out.Instance = eureka.Form{}.AppendInstance(nil, i)
		out.Undo = "registryd import -"
	}
	if _, err := a.ask(ctx, root, r); err != nil {
		return nil, err
	}
	out.Changed = true
	return out, nil
}
