// Package consumer applies what peers send: a ReplicationList task by task, by
// its action and always with isReplication = true, so that nothing is sent on.
//
//	NATS  registry.<cluster>.peer.<me>.batch.<from>
//	        │ Deliver: only enqueues
//	        ▼
//	      a lane per sender ──▶ each item in turn ──Join──▶ registry
//	        │
//	        └──▶ ReplicationListResponse: a result per task, to the sender
//
//	HTTP  peerreplication/batch/ ──Apply──▶ registry, by Eureka's own rules
//
// There are two ways because the two kinds of peer know different things. A NATS
// peer sends versions, and its items are joined. A Java peer sends its clients'
// actions, and Eureka's rules with isReplication hold. The action decides in both.
package consumer
