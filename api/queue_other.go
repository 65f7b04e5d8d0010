//go:build !unix

package api

import "net"

// acceptQueueEmpty reports whether no connection waits to be accepted, as far as
// can be known: waited says that Accept waited a whole drainStep in vain.
func acceptQueueEmpty(_ net.Listener, waited bool) bool { return waited }
