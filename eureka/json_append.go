package eureka

import (
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// What Eureka's JSON says in the language of its classes.
const (
	classMyOwn    = "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"
	classAmazon   = "com.netflix.appinfo.AmazonInfo"
	classEmptyMap = "java.util.Collections$EmptyMap"
	classKey      = "@class"
)

// amazonID is the key of Amazon's metadata that names the instance.
const amazonID = "instance-id"

// compactAmazonKey reports whether the compact forms keep the key of Amazon's
// metadata.
func compactAmazonKey(key string) bool {
	switch key {
	case amazonID, "public-ipv4", "public-hostname", "local-ipv4", "availability-zone":
		return true
	default:
		return false
	}
}

// sentSID reports whether a sid is written: Eureka leaves its default out.
func sentSID(sid string) bool { return sid != "" && sid != "na" && sid != "unknown" }

func appendJSONFull(dst []byte, i *InstanceInfo) []byte {
	dst = append(dst, '{')
	if i.InstanceID != nil {
		dst = append(appendJSONString(append(dst, `"instanceId":`...), *i.InstanceID), ',')
	}
	dst = appendJSONString(append(dst, `"hostName":`...), i.HostName)
	dst = appendJSONString(append(dst, `,"app":`...), i.App)
	dst = appendJSONString(append(dst, `,"ipAddr":`...), i.IPAddr)
	if sentSID(i.SID) {
		dst = appendJSONString(append(dst, `,"sid":`...), i.SID)
	}
	dst = appendJSONWord(append(dst, `,"status":`...), string(wireStatus(i.Status)))
	dst = appendJSONWord(append(dst, `,"overriddenStatus":`...), string(wireStatus(i.OverriddenStatus)))
	dst = appendJSONPort(append(dst, `,"port":`...), i.Port)
	dst = appendJSONPort(append(dst, `,"securePort":`...), i.SecurePort)
	dst = strconv.AppendInt(append(dst, `,"countryId":`...), int64(i.CountryID), 10)
	dst = appendJSONDataCenter(append(dst, `,"dataCenterInfo":`...), &i.DataCenterInfo, false)
	dst = appendJSONLease(append(dst, `,"leaseInfo":`...), &i.LeaseInfo)
	dst = append(dst, `,"metadata":`...)
	if len(i.Metadata) == 0 {
		dst = append(dst, `{"@class":"`+classEmptyMap+`"}`...)
	} else {
		dst = appendJSONMap(dst, i.Metadata, nil)
	}
	dst = appendJSONOptional(dst, `,"appGroupName":`, i.AppGroupName)
	dst = appendJSONOptional(dst, `,"homePageUrl":`, i.HomePageURL)
	dst = appendJSONOptional(dst, `,"statusPageUrl":`, i.StatusPageURL)
	dst = appendJSONOptional(dst, `,"healthCheckUrl":`, i.HealthCheckURL)
	dst = appendJSONOptional(dst, `,"secureHealthCheckUrl":`, i.SecureHealthCheckURL)
	dst = appendJSONOptional(dst, `,"vipAddress":`, i.VIPAddress)
	dst = appendJSONOptional(dst, `,"secureVipAddress":`, i.SecureVIPAddress)
	dst = appendJSONBoolText(append(dst, `,"isCoordinatingDiscoveryServer":`...), i.IsCoordinatingDiscoveryServer)
	dst = appendJSONIntText(append(dst, `,"lastUpdatedTimestamp":`...), i.LastUpdatedTimestamp)
	if i.LastDirtyTimestamp != NoTimestamp {
		dst = appendJSONIntText(append(dst, `,"lastDirtyTimestamp":`...), i.LastDirtyTimestamp)
	}
	if i.ActionType != "" {
		dst = appendJSONString(append(dst, `,"actionType":`...), string(i.ActionType))
	}
	dst = appendJSONOptional(dst, `,"asgName":`, i.ASGName)
	return append(dst, '}')
}

func appendJSONCompact(dst []byte, i *InstanceInfo) []byte {
	dst = append(dst, '{')
	if i.InstanceID != nil {
		dst = append(appendJSONString(append(dst, `"instanceId":`...), *i.InstanceID), ',')
	}
	dst = appendJSONString(append(dst, `"app":`...), i.App)
	dst = appendJSONString(append(dst, `,"ipAddr":`...), i.IPAddr)
	dst = appendJSONOptional(dst, `,"vipAddress":`, i.VIPAddress)
	dst = appendJSONOptional(dst, `,"secureVipAddress":`, i.SecureVIPAddress)
	dst = appendJSONDataCenter(append(dst, `,"dataCenterInfo":`...), &i.DataCenterInfo, true)
	dst = appendJSONString(append(dst, `,"hostName":`...), i.HostName)
	dst = appendJSONWord(append(dst, `,"status":`...), string(wireStatus(i.Status)))
	dst = strconv.AppendInt(append(dst, `,"lastUpdatedTimestamp":`...), i.LastUpdatedTimestamp, 10)
	if i.ActionType != "" {
		dst = appendJSONString(append(dst, `,"actionType":`...), string(i.ActionType))
	}
	dst = appendJSONOptional(dst, `,"asgName":`, i.ASGName)
	dst = appendJSONPort(append(dst, `,"port":`...), i.Port)
	dst = appendJSONPort(append(dst, `,"securePort":`...), i.SecurePort)
	return append(dst, '}')
}

func appendJSONPort(dst []byte, p Port) []byte {
	dst = strconv.AppendInt(append(dst, `{"$":`...), int64(p.Number), 10)
	dst = appendJSONBoolText(append(dst, `,"@enabled":`...), p.Enabled)
	return append(dst, '}')
}

func appendJSONDataCenter(dst []byte, d *DataCenterInfo, compact bool) []byte {
	if d.Name != Amazon {
		dst = appendJSONString(append(dst, `{"@class":"`+classMyOwn+`","name":`...), d.Name)
		return append(dst, '}')
	}
	dst = append(dst, `{"@class":"`+classAmazon+`","name":"`+Amazon+`","metadata":`...)
	if compact {
		dst = appendJSONMap(dst, d.Metadata, compactAmazonKey)
	} else {
		dst = appendJSONMap(dst, d.Metadata, nil)
	}
	return append(dst, '}')
}

func appendJSONLease(dst []byte, l *LeaseInfo) []byte {
	dst = strconv.AppendInt(append(dst, `{"renewalIntervalInSecs":`...), int64(l.RenewalIntervalInSecs), 10)
	dst = strconv.AppendInt(append(dst, `,"durationInSecs":`...), int64(l.DurationInSecs), 10)
	dst = strconv.AppendInt(append(dst, `,"registrationTimestamp":`...), l.RegistrationTimestamp, 10)
	dst = strconv.AppendInt(append(dst, `,"lastRenewalTimestamp":`...), l.LastRenewalTimestamp, 10)
	dst = strconv.AppendInt(append(dst, `,"evictionTimestamp":`...), l.EvictionTimestamp, 10)
	dst = strconv.AppendInt(append(dst, `,"serviceUpTimestamp":`...), l.ServiceUpTimestamp, 10)
	return append(dst, '}')
}

// appendJSONMap writes the entries of m whose keys pass keep, sorted by key.
func appendJSONMap(dst []byte, m map[string]string, keep func(string) bool) []byte {
	var room [24]string
	dst = append(dst, '{')
	for n, key := range sortedKeys(room[:0], m, keep) {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(dst, key), ':')
		dst = appendJSONString(dst, m[key])
	}
	return append(dst, '}')
}

// sortedKeys appends the keys of m that pass keep (nil: all) to the empty keys,
// sorted. It allocates only when keys has too little room.
func sortedKeys(keys []string, m map[string]string, keep func(string) bool) []string {
	for key := range m {
		if keep == nil || keep(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// appendJSONOptional writes a member, label included, unless the text is nil.
func appendJSONOptional(dst []byte, label string, s *string) []byte {
	if s == nil {
		return dst
	}
	return appendJSONString(append(dst, label...), *s)
}

func appendJSONBoolText(dst []byte, b bool) []byte {
	if b {
		return append(dst, `"true"`...)
	}
	return append(dst, `"false"`...)
}

func appendJSONIntText(dst []byte, n int64) []byte {
	return append(strconv.AppendInt(append(dst, '"'), n, 10), '"')
}

// appendJSONWord quotes a word that needs no escape.
func appendJSONWord(dst []byte, s string) []byte {
	return append(append(append(dst, '"'), s...), '"')
}

// appendJSONString quotes s. Bytes that are not UTF-8 become U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) //nolint:errcheck // Only of such bytes, which are replaced all the same.
	return dst
}
