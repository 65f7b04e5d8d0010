package eureka

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// DefaultMaxItems is how many items a list may hold, and results an answer:
// forty of Eureka's batches.
const DefaultMaxItems = 10_000

// Where a list begins to be read: the sizes of the smallest items and results of a node of
// ours, in bytes, and how many items a batch has.
const (
	leastItem   = 200
	leastResult = len(`{"statusCode":200},`)
	usualItems  = 250
)

// ErrNoReplicationList is returned for a document that has no list, as {}.
// Eureka answers 500 for it over HTTP, and 400 for what it can't read.
var ErrNoReplicationList = errors.New("replicationList is missing")

// ErrTooManyItems is wrapped in the error for a list or an answer longer than
// its bound.
var ErrTooManyItems = errors.New("too many items")

// Why one item or result can't be read.
var (
	errUnknownMember = errors.New("unknown member")
	errUnknownAction = errors.New("unknown action")
	errStatus        = errors.New("not one of the five statuses")
	errHash          = fmt.Errorf("not %d hexadecimal digits", hashDigits)
	errNotBool       = errors.New("not a boolean")
	errNotNumber     = errors.New("not a number as JSON has it")
)

// ListOptions says how a [ReplicationList] is read. The zero value is the door
// of Java: strict, as Eureka is.
type ListOptions struct {
	// NATS says that the list came from a node of ours. Then an item may have
	// the member registryd, which becomes [Item.State], and what is wrong with
	// one item goes to its [Item.Err] while the others are read. Members
	// other than the list, and unknown ones in registryd, are ignored.
	//
	// Else any unknown member, registryd too, and any unknown action fails the
	// list.
	NATS bool

	// MaxItems bounds the list. 0: DefaultMaxItems.
	MaxItems int
}

// DecodeReplicationList reads a list from JSON. Item.AppName is upper-cased; a
// missing or null action stays empty, the receiver answers for it (Eureka: 500
// for the item). The error is a [DecodeError] or [ErrNoReplicationList].
func DecodeReplicationList(body []byte, o ListOptions) (ReplicationList, error) {
	if o.MaxItems <= 0 {
		o.MaxItems = DefaultMaxItems
	}
	if o.NATS {
		if l, ok := usualList(body, o.MaxItems); ok {
			return l, nil
		}
	}
	return anyList(body, o)
}

func anyList(body []byte, o ListOptions) (ReplicationList, error) {
	r := newJSONReader(body)
	var l ReplicationList
	found := false
	r.mustBeObject()
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			break
		}
		switch {
		case string(key) != "replicationList" && o.NATS:
			r.skip()
		case string(key) != "replicationList":
			r.fail(errUnknownMember)
		case r.kind() == jsontext.KindNull:
			r.token()
			found = false
		default:
			n := min(len(body)/leastItem+1, usualItems, o.MaxItems)
			found, l = true, make(ReplicationList, 0, n)
			if o.NATS {
				r.states = make([]State, n)
			}
			r.each(o.MaxItems, func() {
				l = append(l, Item{LastDirtyTimestamp: NoTimestamp})
				it := &l[len(l)-1]
				it.Err = r.apart(o.NATS, func() { r.item(it, o.NATS) })
			})
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoReplicationList
	}
	return l, nil
}

// DecodeReplicationListResponse reads an answer from JSON, of a Java peer or of
// a node of ours. Unknown members are ignored. What is wrong with one result
// goes to its [Result.Err]. maxItems bounds the answer, 0: DefaultMaxItems. The
// error is a [DecodeError].
//
// The caller compares the length with that of its list: Eureka ignores an
// answer that is longer or shorter.
func DecodeReplicationListResponse(body []byte, maxItems int) (ReplicationListResponse, error) {
	if maxItems <= 0 {
		maxItems = DefaultMaxItems
	}
	if l, ok := usualResponse(body, maxItems); ok {
		return l, nil
	}
	return anyResponse(body, maxItems)
}

func anyResponse(body []byte, maxItems int) (ReplicationListResponse, error) {
	r := newJSONReader(body)
	var l ReplicationListResponse
	found := false
	r.mustBeObject()
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			break
		}
		if string(key) != "responseList" {
			r.skip()
			continue
		}
		found, l = true, make(ReplicationListResponse, 0, min(len(body)/leastResult+1, usualItems, maxItems))
		r.each(maxItems, func() {
			l = append(l, Result{})
			res := &l[len(l)-1]
			res.Err = r.apart(true, func() { r.result(res) })
		})
	}
	if !found {
		r.fail(errors.New("responseList is missing"))
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return l, nil
}

// mustBeObject fails unless an object follows.
func (r *jsonReader) mustBeObject() {
	switch r.kind() {
	case jsontext.KindBeginObject:
	case jsontext.KindInvalid:
		r.token()
	default:
		r.fail(errNotObject)
	}
}

// each calls read for each element of an array, at most limit times.
func (r *jsonReader) each(limit int, read func()) {
	switch r.kind() {
	case jsontext.KindBeginArray, jsontext.KindInvalid:
		r.open()
	default:
		r.fail(errNotList)
	}
	for n := 0; r.err == nil && r.kind() != jsontext.KindEndArray; n++ {
		if n >= limit {
			r.fail(fmt.Errorf("%w: more than %d", ErrTooManyItems, limit))
			return
		}
		read()
	}
	r.token()
}

// apart calls read for an element that is an object. If it may fail alone, what
// is wrong with it is returned, the rest of it skipped, and the reader goes on;
// else, and when the tokenizer fails, the failure stays.
func (r *jsonReader) apart(alone bool, read func()) error {
	depth := r.dec.StackDepth()
	switch r.kind() {
	case jsontext.KindBeginObject:
		read()
	case jsontext.KindInvalid:
		r.token()
	default:
		r.skip()
		r.fail(errNotObject)
	}
	if r.err == nil || r.fatal || !alone {
		return nil
	}
	err := r.err
	r.err = nil
	for r.err == nil && r.dec.StackDepth() > depth {
		r.token()
	}
	return err
}

// item reads an item.
func (r *jsonReader) item(it *Item, nats bool) {
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			return
		}
		switch string(key) {
		case "appName":
			it.AppName = Upper(r.string())
		case "id":
			it.ID = r.string()
		case "lastDirtyTimestamp":
			it.LastDirtyTimestamp = r.integer(NoTimestamp)
		case "overriddenStatus":
			it.OverriddenStatus = Status(r.string())
		case "status":
			it.Status = Status(r.string())
		case "instanceInfo":
			it.InstanceInfo = r.instance(true)
		case "action":
			it.Action = r.action()
		case "registryd":
			if !nats {
				r.fail(errUnknownMember)
				return
			}
			it.State = r.state()
		default:
			r.fail(errUnknownMember)
			return
		}
	}
}

// action reads an action; null is none.
func (r *jsonReader) action() Action {
	v, ok := r.scalar()
	if !ok {
		return ""
	}
	for _, a := range [...]Action{
		ActionHeartbeat, ActionRegister, ActionCancel, ActionStatusUpdate, ActionDeleteStatusOverride,
	} {
		if string(v) == string(a) {
			return a
		}
	}
	r.fail(errUnknownAction)
	return ""
}

// result reads a result.
func (r *jsonReader) result(res *Result) {
	answered := false
	for ok := r.object(); ok; {
		var key []byte
		if r.err == nil && r.kind() == jsontext.KindEndObject && !answered {
			r.fail(errors.New("statusCode is missing"))
			return
		}
		if key, ok = r.member(); !ok {
			return
		}
		switch string(key) {
		case "statusCode":
			res.StatusCode, answered = r.small(0), true
		case "responseEntity":
			res.ResponseEntity = r.instance(true)
		case "registryd":
			res.State = r.state()
		default:
			r.skip()
		}
	}
}

// state reads the member registryd; null is nil. All its members must be there
// but "base", "os", "term", "keep", "wait" and "evicted", and "ldt" where the record is dead.
// Unknown ones are ignored.
func (r *jsonReader) state() *State {
	if !r.object() {
		return nil
	}
	s := r.newState()
	var rv, live, rh, ov, set, dur, age, ldt bool
	for r.kind() != jsontext.KindEndObject {
		key, ok := r.member()
		if !ok {
			return nil
		}
		switch string(key) {
		case "rv":
			s.RecordVersion, rv = r.number(), true
		case "live":
			s.Live, live = r.boolean(), true
		case "base":
			s.Base = r.fiveStatus()
		case "rh":
			s.RecordHash, rh = r.hash(), true
		case "ov":
			s.OverrideVersion, ov = r.number(), true
		case "set":
			s.OverrideSet, set = r.boolean(), true
		case "os":
			s.OverrideStatus = r.fiveStatus()
		case "dur":
			s.Duration, dur = r.number(), true
		case "age":
			s.Age, age = r.number(), true
		case "term":
			s.Term = r.number()
		case "keep":
			s.Keep = r.number()
		case "wait":
			s.Wait = r.number()
		case "ldt":
			s.LastDirty, ldt = r.number(), true
		case "evicted":
			s.Evicted = r.boolean()
		default:
			r.skip()
		}
	}
	for _, m := range [...]struct {
		name string
		ok   bool
	}{
		{"rv", rv},
		{"live", live},
		{"rh", rh},
		{"ov", ov},
		{"set", set},
		{"dur", dur},
		{"age", age},
		{"ldt", ldt || s.Live},
	} {
		if !m.ok {
			r.fail(fmt.Errorf("%s is missing", m.name))
			return nil
		}
	}
	r.token()
	if s.Live {
		s.LastDirty = 0
	}
	return s
}

// newState returns an empty state, of those that were made together.
func (r *jsonReader) newState() *State {
	if len(r.states) == 0 {
		return new(State)
	}
	s := &r.states[0]
	r.states = r.states[1:]
	return s
}

// number reads an integer that is written as one.
func (r *jsonReader) number() int64 {
	n, err := strconv.ParseInt(string(r.raw()), 10, 64)
	switch {
	case r.err != nil || err == nil:
	case errors.Is(err, strconv.ErrRange):
		r.fail(errRange)
	default:
		r.fail(errNotNumber)
	}
	return n
}

// boolean reads true or false.
func (r *jsonReader) boolean() bool {
	switch k := r.kind(); k {
	case jsontext.KindTrue, jsontext.KindFalse, jsontext.KindInvalid:
		r.token()
		return k == jsontext.KindTrue
	default:
		r.fail(errNotBool)
		return false
	}
}

// fiveStatus reads one of the five statuses.
func (r *jsonReader) fiveStatus() Status {
	v, _ := r.scalar()
	s := statusOf(v)
	if string(s) != string(v) {
		r.fail(errStatus)
	}
	return s
}

// hash reads what appendHash wrote.
func (r *jsonReader) hash() uint64 {
	v, _ := r.scalar()
	if len(v) != hashDigits {
		r.fail(errHash)
		return 0
	}
	var h [hashDigits / 2]byte
	if _, err := hex.Decode(h[:], v); err != nil {
		r.fail(errHash)
		return 0
	}
	return binary.BigEndian.Uint64(h[:])
}
