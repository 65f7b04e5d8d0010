package eureka

// usual reads heartbeats and states at a glance, if they are written just as AppendItem
// does it, members in that order, texts without escapes. What is written otherwise is bad:
// then plainJSON reads it, member by member.
type usual struct {
	in  []byte // what is left
	bad bool
}

// usualHeartbeat reads a heartbeat of a node of ours. False: it is something else, and
// nothing has been read.
func (r *jsonReader) usualHeartbeat(it *Item) bool {
	u := usual{in: r.plain.in[r.plain.at:]}
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
	if !r.took(&u) {
		return false
	}
	got.AppName, got.ID, got.State = Upper(string(app)), string(id), r.newState()
	*got.State, *it = st, got
	return true
}

// usualState is the same for a state.
func (r *jsonReader) usualState() *State {
	u := usual{in: r.plain.in[r.plain.at:]}
	st := u.state()
	if !r.took(&u) {
		return nil
	}
	s := r.newState()
	*s = st
	return s
}

// took goes on behind what u has read, unless that was bad.
func (r *jsonReader) took(u *usual) bool {
	if u.bad {
		return false
	}
	r.plain.at = len(r.plain.in) - len(u.in)
	if !r.plain.separator() {
		r.fail(errNotPlain)
	}
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

// text reads up to a quote, and the quote.
func (u *usual) text() []byte {
	for n, c := range u.in {
		if !simple[c] {
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
