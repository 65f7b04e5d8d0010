package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/node"
)

// startNode starts a node of its own in this process.
func startNode(t *testing.T, opts node.Options) *node.Node {
	t.Helper()
	opts.Listen = "127.0.0.1:0"
	if len(opts.Broker.URLs) == 0 {
		opts.Embedded = broker.ServerOptions{Listen: "127.0.0.1:0"}
	}
	n, err := node.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// listed returns what a node lists, without what a node itself says of an instance.
func listed(t *testing.T, n *node.Node) map[string]eureka.InstanceInfo {
	t.Helper()
	a := newAsker()
	defer a.close()
	root, err := nodeURL(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	_, apps, err := a.applications(t.Context(), []*url.URL{root})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]eureka.InstanceInfo{}
	for _, i := range instances(apps) {
		i := *i
		i.LastUpdatedTimestamp, i.ActionType = 0, ""
		i.LeaseInfo = eureka.LeaseInfo{
			RenewalIntervalInSecs: i.LeaseInfo.RenewalIntervalInSecs, DurationInSecs: i.LeaseInfo.DurationInSecs,
		}
		out[i.App+"/"+i.ID()] = i
	}
	return out
}

// randomInstance returns an instance with any of the members that a client may send.
func randomInstance(rng *rand.Rand, n int) *eureka.InstanceInfo {
	text := func() string {
		const letters = "abcXYZ019-._ :/%äß漢\"\\<&\u2028"
		all := []rune(letters)
		out := make([]rune, 1+rng.IntN(12))
		for i := range out {
			out[i] = all[rng.IntN(len(all))]
		}
		return string(out)
	}
	maybe := func() *string {
		if rng.IntN(2) == 0 {
			return nil
		}
		return new(text())
	}
	pick := func(all ...eureka.Status) eureka.Status { return all[rng.IntN(len(all))] }
	i := &eureka.InstanceInfo{
		InstanceID: new(fmt.Sprintf("%d:%s", n, text())), HostName: "h" + text(), App: fmt.Sprintf("APP-%d", rng.IntN(40)),
		IPAddr: "192.0.2.1", Status: pick(eureka.StatusUp, eureka.StatusDown, eureka.StatusStarting, eureka.StatusOutOfService),
		OverriddenStatus: eureka.StatusUnknown,
		Port:             eureka.Port{Number: rng.IntN(65536), Enabled: rng.IntN(2) == 0},
		SecurePort:       eureka.Port{Number: rng.IntN(65536), Enabled: rng.IntN(2) == 0},
		CountryID:        rng.IntN(100), DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:  eureka.LeaseInfo{RenewalIntervalInSecs: 1 + rng.IntN(60), DurationInSecs: 300 + rng.IntN(600)},
		VIPAddress: maybe(), SecureVIPAddress: maybe(), HomePageURL: maybe(), StatusPageURL: maybe(), HealthCheckURL: maybe(),
		ASGName: maybe(), LastDirtyTimestamp: 1_700_000_000_000 + rng.Int64N(1_000_000),
	}
	if rng.IntN(3) == 0 {
		i.DataCenterInfo = eureka.DataCenterInfo{Name: eureka.Amazon, Metadata: map[string]string{"instance-id": text(), "local-ipv4": "10.0.0.1"}}
	}
	for range rng.IntN(4) {
		if i.Metadata == nil {
			i.Metadata = map[string]string{}
		}
		i.Metadata[text()] = text()
	}
	return i
}

// TestRoundTrip moves 1,000 random instances, a quarter of them with an override, to another
// cluster, and then once more.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const count = 1000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	from, to := startNode(t, node.Options{Name: "from"}), startNode(t, node.Options{Name: "to"})
	root, err := nodeURL(from.URL())
	if err != nil {
		t.Fatal(err)
	}
	var lines []importLine
	overrides := 0
	for n := range count {
		line := importLine{info: randomInstance(rng, n)}
		if rng.IntN(4) == 0 {
			all := []eureka.Status{eureka.StatusUp, eureka.StatusDown, eureka.StatusOutOfService}
			line.override = all[rng.IntN(len(all))]
			overrides++
		}
		lines = append(lines, line)
	}
	a := newAsker()
	defer a.close()
	for i := range lines {
		if did := a.importOne(t.Context(), root, &lines[i], nil, false); did.err != nil {
			t.Fatal(did.err)
		}
	}

	exported := runOK(t, "export", "--url", from.URL())
	file := filepath.Join(t.TempDir(), "export.jsonl")
	if err := os.WriteFile(file, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(exported, "\n"); got != count+1 {
		t.Fatalf("%d lines exported, want %d", got, count+1)
	}
	into := func(flags ...string) (r importResult) {
		t.Helper()
		out := runOK(t, append([]string{"import", file, "--json", "--url", to.URL()}, flags...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		r.URL, r.Reasons = "", nil
		return r
	}
	want := importResult{New: count, Overrides: overrides, DryRun: true}
	if got := into("--dry-run"); !reflect.DeepEqual(got, want) {
		t.Errorf("dry run: got %+v, want %+v", got, want)
	}
	if got := listed(t, to); len(got) != 0 {
		t.Fatalf("a dry run registered %d", len(got))
	}
	want.DryRun = false
	if got := into(); !reflect.DeepEqual(got, want) {
		t.Errorf("import: got %+v, want %+v", got, want)
	}
	here, there := listed(t, from), listed(t, to)
	if len(here) != count {
		t.Fatalf("%d instances, want %d", len(here), count)
	}
	for name, i := range here {
		if !reflect.DeepEqual(i, there[name]) {
			t.Fatalf("%s: got %+v, want %+v", name, there[name], i)
		}
	}
	if got, want := into(), (importResult{Kept: count}); !reflect.DeepEqual(got, want) {
		t.Errorf("again: got %+v, want %+v", got, want)
	}
}

// TestImportKeepsWhatIsNewer meets a node that knows better of some instances.
func TestImportKeepsWhatIsNewer(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n"})
	root, err := nodeURL(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	a := newAsker()
	defer a.close()
	var file bytes.Buffer
	for k, name := range []string{"newer", "same", "older", "overridden"} {
		i := randomInstance(rng, k)
		i.App, i.InstanceID, i.Status, i.LastDirtyTimestamp = "A", &name, eureka.StatusUp, 1_700_000_000_000
		known := *i
		line := importLine{info: &known}
		switch name {
		case "newer":
			known.LastDirtyTimestamp++
		case "older":
			known.LastDirtyTimestamp--
		case "overridden":
			line.override = eureka.StatusDown
		}
		known.HomePageURL, i.HomePageURL = new("http://known/"), new("http://imported/")
		if did := a.importOne(t.Context(), root, &line, nil, false); did.err != nil {
			t.Fatal(did.err)
		}
		text, err := json.Marshal(exportLine{eureka.Form{}.AppendInstance(nil, i), eureka.StatusOutOfService})
		if err != nil {
			t.Fatal(err)
		}
		file.Write(append(text, '\n'))
	}
	p := &program{in: &file, out: new(strings.Builder), err: t.Output()}
	if code := p.run(t.Context(), []string{"import", "-", "--url", n.URL()}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	const want = "0 new, 1 replaced, 3 kept as the node has them, 0 refused; 3 overrides set\n" +
		"they stay for as long as their clients renew them here, and for one lease if none does\n"
	if got := fmt.Sprint(p.out); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, i := range listed(t, n) {
		home, override := "http://known/", eureka.StatusOutOfService
		switch name {
		case "A/older":
			home = "http://imported/"
		case "A/overridden":
			override = eureka.StatusDown
		}
		if *i.HomePageURL != home || i.OverriddenStatus != override {
			t.Errorf("%s: got %s and %s, want %s and %s", name, *i.HomePageURL, i.OverriddenStatus, home, override)
		}
	}
}

// TestImportRefuses has lines that can't be read: nothing is registered.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n"})
	good := string(eureka.Form{}.AppendInstance(nil, randomInstance(rand.New(rand.NewPCG(1, 1)), 1)))
	line := `{"instance":` + good + `}` + "\n"
	for _, test := range []struct{ name, text, want string }{
		{"no JSON", line + "x\n", "line 2: invalid character"},
		{"no instance", line + "{}\n", "line 2: no member instance"},
		{"twice", line + "\n" + line, "line 3: APP-"},
		{"an override that is none", `{"instance":` + good + `,"override":"LOUD"}`, `line 1: override "LOUD": not one of [UP DOWN `},
		{"cut off", `{"registryd_export":1,"instances":2}` + "\n" + line, "1 instances, where its head says 2: it is cut off"},
		{"of another program", `{"registryd_export":7}` + "\n", "line 1: format 7, this program knows 1"},
		{"not an instance", `{"instance":{"app":"A","dataCenterInfo":{"name":"x"}}}`, "line 1: "},
		{"empty", "", "it is empty"},
		{"blank lines", "\n \n", "it is empty"},
		{"a mark alone", "\uFEFF", "it is empty"},
		{"compressed", "\x1f\x8b\x08\x00", "it is compressed"},
		{"without end", strings.Repeat(" ", maxLine+1), fmt.Sprintf("line 1: longer than %d bytes", maxLine)},
	} {
		var out, errs strings.Builder
		p := &program{in: strings.NewReader(test.text), out: &out, err: &errs}
		code := p.run(t.Context(), []string{"import", "-", "--url", n.URL()})
		if code != 2 || !strings.HasPrefix(errs.String(), "registryd: standard input: "+test.want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: code %d, %q, want 2 and %q", test.name, code, errs.String(), test.want)
		}
	}
	if got := listed(t, n); len(got) > 0 {
		t.Errorf("%d instances were registered", len(got))
	}
}

// TestImportFromWindows has a mark before the first line, and its ends of lines.
func TestImportFromWindows(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n"})
	info := randomInstance(rand.New(rand.NewPCG(1, 1)), 1)
	file := fmt.Sprintf("\uFEFF{\"registryd_export\":1,\"instances\":1}\r\n{\"instance\":%s}\r\n", eureka.Form{}.AppendInstance(nil, info))
	var out strings.Builder
	p := &program{in: strings.NewReader(file), out: &out, err: &out}
	if code := p.run(t.Context(), []string{"import", "-", "--url", n.URL()}); code != 0 || len(listed(t, n)) != 1 {
		t.Errorf("code %d, %d listed, %q", code, len(listed(t, n)), out.String())
	}
	// An export of nothing is one.
	p.in = strings.NewReader(`{"registryd_export":1,"instances":0}`)
	if code := p.run(t.Context(), []string{"import", "-", "--url", n.URL()}); code != 0 {
		t.Errorf("code %d, %q", code, out.String())
	}
}

// endless is an input at which nobody types.
type endless struct{ done <-chan struct{} }

func (e endless) Read([]byte) (int, error) {
	<-e.done
	return 0, io.EOF
}

// TestStoppedBeforeItWasDone stops commands that are to do something. A script must not take that for done.
func TestStoppedBeforeItWasDone(t *testing.T) {
	n := startNode(t, node.Options{Name: "n"})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	logins := filepath.Join(t.TempDir(), "logins")
	for _, args := range [][]string{
		{"import", "-", "--url", n.URL()},
		{"user", "add", "boss", "--role", "admin", "--logins", logins},
		{"export", "--url", silent.URL},
		{"apps", "--url", silent.URL},
		{"apps", "cancel", "A/b", "--url", silent.URL},
		{"status", "--url", silent.URL},
		{"repair", "--url", silent.URL},
		{"drain", "A/b", "--url", silent.URL},
		{"diff", "--url", silent.URL},
		{"why", "A/b", "--url", silent.URL},
	} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("told to stop"))
		var out, errs strings.Builder
		p := &program{in: endless{t.Context().Done()}, out: &out, err: &errs}
		code := p.run(ctx, args)
		cancel()
		if code != 1 || out.Len() > 0 || !strings.HasSuffix(errs.String(), "registryd: stopped before it was done\n") {
			t.Errorf("registryd %s: code %d, %q and %q", strings.Join(args, " "), code, out.String(), errs.String())
		}
	}
	if _, err := os.Stat(logins); err == nil {
		t.Error("a login was added")
	}
}

// TestDrainIsStopped: what is out of service by then, is named.
func TestDrainIsStopped(t *testing.T) {
	n := startNode(t, node.Options{Name: "n"})
	register(t, n, "it's; rm", 1)
	res, err := http.Get(n.URL() + "apps") //nolint:noctx // A client that reads lists.
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close() //nolint:errcheck // It is of no interest.
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var out, errs strings.Builder
	p := &program{in: eof{}, out: &out, err: &errs}
	code := p.run(ctx, []string{"drain", "ORDERS/it's; rm", "--url", n.URL()})
	for _, want := range []string{" is out of service, but not drained after ", `undo: registryd apps up 'ORDERS/it'\''s; rm' --url `} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
	if code != 1 || errs.String() != "registryd: stopped before it was done\n" {
		t.Errorf("code %d, %q", code, errs.String())
	}
}

// TestImportTellsRefusals has a node that is full.
func TestImportTellsRefusals(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n", MaxInstances: 2})
	var file bytes.Buffer
	rng := rand.New(rand.NewPCG(1, 1))
	for k := range 3 {
		fmt.Fprintf(&file, `{"instance":%s}`+"\n", eureka.Form{}.AppendInstance(nil, randomInstance(rng, k)))
	}
	var out, errs strings.Builder
	p := &program{in: &file, out: &out, err: &errs}
	code := p.run(t.Context(), []string{"import", "-", "--url", n.URL()})
	if code != 1 || !strings.Contains(out.String(), "2 new, 0 replaced, 0 kept as the node has them, 1 refused") ||
		!strings.Contains(out.String(), "answers 507") || !strings.Contains(errs.String(), "refused 1 of 3 instances") {
		t.Errorf("code %d, output %q, errors %q", code, out.String(), errs.String())
	}
}

// runOK runs a command that must succeed, and returns its output.
func runOK(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if code := run(ctx, args, &out, &errs); code != 0 {
		t.Fatalf("registryd %s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String()
}
