// Package membership decides who is there, and what this node may do.
//
//	link, presence, results, time ──▶ Members ──▶ events: announce, ask, catch up, open, peer joined, …
//	                                     │
//	                                     ├──▶ Gate: may this node answer reads, take writes, evict?
//	                                     └──▶ Peers, Sources, State, Degraded
//
// The package is pure. It has no clock, goroutine, lock, log or I/O. The caller
// hands in what happened and the [Moment] at which it happened; it gets back the
// events that it has to act on, in order. One goroutine at a time may use a
// [Members]; a [Gate] is a value that any goroutine may keep.
//
// # The caller's duties
//
//  1. Call [Members.Tick] at once, and from then on no later than
//     [Members.Next] says. That is at most a second.
//  2. Call [Members.SetLink] when the connection to the broker comes or goes, and
//     when its trouble changes.
//  3. Hand each presence to [Members.Hear], also this node's own: it shows that
//     the node can speak and hear. Call [Members.Asked] when a node asks who is
//     there.
//  4. On [Announce], publish [Members.Presence]. On [Ask], ask all nodes to
//     announce themselves.
//  5. On [CatchUp], end the catch-up under way, if any, and begin another: pull
//     from [Members.Sources]. Report each page with [Members.Progress] and the end
//     with [Members.Synced], both with the event's Round. The caller does not try
//     again by itself: another CatchUp follows.
//  6. After each call, publish [Members.Gate] to those who ask it.
//  7. On [NameTaken], stop without a goodbye. When stopping for any other reason,
//     call [Members.Leave], and tick no more.
//
// # States
//
//	          ┌───────────────── paused: suspended for over 5 s
//	          ▼                                            ▲
//	       Paused ──synced, 1 s later; or 15 s─────────┐   │
//	                                                   ▼   │
//	Syncing ──synced, or alone; or the start's wait──▶ Ready ──▶ Leaving
//	   │                                               │   ▲
//	   ▼                                               ▼   │
//	name taken: the node ends                       Superseded
//
// A starting node is alone if its connection stood for 250 ms, its own presence
// came back through it, and nobody else's did. With embedded brokers whose routes
// are not up yet it waits for 16 s. A node that is cut off is never alone: it
// stays Syncing, and opens after [Options.StartWait] with what it has. It is
// degraded then, and catches up when it can.
//
// A source that is ready and has synced, and has met no peer lately, knows
// everything, so one such source is enough. Without one, the node waits until it
// would count as alone, and for [Options.Expect] peers, and asks everybody.
//
// # Incarnations
//
// Each start of a node has a UUIDv7, so their order is their age, as far as
// clocks are right. An incarnation does not replace another one that is live. An
// older one must show that it is live: it speaks twice, and not before the newer one
// has been known for 5 s, because a message may be as late. A goodbye counts only for
// the incarnation that said it, and that incarnation stays away. What a node's
// predecessor said last may arrive after the node's start: a name is taken only by a
// node that speaks twice, at least 50 ms apart, and whose clock goes on meanwhile as
// ours does.
package membership
