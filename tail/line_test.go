package tail

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/registryd/registryd/eureka"
)

func TestText(t *testing.T) {
	seen := time.Date(2026, 3, 4, 18, 4, 5, 123_000_000, time.Local)
	req := request("r",
		item(eureka.ActionRegister, "demo-17", 502),
		item(eureka.ActionHeartbeat, "demo-18", 12_300))
	req.Time, req.Batch = seen, "019a8f00-1111-7222-8333-44445555c3f2"
	rep := reply("r", 200, 404)
	rep.Time = seen.Add(1300 * time.Microsecond)
	lost := request("lost", item(eureka.ActionCancel, "demo-19", 0))
	lost.Time, lost.Batch = seen, ""
	lost.Body = []byte(`{"replicationList":[{"appName":"DEMO","id":"demo-19"}]}`)
	full := request("full", item(eureka.ActionStatusUpdate, "demo-20", 99))
	full.Time = seen
	busy := Message{Kind: Reply, Subject: "full", ErrorCode: "503", Error: "queue is full", Time: seen}

	out, _ := runText(t, Options{}, req, rep, full, busy, lost)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	want := [][]string{
		{"18:04:05.123", "node-1 → node-2", "Register", "DEMO/demo-17", "200 ok", "batch 019a…c3f2 1/2", "waited 502ms", "rtt 1.3ms"},
		{"18:04:05.123", "node-1 → node-2", "Heartbeat", "DEMO/demo-18", "404 not found", "batch 019a…c3f2 2/2", "waited 12.3s", "rtt 1.3ms"},
		{"18:04:05.123", "node-1 → node-2", "StatusUpdate", "DEMO/demo-20", "503 busy", "batch batc…full 1/1", "waited 99ms", "rtt 0ms", "queue is full"},
		{"18:04:05.123", "node-1 → node-2", "-", "DEMO/demo-19", "unanswered", "batch - 1/1", "waited -", "rtt -"},
	}
	if len(lines) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%s", len(lines), len(want), out)
	}
	var starts []int
	for i, text := range lines {
		got := columns(text)
		if !slices.Equal(got, want[i]) {
			t.Errorf("line %d: got %q, want %q", i+1, got, want[i])
		}
		at := make([]int, 0, len(got))
		for _, column := range got[:8] {
			at = append(at, utf8.RuneCountInString(text[:strings.Index(text, column)]))
		}
		if i == 0 {
			starts = at
		}
		// A lone "-" is found in other columns too.
		if i < 3 && !slices.Equal(at, starts) {
			t.Errorf("line %d: columns begin at %v, want %v as in the first:\n%s", i+1, at, starts, out)
		}
	}
}

// columns splits a line at two spaces or more.
func columns(text string) []string {
	var cs []string
	for part := range strings.SplitSeq(text, "  ") {
		if part = strings.TrimSpace(part); part != "" {
			cs = append(cs, part)
		}
	}
	return cs
}

func TestColumnsGrow(t *testing.T) {
	long := strings.Repeat("i", 40)
	var messages []Message
	for i, id := range []string{"a", long, "b"} {
		subject := string(rune('0' + i))
		messages = append(messages, request(subject, item(eureka.ActionRegister, id, 1)), reply(subject, 200))
	}
	out, _ := runText(t, Options{}, messages...)
	lines := strings.Split(out, "\n")
	first, second, third := strings.Index(lines[0], "200"), strings.Index(lines[1], "200"), strings.Index(lines[2], "200")
	if first >= second || second != third {
		t.Errorf("results begin at %d, %d, %d, want the last two equal and behind the first:\n%s", first, second, third, out)
	}
}

// TestTextIsSafe prints names that would move a terminal's cursor, break the
// line or turn it round.
func TestTextIsSafe(t *testing.T) {
	req := request("r", item("Register", "a\x1b[2J\r\nb\u202e\u009b", 1), item("Cancel", strings.Repeat("é", 5000), 1<<62))
	req.From, req.To, req.Batch = "x\x07", "\ty", "\x1b]0;\u0085title\x07"
	out, counts := runText(t, Options{}, req, Message{Kind: Reply, Subject: "r", ErrorCode: "500", Error: "a\nb\x1b"})
	checkText(t, out, counts)
	if want := `a\x1b[2J\r\nb\u202e\u009b`; !strings.Contains(out, want) {
		t.Errorf("got %q, want it to hold %q", out, want)
	}
	if longest := slices.MaxFunc(strings.Split(out, "\n"), func(a, b string) int { return len(a) - len(b) }); len(longest) > 1000 {
		t.Errorf("a line of %d bytes, want long names cut", len(longest))
	}
}

// TestJSONIsSafe prints the same for programs: a terminal may show it too.
func TestJSONIsSafe(t *testing.T) {
	req := request("r", item("Register", "a\x1b[2J\r\nb\u202e\u009b\x7f", 1))
	out, counts := runText(t, Options{JSON: true}, req, reply("r", 200))
	checkText(t, out, counts)
	if want := `"id":"a\u001b[2J\r\nb\u202e\u009b\u007f"`; !strings.Contains(out, want) {
		t.Errorf("got %s, want it to hold %s", out, want)
	}
}

// checkText fails unless out is one safe line for each task.
func checkText(t *testing.T, out string, counts Counts) {
	t.Helper()
	if got := strings.Count(out, "\n"); uint64(got) != counts.Tasks {
		t.Errorf("got %d lines, want %d, one for each task", got, counts.Tasks)
	}
	for _, r := range out {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			t.Fatalf("got %q, which holds %U", out, r)
		}
	}
}

func TestColor(t *testing.T) {
	items := []eureka.Item{
		item(eureka.ActionRegister, "a", 1), item(eureka.ActionRegister, "b", 1), item(eureka.ActionRegister, "c", 1),
	}
	messages := []Message{request("r", items...), reply("r", 200, 409, 400)}
	bare, _ := runText(t, Options{}, messages...)
	if strings.Contains(bare, "\x1b") {
		t.Errorf("colours without Color: %q", bare)
	}
	painted, _ := runText(t, Options{Color: true}, messages...)
	for _, want := range []string{"\x1b[32m200 ok\x1b[0m", "\x1b[33m409 conflict\x1b[0m", "\x1b[31m400 malformed\x1b[0m"} {
		if !strings.Contains(painted, want) {
			t.Errorf("got %q, want it to hold %q", painted, want)
		}
	}
	stripped := strings.NewReplacer("\x1b[32m", "", "\x1b[33m", "", "\x1b[31m", "", "\x1b[2m", "", "\x1b[0m", "").Replace(painted)
	// The times may differ.
	if got, want := columns(stripped)[1:], columns(bare)[1:]; len(got) != len(want) || got[3] != want[3] {
		t.Errorf("colours change the text: got %q, want %q", got, want)
	}
}

func TestShortDuration(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0ms"},
		{42 * time.Microsecond, "42µs"},
		{999 * time.Microsecond, "999µs"},
		{time.Millisecond, "1ms"},
		{1300 * time.Microsecond, "1.3ms"},
		{99_900 * time.Microsecond, "99.9ms"},
		{99 * time.Millisecond, "99ms"},
		{100 * time.Millisecond, "100ms"},
		{123_456 * time.Microsecond, "123ms"},
		{9999 * time.Millisecond, "9999ms"},
		{10 * time.Second, "10.0s"},
		{90 * time.Second, "90.0s"},
	} {
		if got := shortDuration(true, tt.d); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.d, got, tt.want)
		}
	}
}
