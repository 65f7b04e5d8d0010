package eureka

import "bytes"

// usual reads lists and answers of our nodes at a glance: most of their items are
// heartbeats and states, written just as AppendItem and AppendResult do it. What else is in
// them, jsonReader reads. What is written otherwise is bad: then jsonReader reads the whole
// again, and knows what is wrong.
type usual struct {
	in     []byte // what is left
	bad    bool
	others jsonReader
}

// usualList reads a list of at most so many items. False: it is written otherwise.
func usualList(body []byte, limit int) (ReplicationList, bool) {
	n := min(len(body)/leastItem+1, usualItems, limit)
	l := make(ReplicationList, 0, n)
	u := usual{in: body}
	u.others.states = make([]State, n)
	ok := u.list(ReplicationListHead, ReplicationListTail, limit, func() {
		l = append(l, Item{LastDirtyTimestamp: NoTimestamp})
		it := &l[len(l)-1]
		if !u.heartbeat(it) {
			u.other(func(r *jsonReader) { r.item(it, true) })
		}
	})
	return l, ok
}

// usualResponse is the same for an answer.
func usualResponse(body []byte, limit int) (ReplicationListResponse, bool) {
	l := make(ReplicationListResponse, 0, min(len(body)/leastResult+1, usualItems, limit))
	u := usual{in: body}
	ok := u.list(ReplicationListResponseHead, ReplicationListResponseTail, limit, func() {
		l = append(l, Result{})
		res := &l[len(l)-1]
		if !u.result(res) {
			u.other(func(r *jsonReader) { r.result(res) })
		}
	})
	return l, ok
}

// list reads a list between head and tail, and calls read for each of its elements, limit
// times at most.
func (u *usual) list(head, tail string, limit int, read func()) bool {
	u.word(head)
	for n := 0; !u.bad && n < limit; n++ {
		read()
		if u.has(tail) {
			return !u.bad && len(u.in) == 0
		}
		u.word(",")
	}
	return false
}

// other reads an object that is written otherwise.
func (u *usual) other(read func(*jsonReader)) {
	if !bytes.HasPrefix(u.in, []byte("{")) {
		u.bad = true
		return
	}
	r := &u.others
	r.begin(u.in)
	r.outside = 2 // the list, and what it is in
	read(r)
	if r.err != nil {
		u.bad = true
		return
	}
	u.in = u.in[r.dec.InputOffset():]
}

// heartbeat reads a heartbeat. False: it is something else, and nothing has been read.
func (u *usual) heartbeat(it *Item) bool {
	before := u.in
	got := Item{Action: ActionHeartbeat, LastDirtyTimestamp: NoTimestamp}
	u.word(`{"appName":"`)
	app := u.text()
	u.word(`,"id":"`)
	id := u.text()
	if u.has(`,"lastDirtyTimestamp":`) {
		got.LastDirtyTimestamp = u.integer()
	}
	if u.has(`,"overriddenStatus":"`) {
		got.OverriddenStatus = u.status()
	}
	if u.has(`,"status":"`) {
		got.Status = u.status()
	}
	u.word(`,"action":"Heartbeat","registryd":`)
	st := u.state()
	u.word(`}`)
	if u.back(before) {
		return false
	}
	got.AppName, got.ID, got.State = Upper(string(app)), string(id), u.others.newState()
	*got.State, *it = st, got
	return true
}

// result reads a result without an instance. False: it is another one, and nothing has been
// read.
func (u *usual) result(res *Result) bool {
	before := u.in
	var got Result
	u.word(`{"statusCode":`)
	code := u.integer()
	if u.has(`,"registryd":`) {
		st := u.state()
		got.State = &st
	}
	u.word(`}`)
	got.StatusCode = int(code)
	u.bad = u.bad || code != int64(int32(code))
	if u.back(before) {
		return false
	}
	*res = got
	return true
}

// back undoes what was read since before, if it was bad, and reports whether it was.
func (u *usual) back(before []byte) bool {
	if !u.bad {
		return false
	}
	u.in, u.bad = before, false
	return true
}

// state reads what appendState writes.
func (u *usual) state() (s State) {
	u.word(`{"rv":`)
	s.RecordVersion = u.integer()
	u.word(`,"live":`)
	s.Live = u.boolean()
	if u.has(`,"base":"`) {
		s.Base = u.status()
	}
	u.word(`,"rh":"`)
	s.RecordHash = u.hash()
	u.word(`","ov":`)
	s.OverrideVersion = u.integer()
	u.word(`,"set":`)
	s.OverrideSet = u.boolean()
	if u.has(`,"os":"`) {
		s.OverrideStatus = u.status()
	}
	u.word(`,"dur":`)
	s.Duration = u.integer()
	if u.has(`,"term":`) {
		s.Term = u.integer()
	}
	u.word(`,"age":`)
	s.Age = u.integer()
	if u.has(`,"keep":`) {
		s.Keep = u.integer()
	}
	u.word(`,"wait":`)
	s.Wait = u.integer()
	if !s.Live {
		u.word(`,"ldt":`)
		s.LastDirty = u.integer()
	}
	s.Evicted = u.has(`,"evicted":true`)
	u.word(`}`)
	return s
}

// has reads what is written so, and reports whether it was.
func (u *usual) has(text string) bool {
	if len(u.in) < len(text) || string(u.in[:len(text)]) != text {
		return false
	}
	u.in = u.in[len(text):]
	return true
}

func (u *usual) word(text string) {
	if !u.has(text) {
		u.bad, u.in = true, nil
	}
}

// text reads up to a quote, and the quote: ASCII without escapes.
func (u *usual) text() []byte {
	for n, c := range u.in {
		if c < ' ' || c == '"' || c == '\\' || c > '~' {
			text := u.in[:n]
			u.in = u.in[n:]
			u.word(`"`)
			return text
		}
	}
	u.bad = true
	return nil
}

func (u *usual) status() Status {
	text := u.text()
	s := statusOf(text)
	u.bad = u.bad || string(s) != string(text)
	return s
}

func (u *usual) boolean() bool {
	if u.has("true") {
		return true
	}
	u.word("false")
	return false
}

// integer reads a number that can't be out of range.
func (u *usual) integer() int64 {
	const digits = 18
	minus := u.has("-")
	var v int64
	n := 0
	for n < len(u.in) && n <= digits && '0' <= u.in[n] && u.in[n] <= '9' {
		v = 10*v + int64(u.in[n]-'0')
		n++
	}
	if n == 0 || n > digits || n > 1 && u.in[0] == '0' {
		u.bad = true
		return 0
	}
	u.in = u.in[n:]
	if minus {
		return -v
	}
	return v
}

func (u *usual) hash() (h uint64) {
	if len(u.in) < hashDigits {
		u.bad = true
		return 0
	}
	for _, c := range u.in[:hashDigits] {
		switch {
		case '0' <= c && c <= '9':
			h = h<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			h = h<<4 | uint64(c-'a'+10)
		default:
			u.bad = true
		}
	}
	u.in = u.in[hashDigits:]
	return h
}
