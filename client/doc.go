// Package client is what a Go program needs of a registry: it keeps an instance registered, and
// knows those of others. It works with registryd and with Java Eureka servers.
//
//	Lease ──register · heartbeat · cancel──▶ Client ──HTTP, JSON──▶ first server
//	Cache ──watch, or list and deltas──────▶   │  no connection, time-out, 5xx
//	                                           └───────────────────▶ next server
//
// A [Client] makes single calls. A [Lease] keeps one instance registered for as long as it runs. A
// [Cache] is a copy of what the servers list, which follows their changes. Each has one method Run,
// which blocks until its context ends and leaves nothing behind. Package registrytest starts
// registries for tests.
//
// What they guarantee:
//
//   - Every call goes to the server that answered last, and on failure to two others at most.
//   - A lease registers again when a server does not know it any more, or when its status has
//     changed, and never forgets to: it tries until its context ends. It cancels at the end.
//   - A cache answers from memory, at any time, also while no server can be reached: what it knows
//     stays until a server says otherwise. Its age is in [CacheStats].
//   - A cache that watches a node misses no change: after a stream that broke it goes on behind the
//     last event, or begins with the whole list. A change is there some 20 ms after the node has it.
//   - A cache that polls compares the hash code of each delta with that of its copy, and loads the
//     list if they differ. It is as old as the poll interval at most, while a server answers.
//   - Whoever waits on [Cache.Changed] before reading misses no change.
//
// What they do not: servers may list an instance that is dead, for as long as its lease lasts. So
// try another one where a call fails. And instances of other regions are seen by polling alone.
//
// It speaks Eureka's REST protocol in full JSON and behaves like Netflix's client where a server can
// notice: when it registers, what it sends, and when it turns to the next server.
package client
