package main

import (
	"slices"
	"testing"

	"github.com/registryd/registryd/node"
)

// TestShown: what the page tells of the settings has no password in it.
func TestShown(t *testing.T) {
	got := shown(map[string]string{
		"nats":                "nats://node-a:p@ss/w@n1:4222,nats://n2:4222,tls://token@n3",
		"eureka-peers":        "http://u:secret@java:8761/eureka/",
		"cluster-secret-file": "/etc/secret", "some-token": "abc", "node": "a",
	})
	want := []node.Setting{
		{Name: "cluster-secret-file", Value: "/etc/secret"},
		{Name: "eureka-peers", Value: "http://xxxxx@java:8761/eureka/"},
		{Name: "nats", Value: "nats://xxxxx@n1:4222,nats://n2:4222,tls://xxxxx@n3"},
		{Name: "node", Value: "a"},
		{Name: "some-token", Value: "xxxxx"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
