// Package eureka holds Eureka's data and its formats: [InstanceInfo] and lists
// of them, the [ReplicationList] that peers send each other, and their JSON and
// XML, full and compact.
//
//	HTTP body ──decode──▶ InstanceInfo ──▶ registry
//	registry ──▶ InstanceInfo, Applications ──Append…──▶ HTTP answer
//	cluster ──▶ Item ──Append…──▶ NATS ──decode──▶ Item ──▶ consumer
//
// Everything here is plain data: nothing locks, nothing starts a goroutine, and
// every function may be called from any goroutine. A value that has been handed
// to another package is never changed again; who wants it different copies it.
package eureka
