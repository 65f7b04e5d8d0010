// Package broker carries bytes between nodes over NATS. It is the only package of the project that knows NATS, and it
// knows nothing of Eureka.
//
//	batcher ──▶ Broker.Request ──▶ registry.<cluster>.peer.<to>.batch.<from> ──▶ Service ──▶ Handler (only enqueues)
//	   ▲                                                                                         │
//	   └──── inbox ◀──── registry.<cluster>.reply.<from>.<token> ◀──── Request.Respond or Fail ◀─┘
//
//	cluster ──▶ Broker.Publish ──▶ registry.<cluster>.presence.<node> ──▶ Broker.Subscribe
//
//	tail    ◀── Watcher (only subscribes) ◀── every batch and every reply
//
// A Server is a NATS server inside this process. A Broker is one node's link, either to such a Server, without a
// socket, or to servers given by URL: a sequence of connections. When one has ended, for whatever reason, the next
// follows, with credentials and certificates read anew, and everything is subscribed again. A broker that can't be
// reached never stops a start: Start returns, Connected is false, and requests fail with ErrDisconnected at once.
// Nothing is buffered meanwhile, because a batch that nobody acknowledged is sent again by its owner anyway. What the
// broker refuses is in Denied.
//
// # Replies
//
// Request owns one subscription on the node's reply subjects and gives each request a token. The reply has to carry the
// Registry-Version header: a JetStream stream over registry.> acknowledges our requests on the same reply subject, and
// such an acknowledgement is not an answer. It is counted as a foreign reply, and the request goes on waiting.
//
// # What blocks
//
// Connected, State, Denied and MaxPayload never wait for the broker. Request waits for its context at the most.
// Publish does not wait for an answer, but writing to a broker that has just stopped reading can hold it for the write
// time-out of two seconds, so it is not for a client's goroutine.
package broker
