package main

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/registry"
)

// TestEveryFlagCounts gives each flag of serve a value of its own: the options of
// the node must differ from those without it.
func TestEveryFlagCounts(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	secret := file("secret", "one-line\n")
	logins := file("logins", "boss admin sha256:"+strings.Repeat("0", 64)+"\n")
	cert, key := certstest.NewCA(t, "ca").Files(t, dir, "node")
	nats := []string{"--nats", "nats://" + natstest.FreeAddress(t)}
	rows := map[string][]string{
		"advertise":                   {"http://node.test/eureka/"},
		"batch-delay":                 {"1s"},
		"batch-mode":                  {"adaptive"},
		"batch-size":                  {"7"},
		"cluster":                     {"other"},
		"cluster-secret-file":         {secret},
		"data":                        {"none"},
		"debug-paths":                 {"=true"},
		"delta-retention":             {"1m"},
		"embedded-listen":             {"127.0.0.1:0"},
		"embedded-route-listen":       {"127.0.0.1:0"},
		"embedded-routes":             {"127.0.0.1:1"},
		"embedded-tls-ca":             {secret},
		"embedded-tls-cert":           {secret},
		"embedded-tls-key":            {secret},
		"eureka-peers":                {"http://java.test:8761/eureka/"},
		"eviction-interval":           {"1s"},
		"history-bytes":               {"2000000"},
		"http-hosts":                  {"a.test,b.test"},
		"idle-timeout":                {"1s"},
		"lease-compat":                {"netflix"},
		"listen":                      {"127.0.0.1:0"},
		"logins":                      {logins},
		"max-connections":             {"7"},
		"max-connections-per-address": {"7"},
		"max-instances":               {"7"},
		"max-instances-per-login":     {"7", "--logins", logins},
		"max-lease":                   {"1h"},
		"max-watchers":                {"7"},
		"nats":                        {"nats://127.0.0.1:1"},
		"nats-creds":                  append([]string{secret}, nats...),
		"nats-nkey":                   append([]string{secret}, nats...),
		"nats-login-file":             append([]string{secret}, nats...),
		"nats-tls-ca":                 append([]string{secret}, nats...),
		"nats-tls-cert":               append([]string{secret}, nats...),
		"nats-tls-key":                append([]string{secret}, nats...),
		"node":                        {"other"},
		"open-metrics":                {"=true", "--logins", logins},
		"own-apps-only":               {"=true", "--logins", logins},
		"page-actions":                {"=true"},
		"peers":                       {"2"},
		"rate-limit":                  {"=true"},
		"rate-limit-burst":            {"7"},
		"rate-limit-fetches":          {"7"},
		"rate-limit-full-fetches":     {"7"},
		"rate-limit-privileged":       {"MyClient"},
		"rate-limit-standard-clients": {"=true"},
		"remote-region-apps": {
			"east=ORDERS", "--remote-regions", "east=http://eureka.test:8761/eureka/",
		},
		"remote-region-fallback": nil,
		"remote-region-interval": {"7s"},
		"remote-regions":         {"east=http://eureka.test:8761/eureka/"},
		"renewal-threshold":      {"0.5"},
		"self-preservation":      nil,
		"self-preservation-min":  {"7"},
		"start-wait":             {"1s"},
		"tail-secret-file":       {secret},
		"tls-cert":               {cert, "--tls-key", key},
		"tls-client-ca":          {cert, "--tls-cert", cert, "--tls-key", key},
		"tls-key":                {key, "--tls-cert", cert},
		"wait-when-empty":        {"1s"},
	}
	for name, args := range rows {
		given := append([]string{"--" + name}, args...)
		switch {
		case args == nil:
			given = []string{"--" + name + "=false"}
		case args[0] == "=true": // by default it is false
			given = append([]string{"--" + name + args[0]}, args[1:]...)
		}
		// The default of what is given beside the flag.
		beside := min(2, len(given))
		switch {
		case strings.Contains(given[0], "="):
			beside = 1
		case name == "tls-cert" || name == "tls-key": // neither goes without the other
			beside = len(given)
		}
		with, without := optionsOf(t, given), optionsOf(t, given[beside:])
		if reflect.DeepEqual(with, without) {
			t.Errorf("%q changes nothing", given)
		}
	}
	// These are the log's and the command's own, and where settings are.
	want := append(slices.Collect(maps.Keys(rows)), "config", "log-format", "log-level", "shutdown-delay")
	slices.Sort(want)
	s, err := readSettings(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(s.values)); !slices.Equal(got, want) {
		t.Errorf("flags: got %q, the rows above have %q", got, want)
	}
}

// optionsOf returns the options of a node, without what can't be compared.
func optionsOf(t *testing.T, args []string) node.Options {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	fs.String("config", "", "")
	f := addServeFlags(fs)
	err := fs.Parse(args)
	if err == nil {
		err = (&program{out: io.Discard, err: io.Discard}).settle(fs)
	}
	s, wrong := f.settings(io.Discard) // The files need not hold what they should.
	if err := errors.Join(err, wrong); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	s.Logger = nil
	return s.Options
}

// TestLeaseCompatDefault keeps leases as Java does where there are Java peers, unless
// told otherwise.
func TestLeaseCompatDefault(t *testing.T) {
	peers := []string{"--eureka-peers", "http://java.test:8761/eureka/"}
	for _, test := range []struct {
		args []string
		want registry.LeaseCompat
	}{
		{nil, registry.Exact},
		{peers, registry.Netflix},
		{append([]string{"--lease-compat", "exact"}, peers...), registry.Exact},
		{[]string{"--lease-compat", "netflix"}, registry.Netflix},
	} {
		if got := optionsOf(t, test.args).LeaseCompat; got != test.want {
			t.Errorf("%q: %d, want %d", test.args, got, test.want)
		}
	}
}

// TestMisspeltVariables finds what looks like a variable of ours, and leaves alone what Kubernetes
// sets for a service of our name.
func TestMisspeltVariables(t *testing.T) {
	t.Parallel()
	p := &program{in: eof{}, out: io.Discard, err: io.Discard}
	got := p.misspelt([]string{
		"REGISTRYD_LISEN=:1", "REGISTRYD_LISTEN=:1", "REGISTRYD_CONFIG=x", "REGISTRYD_FAVOURITE_COLOUR=red", "LISEN=:1",
		"REGISTRYD_PORT=tcp://10.0.0.1:8761", "REGISTRYD_PORT_8761_TCP_ADDR=10.0.0.1", "REGISTRYD_SERVICE_HOST=10.0.0.1",
	})
	if len(got) != 1 || len(got["REGISTRYD_LISEN"]) == 0 || got["REGISTRYD_LISEN"][0] != "REGISTRYD_LISTEN" {
		t.Errorf("got %v, want REGISTRYD_LISTEN for REGISTRYD_LISEN alone", got)
	}
}
