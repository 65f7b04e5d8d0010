package node

import (
	"net"
	"testing"
)

func TestFirstReachable(t *testing.T) {
	addr := func(text string) net.Addr {
		ip, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		network.IP = ip
		return network
	}
	for _, test := range []struct {
		name  string
		addrs []net.Addr
		want  string
	}{
		{"none", nil, "localhost"},
		{"loopback alone", []net.Addr{addr("127.0.0.1/8"), addr("127.0.1.1/8"), addr("::1/128")}, "localhost"},
		{"behind loopback and link-local", []net.Addr{addr("127.0.0.1/8"), addr("fe80::1/64"), addr("169.254.1.1/16"), addr("10.0.0.7/24")}, "10.0.0.7"},
		{"IPv6", []net.Addr{addr("::1/128"), addr("fd00::7/64")}, "fd00::7"},
		{"the first of two", []net.Addr{addr("10.0.0.7/24"), addr("172.17.0.1/16")}, "10.0.0.7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := firstReachable(test.addrs); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestAdvertisedHost: a name or an address that the node listens on is
// advertised as it is. For a wildcard an address of this machine is advertised,
// never the wildcard.
func TestAdvertisedHost(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1", "node-a.test", "10.1.2.3"} {
		if got := advertisedHost(host); got != host {
			t.Errorf("listening on %s: got %s", host, got)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	alone := firstReachable(addrs) == localhost
	for _, host := range []string{"0.0.0.0", "::"} {
		got := advertisedHost(host)
		if ip := net.ParseIP(got); alone != (got == localhost) || !alone && (ip == nil || ip.IsUnspecified() || ip.IsLoopback()) {
			t.Errorf("listening on %s: got %s, this machine has %v", host, got, addrs)
		}
	}
}

// TestServiceURL: what is advertised is what clients are told to use.
func TestServiceURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://node-1:8761":            "http://node-1:8761/eureka/",
		"http://node-1:8761/":           "http://node-1:8761/eureka/",
		"http://node-1:8761/eureka":     "http://node-1:8761/eureka/",
		"http://node-1:8761/eureka/":    "http://node-1:8761/eureka/",
		"https://[::1]:1/behind/eureka": "https://[::1]:1/behind/eureka/",
	} {
		if got := serviceURL(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
