package eureka

import "math"

// NoTimestamp stands for a timestamp that was not given. Zero can't: a client
// may send it.
const NoTimestamp int64 = math.MinInt64

// Status is an instance's status. Only the five constants go on the wire:
// Spring's client fails its whole fetch on any other.
type Status string

// The five statuses that Eureka knows.
const (
	StatusUp           Status = "UP"
	StatusDown         Status = "DOWN"
	StatusStarting     Status = "STARTING"
	StatusOutOfService Status = "OUT_OF_SERVICE"
	StatusUnknown      Status = "UNKNOWN"
)

// ParseStatus returns the status spelled exactly s, and whether there is one.
// Eureka's JSON and its status calls are case-sensitive.
func ParseStatus(s string) (Status, bool) {
	switch st := Status(s); st {
	case StatusUp, StatusDown, StatusStarting, StatusOutOfService, StatusUnknown:
		return st, true
	default:
		return StatusUnknown, false
	}
}

// ActionType says what last happened to an instance; a reader of a delta goes by it.
type ActionType string

// The action types of Eureka. Added and Modified mean the same to clients.
const (
	Added    ActionType = "ADDED"
	Modified ActionType = "MODIFIED"
	Deleted  ActionType = "DELETED"
)

// Names of data centres that Eureka knows.
const (
	MyOwn   = "MyOwn"
	Amazon  = "Amazon"
	Netflix = "Netflix"
)

// Defaults that Eureka gives to what a registration leaves out.
const (
	DefaultRenewalInterval = 30 // seconds, LeaseInfo.RenewalIntervalInSecs
	DefaultDuration        = 90 // seconds, LeaseInfo.DurationInSecs
	DefaultPort            = 7001
	DefaultSecurePort      = 7002
	DefaultCountryID       = 1
)

// Port is a port and whether it is in use.
type Port struct {
	Number  int
	Enabled bool
}

// DataCenterInfo says where an instance runs. Metadata is Amazon's, nil for
// any other name.
type DataCenterInfo struct {
	Name     string
	Metadata map[string]string
}

// LeaseInfo is what an instance asks of its lease (the first two, in seconds),
// and what the server tells about it (milliseconds since 1970, 0: never).
type LeaseInfo struct {
	RenewalIntervalInSecs int
	DurationInSecs        int

	RegistrationTimestamp int64
	LastRenewalTimestamp  int64
	EvictionTimestamp     int64
	ServiceUpTimestamp    int64
}

// InstanceInfo is one registered instance, as a client posts it and as readers
// get it. The members that are pointers are left out of an answer when nil; an
// empty text that a client sent stays an empty text.
type InstanceInfo struct {
	InstanceID       *string // nil: the client sent none, see [InstanceInfo.ID]
	HostName         string
	App              string // upper case
	IPAddr           string
	SID              string // "", "na" and "unknown" are not written
	Status           Status // never empty after decoding
	OverriddenStatus Status // never empty after decoding
	Port             Port
	SecurePort       Port
	CountryID        int
	DataCenterInfo   DataCenterInfo
	LeaseInfo        LeaseInfo
	Metadata         map[string]string // nil or empty: written with Eureka's marker

	AppGroupName         *string // upper case
	HomePageURL          *string
	StatusPageURL        *string
	HealthCheckURL       *string
	SecureHealthCheckURL *string
	VIPAddress           *string
	SecureVIPAddress     *string
	ASGName              *string

	// IsCoordinatingDiscoveryServer is true only for a server's own entry.
	IsCoordinatingDiscoveryServer bool

	LastUpdatedTimestamp int64 // ms since 1970, set by the server
	LastDirtyTimestamp   int64 // ms since 1970, set by the client, returned unchanged
	ActionType           ActionType
}

// ID returns the id that the instance is known by: its instanceId, else the
// instance-id of its Amazon data centre, else its host name. Empty texts count
// as absent, as in Eureka.
func (i *InstanceInfo) ID() string {
	if i.InstanceID != nil && *i.InstanceID != "" {
		return *i.InstanceID
	}
	if id := i.DataCenterInfo.Metadata["instance-id"]; i.DataCenterInfo.Name == Amazon && id != "" {
		return id
	}
	return i.HostName
}

// Application is the instances of one application.
type Application struct {
	Name      string
	Instances []*InstanceInfo
}

// Applications is a list answer: all applications, a delta, or those of a vip.
type Applications struct {
	Version      string // versions__delta: "1" for apps, a counter for deltas, "-1" for vips
	HashCode     string // apps__hashcode
	Applications []Application
}
