package tail

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/registryd/registryd/internal/plain"
)

// The initial widths of the columns of a line for people, in characters. They grow
// with their content, up to maxColumn.
const (
	instanceColumn = 24
	actionColumn   = 12 // StatusUpdate
	resultColumn   = 13 // 404 not found
	durationColumn = 13 // waited 9999ms
	maxColumn      = 64
)

// maxText is how many characters of a name a line for people shows.
const maxText = 160

// maxWait is the longest wait that a line for people shows, in milliseconds. A
// sender's number must not overflow.
const maxWait = 1_000_000_000

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// jsonLine is a line for programs. Every member is always present, except entity and
// error. An unknown value is null.
type jsonLine struct {
	Time     string   `json:"time"` // when the request was seen, UTC
	Batch    string   `json:"batch"`
	From     string   `json:"from"`
	To       string   `json:"to"`
	Position int      `json:"position"` // in the batch, from 1
	Of       int      `json:"of"`
	Action   string   `json:"action"`
	App      string   `json:"app"`
	ID       string   `json:"id"`
	WaitMS   *int64   `json:"wait_ms"` // first action to cut, by the sender's clock
	RTTMS    *float64 `json:"rtt_ms"`  // request seen to reply seen
	Status   *int     `json:"status"`
	Result   string   `json:"result"`
	Entity   string   `json:"entity,omitempty"` // with status 409
	Error    string   `json:"error,omitempty"`  // of the whole batch
	Bytes    int      `json:"bytes"`            // of the whole request
}

// liner renders lines. It is owned by one goroutine.
type liner struct {
	json  bool
	color bool

	route, action, instance, result, place int // widths of columns

	buf bytes.Buffer
	enc *json.Encoder // to buf
}

func newLiner(asJSON, color bool) *liner {
	l := &liner{
		json: asJSON, color: color,
		action: actionColumn, instance: instanceColumn, result: resultColumn,
	}
	l.enc = json.NewEncoder(&l.buf)
	l.enc.SetEscapeHTML(false)
	return l
}

// render returns the line of the i-th task of b, with its line break. It is valid
// until the next call.
func (l *liner) render(b *batch, i int, o outcome) []byte {
	l.buf.Reset()
	if l.json {
		l.renderJSON(b, i, o)
		return plain.JSON(l.buf.Bytes())
	}
	l.renderText(b, i, o)
	return l.buf.Bytes()
}

func (l *liner) renderJSON(b *batch, i int, o outcome) {
	t := &b.tasks[i]
	v := jsonLine{
		Time:  b.seen.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		Batch: b.id, From: b.from, To: b.to, Position: i + 1, Of: len(b.tasks),
		Action: t.action, App: t.app, ID: t.id,
		Result: o.result, Entity: o.entity, Error: o.detail, Bytes: b.bytes,
	}
	if t.wait >= 0 {
		v.WaitMS = &t.wait
	}
	if o.replied {
		v.RTTMS = new(float64(o.rtt.Microseconds()) / 1000)
	}
	if o.status != 0 {
		v.Status = &o.status
	}
	_ = l.enc.Encode(v) //nolint:errcheck // texts and finite numbers can be encoded, and a buffer takes them
}

func (l *liner) renderText(b *batch, i int, o outcome) {
	t := &b.tasks[i]
	l.buf.WriteString(b.seen.Local().Format("15:04:05.000"))
	l.column(&l.route, "", clean(b.from)+" → "+clean(b.to))
	action := "-"
	if t.action != "" {
		action = clean(t.action)
	}
	l.column(&l.action, "", action)
	l.column(&l.instance, "", clean(t.app)+"/"+clean(t.id))
	l.column(&l.result, resultColor(o.result), resultText(o))
	l.column(&l.place, faint, "batch "+shortID(b.id)+" "+strconv.Itoa(i+1)+"/"+strconv.Itoa(len(b.tasks)))
	duration := durationColumn
	l.column(&duration, "", "waited "+shortDuration(t.wait >= 0, time.Duration(min(t.wait, maxWait))*time.Millisecond))
	rtt := "rtt " + shortDuration(o.replied, o.rtt)
	note := noteText(o)
	if note == "" {
		l.column(nil, "", rtt)
	} else {
		duration -= len("waited ") - len("rtt ")
		l.column(&duration, "", rtt)
		l.column(nil, "", note)
	}
	l.buf.WriteByte('\n')
}

// column appends a column and pads it to its width, which grows with what it
// holds. A nil width is that of the last column.
func (l *liner) column(width *int, color, text string) {
	l.buf.WriteString("  ")
	if l.color && color != "" {
		l.buf.WriteString(color)
		l.buf.WriteString(text)
		l.buf.WriteString(reset)
	} else {
		l.buf.WriteString(text)
	}
	if width == nil {
		return
	}
	n := utf8.RuneCountInString(text)
	*width = max(*width, min(n, maxColumn))
	for ; n < *width; n++ {
		l.buf.WriteByte(' ')
	}
}

// resultText is the code and the word, or the word alone if there is no code.
func resultText(o outcome) string {
	word := strings.ReplaceAll(o.result, "_", " ")
	if o.status == 0 {
		return word
	}
	return strconv.Itoa(o.status) + " " + word
}

// resultColor is green for done tasks, yellow for results on which the sender acts
// without loss, and red for the rest.
func resultColor(result string) string {
	switch result {
	case resultOK:
		return green
	case resultNotFound, resultConflict, resultBusy:
		return yellow
	default:
		return red
	}
}

// noteText is the text after the columns, "" for most tasks.
func noteText(o outcome) string {
	switch o.entity {
	case entityInstance:
		return "with the receiver's copy"
	case entityTombstone:
		return "cancelled there"
	case entityNone:
		return "without a copy"
	default:
		return clean(o.detail)
	}
}

// shortID keeps both ends of a batch id: a UUIDv7 begins with the time and ends with
// random bits.
func shortID(id string) string {
	switch {
	case id == "":
		return "-"
	case len(id) <= 9 || !ascii(id):
		return clean(id)
	default:
		return clean(id[:4]) + "…" + clean(id[len(id)-4:])
	}
}

// shortDuration is a duration in at most seven characters up to a day, "-" if
// it is not known.
func shortDuration(known bool, d time.Duration) string {
	switch {
	case !known:
		return "-"
	case d < 10*time.Second && (d%time.Millisecond == 0 || d >= 100*time.Millisecond):
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + "µs"
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + "ms"
	default:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// clean makes foreign text safe for a terminal: one line, bounded.
func clean(s string) string {
	n := 0
	for i := range s {
		if n == maxText {
			return plain.Text(s[:i]) + "…"
		}
		n++
	}
	return plain.Text(s)
}
