package registry

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Bounds of what is taken of a lease from a peer or a snapshot. All sums of them
// fit into a time.Duration, which holds 292 years.
const (
	// maxDuration is the longest duration that a client can register: 68 years.
	maxDuration = math.MaxInt32 * time.Second
	// maxAge is the age at which the longest lease is retired: 136 years. A
	// greater one says no more, and travels as this.
	maxAge = 2*maxDuration + retirement + time.Millisecond
)

// State returns the `registryd` member that carries e on NATS. wait is how long
// the task waited for its batch.
func (e *Entry) State(wait time.Duration) *eureka.State {
	return &eureka.State{
		Term: e.Longest.Milliseconds(), Keep: e.Keep.Milliseconds(), Evicted: e.Evicted,
		RecordVersion: e.Record.Version, Live: e.Record.Live, Base: e.Record.Base, RecordHash: e.Record.Hash,
		LastDirty:       e.Record.LastDirty,
		OverrideVersion: e.Override.Version, OverrideSet: e.Override.Set, OverrideStatus: e.Override.Status,
		Duration: e.Record.Duration.Milliseconds(), Age: e.Age.Milliseconds(), Wait: wait.Milliseconds(),
	}
}

// Item returns e whole, as it travels on NATS and stands in a snapshot: a
// Register, or the Cancel of a tombstone.
func (e *Entry) Item(key Key, wait time.Duration) eureka.Item {
	item := eureka.Item{
		Action: eureka.ActionRegister, AppName: key.App, ID: key.ID, LastDirtyTimestamp: e.Record.LastDirty,
		Status: Visible(&e.Record, &e.Override), InstanceInfo: e.Record.Info, State: e.State(wait),
	}
	if !e.Record.Live {
		item.Action, item.LastDirtyTimestamp = eureka.ActionCancel, eureka.NoTimestamp
		item.Status, item.InstanceInfo = "", nil
	}
	return item
}

// FromState returns the entry that st and, where the record came with its
// content, info carry. Its errors name the member and what is wrong with it; a
// record whose content does not have the hash that it claims is refused, since
// two nodes could never agree on it.
func FromState(st *eureka.State, info *eureka.InstanceInfo) (Entry, error) {
	for _, b := range [...]struct {
		name  string
		n     int64
		bound time.Duration
	}{
		{"age", st.Age, maxAge},
		{"dur", st.Duration, maxDuration},
		{"term", st.Term, maxDuration},
		{"keep", st.Keep, maxAge},
	} {
		if b.n < 0 || b.n > b.bound.Milliseconds() {
			return Entry{}, fmt.Errorf("registryd.%s: %d is not in 0..%d", b.name, b.n, b.bound.Milliseconds())
		}
	}
	if st.RecordVersion <= 0 || st.OverrideVersion < 0 {
		return Entry{}, fmt.Errorf("registryd: versions rv %d, ov %d: not above 0",
			st.RecordVersion, st.OverrideVersion)
	}
	base, ok := eureka.ParseStatus(string(st.Base))
	if !ok {
		return Entry{}, fmt.Errorf("registryd.base: %.40q is no status", st.Base)
	}
	_, ok = eureka.ParseStatus(string(st.OverrideStatus))
	if !ok && (st.OverrideStatus != "" || st.OverrideVersion != 0) {
		return Entry{}, fmt.Errorf("registryd.os: %.40q is no status", st.OverrideStatus)
	}
	e := Entry{
		Record: Record{
			Version: st.RecordVersion, Live: st.Live, Base: base, Hash: st.RecordHash, LastDirty: st.LastDirty,
			Duration: time.Duration(st.Duration) * time.Millisecond,
		},
		Override: Override{Version: st.OverrideVersion, Set: st.OverrideSet, Status: st.OverrideStatus},
		Age:      time.Duration(st.Age) * time.Millisecond,
		Longest:  time.Duration(st.Term) * time.Millisecond,
		Keep:     time.Duration(st.Keep) * time.Millisecond,
		Evicted:  st.Evicted,
	}
	if st.Live {
		if info == nil {
			return e, nil // versions alone
		}
		if info.LastDirtyTimestamp == eureka.NoTimestamp {
			return Entry{}, fmt.Errorf("instanceInfo.lastDirtyTimestamp: missing")
		}
		e.Record.Info = info // nobody changes it any more
		e.Record.LastDirty = info.LastDirtyTimestamp
		e.Record.Duration = leaseDuration(info)
	}
	if got := HashRecord(&e.Record); got != st.RecordHash {
		return Entry{}, fmt.Errorf("registryd.rh: %016x, but the content has %016x", st.RecordHash, got)
	}
	return e, nil
}

var (
	errNoID       = errors.New("id: missing")
	errNoApp      = errors.New("appName: missing")
	errNoState    = errors.New("registryd: missing")
	errNoInstance = errors.New("instanceInfo: missing")
)

// FromItem returns the entry that an item on NATS carries, and which of its
// parts come with their content: the action says so. Its errors name the member.
func FromItem(item *eureka.Item) (Entry, Bits, error) {
	switch {
	case item.Err != nil:
		return Entry{}, 0, item.Err
	case item.AppName == "":
		return Entry{}, 0, errNoApp
	case item.ID == "":
		return Entry{}, 0, errNoID
	case item.State == nil:
		return Entry{}, 0, errNoState
	}
	var carried Bits
	var info *eureka.InstanceInfo
	switch st := item.State; item.Action {
	case eureka.ActionRegister:
		info, carried = item.InstanceInfo, Registered|Overridden
		switch {
		case info == nil:
			return Entry{}, 0, errNoInstance
		case !st.Live:
			return Entry{}, 0, fmt.Errorf("registryd.live: false in a %s", item.Action)
		case NewKey(info.App, info.ID()) != NewKey(item.AppName, item.ID):
			return Entry{}, 0, fmt.Errorf("instanceInfo: is %.200s", NewKey(info.App, info.ID()))
		}
	case eureka.ActionCancel:
		carried = Registered | Overridden
		if st.Live {
			return Entry{}, 0, fmt.Errorf("registryd.live: true in a %s", item.Action)
		}
	case eureka.ActionStatusUpdate, eureka.ActionDeleteStatusOverride:
		carried = Overridden
		if set := item.Action == eureka.ActionStatusUpdate; st.OverrideSet != set || st.OverrideVersion == 0 {
			return Entry{}, 0, fmt.Errorf("registryd.set: %t, ov %d in a %s",
				st.OverrideSet, st.OverrideVersion, item.Action)
		}
	case eureka.ActionHeartbeat:
	default:
		return Entry{}, 0, fmt.Errorf("action: %.40q is unknown", item.Action)
	}
	e, err := FromState(item.State, info)
	return e, carried, err
}
