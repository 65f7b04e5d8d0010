package eureka

import "strconv"

// What stands around the items of a list and around the results of an answer,
// which are joined by commas. A sender that renders each item once puts its
// batch together from these.
const (
	ReplicationListHead         = `{"replicationList":[`
	ReplicationListTail         = `]}`
	ReplicationListResponseHead = `{"responseList":[`
	ReplicationListResponseTail = `]}`
)

// AppendReplicationList appends the list as JSON. With [Item.State] set it is
// one for NATS: over HTTP a peer refuses it.
func AppendReplicationList(dst []byte, l ReplicationList) []byte {
	dst = append(dst, ReplicationListHead...)
	for n := range l {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = AppendItem(dst, &l[n])
	}
	return append(dst, ReplicationListTail...)
}

// JoinReplicationList appends a list made of items that [AppendItem] made.
func JoinReplicationList(dst []byte, items [][]byte) []byte {
	dst = append(dst, ReplicationListHead...)
	for n, item := range items {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, item...)
	}
	return append(dst, ReplicationListTail...)
}

// AppendItem appends one item as JSON, in the order that Eureka writes. What is
// absent is left out: LastDirtyTimestamp when [NoTimestamp], the others when
// empty or nil.
func AppendItem(dst []byte, it *Item) []byte {
	dst = appendJSONString(append(dst, `{"appName":`...), it.AppName)
	dst = appendJSONString(append(dst, `,"id":`...), it.ID)
	if it.LastDirtyTimestamp != NoTimestamp {
		dst = strconv.AppendInt(append(dst, `,"lastDirtyTimestamp":`...), it.LastDirtyTimestamp, 10)
	}
	if it.OverriddenStatus != "" {
		dst = appendJSONString(append(dst, `,"overriddenStatus":`...), string(it.OverriddenStatus))
	}
	if it.Status != "" {
		dst = appendJSONString(append(dst, `,"status":`...), string(it.Status))
	}
	if it.InstanceInfo != nil {
		dst = appendJSONFull(append(dst, `,"instanceInfo":`...), it.InstanceInfo)
	}
	if it.Action != "" {
		dst = appendJSONString(append(dst, `,"action":`...), string(it.Action))
	}
	if it.State != nil {
		dst = appendState(append(dst, `,"registryd":`...), it.State)
	}
	return append(dst, '}')
}

// AppendReplicationListResponse appends the answer as JSON.
func AppendReplicationListResponse(dst []byte, l ReplicationListResponse) []byte {
	dst = append(dst, ReplicationListResponseHead...)
	for n := range l {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = AppendResult(dst, &l[n])
	}
	return append(dst, ReplicationListResponseTail...)
}

// AppendResult appends one result as JSON.
func AppendResult(dst []byte, r *Result) []byte {
	dst = strconv.AppendInt(append(dst, `{"statusCode":`...), int64(r.StatusCode), 10)
	if r.ResponseEntity != nil {
		dst = appendJSONFull(append(dst, `,"responseEntity":`...), r.ResponseEntity)
	}
	if r.State != nil {
		dst = appendState(append(dst, `,"registryd":`...), r.State)
	}
	return append(dst, '}')
}

func appendState(dst []byte, s *State) []byte {
	dst = strconv.AppendInt(append(dst, `{"rv":`...), s.RecordVersion, 10)
	dst = strconv.AppendBool(append(dst, `,"live":`...), s.Live)
	if s.Base != "" {
		dst = appendJSONWord(append(dst, `,"base":`...), string(wireStatus(s.Base)))
	}
	dst = appendHash(append(dst, `,"rh":"`...), s.RecordHash)
	dst = strconv.AppendInt(append(dst, `","ov":`...), s.OverrideVersion, 10)
	dst = strconv.AppendBool(append(dst, `,"set":`...), s.OverrideSet)
	if s.OverrideStatus != "" {
		dst = appendJSONWord(append(dst, `,"os":`...), string(wireStatus(s.OverrideStatus)))
	}
	dst = strconv.AppendInt(append(dst, `,"dur":`...), s.Duration, 10)
	if s.Term != 0 {
		dst = strconv.AppendInt(append(dst, `,"term":`...), s.Term, 10)
	}
	dst = strconv.AppendInt(append(dst, `,"age":`...), s.Age, 10)
	if s.Keep != 0 {
		dst = strconv.AppendInt(append(dst, `,"keep":`...), s.Keep, 10)
	}
	dst = strconv.AppendInt(append(dst, `,"wait":`...), s.Wait, 10)
	if !s.Live {
		dst = strconv.AppendInt(append(dst, `,"ldt":`...), s.LastDirty, 10)
	}
	if s.Evicted {
		dst = append(dst, `,"evicted":true`...)
	}
	return append(dst, '}')
}

// hashDigits is how many hexadecimal digits a hash is written with.
const hashDigits = 16

// appendHash writes all digits of h.
func appendHash(dst []byte, h uint64) []byte {
	const hex = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hex[h>>shift&0xf])
	}
	return dst
}
