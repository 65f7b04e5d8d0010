// Package broker carries bytes between nodes over NATS. It is the only package of the project that knows NATS, and it
// knows nothing of Eureka.
//
//	batcher ──▶ Broker.Request ──▶ registry.<cluster>.peer.<to>.batch.<from> ──▶ Service ──▶ Handler (only enqueues)
//	   ▲                                                                                         │
//	   └──── inbox ◀──── registry.<cluster>.reply.<from>.<token> ◀──── Request.Respond or Fail ◀─┘
//
//	cluster ──▶ Broker.Publish ──▶ registry.<cluster>.presence.<node>, .event.<app> ──▶ Broker.Subscribe
//
//	tail    ◀── Watcher (only subscribes) ◀── every batch and every reply
//
// A Server is a NATS server inside this process. A Broker is one node's connection, either to such a Server, without
// a socket, or to servers given by URL. A broker that can't be reached never stops a start: Start answers, Connected
// says false, requests fail with ErrDisconnected at once, and the connection is tried again for ever. Nothing is
// buffered while it is down, because a batch that nobody acknowledged is sent again by its owner anyway.
//
// # Replies
//
// Request owns one subscription on the node's reply subjects and gives each request a token. The reply has to carry the
// Registry-Version header: a JetStream stream over registry.> acknowledges our requests on the same reply subject, and
// such an acknowledgement is not an answer. It is counted as a foreign reply, and the request goes on waiting.
//
// # What blocks
//
// Connected, MaxPayload and Stats read atomics and never wait. Request waits for its context at the most. Publish does
// not wait for an answer, but writing to a broker that has just stopped reading can hold it for the write time-out of
// two seconds, so it is not for a client's goroutine.
package broker
