package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestShown: what the page tells of the settings has no password in it.
func TestShown(t *testing.T) {
	got := shown(map[string]string{
		"nats":                "nats://node-a:p@ss/w@n1:4222,nats://n2:4222,tls://token@n3",
		"eureka-peers":        "http://u:secret@java:8761/eureka/",
		"cluster-secret-file": "/etc/secret", "some-token": "abc", "node": "a", "data": "reg@home",
		"embedded-routes": "u:secret@n1:6222,n2:6222", "remote-regions": "east=u:secret@east/",
		"advertise": "u:secret@n1",
	})
	want := []node.Setting{
		{Name: "advertise", Value: "xxxxx@n1"},
		{Name: "cluster-secret-file", Value: "/etc/secret"},
		{Name: "data", Value: "reg@home"},
		{Name: "embedded-routes", Value: "xxxxx@n1:6222,n2:6222"},
		{Name: "eureka-peers", Value: "http://xxxxx@java:8761/eureka/"},
		{Name: "nats", Value: "nats://xxxxx@n1:4222,nats://n2:4222,tls://xxxxx@n3"},
		{Name: "node", Value: "a"},
		{Name: "remote-regions", Value: "east=xxxxx@east/"},
		{Name: "some-token", Value: "xxxxx"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestNoSecretInErrors gives commands URLs that can't be used. None of them may repeat a password.
func TestNoSecretInErrors(t *testing.T) {
	nobody := natstest.FreeAddress(t)
	var nodes []string
	for _, password := range []string{
		"31337", "31@337", "31/337", "31#337", "31?337", "31 337", "31%zz337", "31:337", "x,31337",
	} {
		for _, form := range []string{"http://u:%s@%s", "u:%s@%s", "http//u:%s@%s", "htp://u:%s@%s", "http://u:%s@%s:x"} {
			nodes = append(nodes, fmt.Sprintf(form, password, nobody))
		}
	}
	for _, text := range nodes {
		for _, args := range [][]string{
			{"status", text},
			{"apps", "--url", text},
			{"why", "A/b", "--url", nobody + "," + text},
			{"config", "check", "--advertise", text},
			{"config", "check", "--eureka-peers", text},
			{"config", "check", "--remote-regions", "east=" + text},
			{"config", "check", "--embedded-route-listen", "127.0.0.1:0", "--embedded-routes", text},
			{"config", "check", "--nats", text},
			{"config", "show", "--nats", text},
			{"config", "show", "--advertise", text, "--json"},
			{"config", "show", "--embedded-routes", text},
			{"config", "show", "--remote-regions", "east=" + text},
		} {
			var out strings.Builder
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			run(ctx, args, &out, &out)
			cancel()
			for _, part := range []string{"337", "37@"} {
				if strings.Contains(strings.ReplaceAll(out.String(), nobody, ""), part) {
					t.Errorf("registryd %s: says %q", strings.Join(args, " "), out.String())
				}
			}
		}
	}
}
