package client

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/registryd/registryd/eureka"
)

func TestLeaseDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &server{}, &eureka.InstanceInfo{HostName: "H", App: "A", IPAddr: "192.0.2.1", Port: eureka.Port{Number: 8080}}, LeaseOptions{})
		k.end(t)
		got := k.server.bodies[0]
		if got.Status != eureka.StatusUp || got.OverriddenStatus != eureka.StatusUnknown ||
			got.DataCenterInfo.Name != eureka.MyOwn || got.CountryID != 1 ||
			got.LeaseInfo.RenewalIntervalInSecs != 30 || got.LeaseInfo.DurationInSecs != 90 {
			t.Errorf("got %+v, want Eureka's defaults", got)
		}
		if got, want := got.LastDirtyTimestamp, k.server.began.UnixMilli(); got != want {
			t.Errorf("lastDirtyTimestamp: got %d, want now, %d", got, want)
		}
		// Spring looks applications up by vip, and two instances on a host differ.
		if got.ID() != "h:a:8080" || got.VIPAddress == nil || *got.VIPAddress != "a" || got.SecureVIPAddress == nil || *got.SecureVIPAddress != "a" {
			t.Errorf("id %s, vips %v and %v", got.ID(), got.VIPAddress, got.SecureVIPAddress)
		}
		if err := got.Check("a"); err != nil {
			t.Errorf("a server would refuse it: %v", err)
		}
	})
}

// TestLeaseKeepsNames: what the instance says of its own is not replaced.
func TestLeaseKeepsNames(t *testing.T) {
	c := newClient(t, nil, "http://a.test")
	amazon := &eureka.InstanceInfo{
		HostName: "h", App: "A", VIPAddress: new("v"), SecureVIPAddress: new("s"),
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.Amazon, Metadata: map[string]string{"instance-id": "i-1"}},
	}
	named := *amazon
	named.InstanceID = new("given")
	for id, info := range map[string]*eureka.InstanceInfo{"i-1": amazon, "given": &named} {
		l, err := NewLease(c, info, LeaseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Instance(); got.ID() != id || *got.VIPAddress != "v" || *got.SecureVIPAddress != "s" {
			t.Errorf("id %s, vips %s and %s; want %s, v and s", got.ID(), *got.VIPAddress, *got.SecureVIPAddress, id)
		}
	}
}

func TestNewLeaseRefuses(t *testing.T) {
	c := newClient(t, nil, "http://a.test")
	nameless := instance()
	nameless.InstanceID, nameless.HostName = nil, ""
	for _, tt := range []struct {
		name   string
		client *Client
		info   *eureka.InstanceInfo
		opts   LeaseOptions
		want   string
	}{
		{"no client", nil, instance(), LeaseOptions{}, "client is nil"},
		{"no instance", c, nil, LeaseOptions{}, "instance is nil"},
		{"no id", c, nameless, LeaseOptions{}, "id is empty"},
		{"interval", c, instance(), LeaseOptions{RenewalInterval: -1}, "RenewalInterval is -1ns"},
		{"cancel", c, instance(), LeaseOptions{CancelTimeout: -1}, "CancelTimeout is -1ns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewLease(tt.client, tt.info, tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to hold %q", err, tt.want)
			}
		})
	}
}
