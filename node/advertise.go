package node

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// localhost is advertised by a node without another address. To every other machine
// it means that machine itself.
const localhost = "localhost"

// advertisedHost returns the host under which others reach a node that listens on
// host. For a wildcard that is the address from which this machine would send to
// others, else its first one that is not loopback, else localhost. It is an
// address and no name, since a name may mean nothing elsewhere.
func advertisedHost(host string) string {
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
		return host
	}
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // reserved for documentation; nothing is sent
		conn, err := net.Dial("udp", far) //nolint:noctx // It only asks for a route.
		if err != nil {
			continue
		}
		at := conn.LocalAddr()
		_ = conn.Close() //nolint:errcheck // Nothing was sent.
		if addr, ok := at.(*net.UDPAddr); ok && reachable(addr.AddrPort().Addr()) {
			return addr.IP.String()
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return localhost
	}
	return firstReachable(addrs)
}

// firstReachable returns the first address that others may reach, else localhost.
func firstReachable(addrs []net.Addr) string {
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && reachable(prefix.Addr()) {
			return prefix.Addr().Unmap().String()
		}
	}
	return localhost
}

// reachable reports whether an address may mean this machine elsewhere too.
func reachable(ip netip.Addr) bool { return ip.IsGlobalUnicast() && !ip.IsLoopback() }

// serviceURL completes the address that is advertised to the URL which clients are told to use:
// they append paths to it. It was checked before.
func serviceURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	switch {
	case u.Path == "" || u.Path == "/":
		u.Path = "/eureka/"
	case !strings.HasSuffix(u.Path, "/"):
		u.Path += "/"
	}
	return u.String()
}
