package eureka

// ClusterHeader names the cluster of a node in its answers to batches, where a Java
// server has no such header.
const ClusterHeader = "Registryd-Cluster"

// Action says what a replicated task does. It decides how the receiver applies it.
type Action string

// The actions of Eureka's replication protocol, spelled as on the wire.
const (
	ActionHeartbeat            Action = "Heartbeat"
	ActionRegister             Action = "Register"
	ActionCancel               Action = "Cancel"
	ActionStatusUpdate         Action = "StatusUpdate"
	ActionDeleteStatusOverride Action = "DeleteStatusOverride"
)

// State is the `registryd` member of an item or of a result on NATS: the
// versions of both parts of an instance, and its lease as an age. Java never
// sees it; over HTTP it is an unknown field and refused.
type State struct {
	RecordVersion   int64  // "rv": ms, of the record
	Live            bool   // "live": of the record
	Base            Status // "base": the status accepted from the client
	RecordHash      uint64 // "rh": of the record, written as 16 hexadecimal digits
	OverrideVersion int64  // "ov": ms, of the override
	OverrideSet     bool   // "set": of the override
	OverrideStatus  Status // "os": of the override
	Duration        int64  // "dur": ms, the lease's duration
	Age             int64  // "age": ms since the lease was renewed, when these bytes were made
	Term            int64  // "term": ms, the greatest term that the lease ever had; 0, left out: the record's own
	Keep            int64  // "keep": ms for which it is remembered yet; 0, left out: as age and term say
	Wait            int64  // "wait": ms from the slot's first action to the cut; 0 in a result

	// LastDirty is the lastDirtyTimestamp that a cancel ended: "ldt", written
	// only when the record is dead. A live one travels in the instance.
	LastDirty int64

	// Evicted says that the sender has evicted the entry: "evicted", written only
	// if so, and only in an answer to a sync request of a node that asks for such.
	Evicted bool
}

// Item is one task of a ReplicationList.
type Item struct {
	Action             Action
	AppName            string
	ID                 string
	LastDirtyTimestamp int64  // NoTimestamp: absent
	OverriddenStatus   Status // "": absent. Not checked against the five: the receiver does
	Status             Status // "": absent. Not checked against the five: the receiver does
	InstanceInfo       *InstanceInfo
	State              *State // on NATS only

	// Err says why this item could not be read: set by [DecodeReplicationList]
	// for a list from NATS, where one bad item must not spoil the others. The
	// rest of the item is then as far as it was read. Never written.
	Err error
}

// ReplicationList is a batch, in the order in which it is applied.
type ReplicationList []Item

// Result is what became of one [Item].
type Result struct {
	StatusCode     int
	ResponseEntity *InstanceInfo // our copy, with a 409
	State          *State        // on NATS only, with an entry

	// Err says why this result could not be read: set by
	// [DecodeReplicationListResponse], since a peer's answer is input too. The
	// rest of the result is then as far as it was read. Never written.
	Err error
}

// ReplicationListResponse answers a [ReplicationList]: one result per item, in
// the same order.
type ReplicationListResponse []Result
