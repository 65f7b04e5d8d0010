//go:build faults

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

// at returns a client that asks one node only and gives up soon.
func (l *lab) at(n *node) *client.Client {
	l.t.Helper()
	c, err := client.New(client.Options{URLs: []string{n.url()}, HTTPClient: l.http, Timeout: time.Second})
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// TestOldRequestsOfAStoppedNode sends requests to a suspended node. The clients
// give up, turn to another node, and continue there. The requests that waited
// in the sockets of the first are older than that, and must undo nothing.
func TestOldRequestsOfAStoppedNode(t *testing.T) {
	l := newLab(t, labOptions{})
	ctx := t.Context()
	stopped, other := l.nodes[0], l.nodes[1]
	instance := func(id string) *eureka.InstanceInfo {
		return &eureka.InstanceInfo{
			InstanceID: &id, App: "APP", HostName: id, IPAddr: "10.0.0.1", Status: eureka.StatusUp,
			OverriddenStatus: eureka.StatusUnknown, CountryID: eureka.DefaultCountryID,
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
			LeaseInfo:      eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
			Metadata:       map[string]string{"revision": "0"}, LastDirtyTimestamp: time.Now().UnixMilli(),
		}
	}
	ids := []string{"overridden", "cancelled", "registered", "described"}
	for _, id := range ids {
		if err := l.at(other).Register(ctx, instance(id)); err != nil {
			t.Fatal(err)
		}
	}
	everywhere := func(what string, revision string) {
		t.Helper()
		eventually(t, what, func() error {
			var errs []error
			for _, n := range l.nodes {
				list, err := l.list(n)
				errs = append(errs, err)
				for _, id := range ids {
					got := list[id]
					want := "0"
					if id == "registered" || id == "described" {
						want = revision
					}
					if got.Status != eureka.StatusUp || got.Metadata["revision"] != want {
						errs = append(errs, fmt.Errorf("%s lists %s as %v, want UP with revision %s", n.name, id, got, want))
					}
				}
			}
			return errors.Join(errs...)
		})
	}
	everywhere("all know all", "0")

	stopped.setReady(false)
	stopped.signal(syscall.SIGSTOP)
	old := []struct {
		name string
		call func(context.Context, *client.Client) error
	}{
		{"override", func(ctx context.Context, c *client.Client) error {
			return c.SetStatus(ctx, "APP", "overridden", eureka.StatusOutOfService)
		}},
		{"cancel", func(ctx context.Context, c *client.Client) error { return c.Cancel(ctx, "APP", "cancelled") }},
		{"register", func(ctx context.Context, c *client.Client) error {
			info := instance("registered")
			info.Metadata = map[string]string{"revision": "1"}
			return c.Register(ctx, info)
		}},
		{"metadata", func(ctx context.Context, c *client.Client) error {
			return c.SetMetadata(ctx, "APP", "described", map[string]string{"revision": "1"})
		}},
	}
	for _, o := range old {
		if err := o.call(ctx, l.at(stopped)); err == nil {
			t.Errorf("%s at a suspended node: it was answered", o.name)
		}
		if err := o.call(ctx, l.at(other)); err != nil {
			t.Errorf("%s at another node: %v", o.name, err)
		}
	}
	// What the clients did next.
	c := l.at(other)
	second := instance("registered")
	second.Metadata = map[string]string{"revision": "2"}
	for name, err := range map[string]error{
		"override":   c.DeleteStatus(ctx, "APP", "overridden", eureka.StatusUp),
		"cancel":     c.Register(ctx, instance("cancelled")),
		"registered": c.Register(ctx, second),
		"metadata":   c.SetMetadata(ctx, "APP", "described", map[string]string{"revision": "2"}),
	} {
		if err != nil {
			t.Errorf("%s, the next: %v", name, err)
		}
	}
	pause(freezeTime)
	stopped.signal(syscall.SIGCONT)
	l.waitReady(stopped)
	// Wrong requests that were applied have reached everybody by then.
	pause(unsent)
	everywhere("what is newest is listed, without one heartbeat", "2")
}
