package tail

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/registryd/registryd/eureka"
)

// FuzzMessages gives a Tailer any request and reply. Whatever they hold, each
// task gets exactly one line that can be read, and the counts add up.
func FuzzMessages(f *testing.F) {
	good := request("r", item(eureka.ActionRegister, "a", 502), item(eureka.ActionHeartbeat, "b\x1b[2J", 0))
	answer := reply("r", 200, 409)
	f.Add(good.Body, answer.Body, "node-1", "019a8f00-1111-7222-8333-44445555c3f2", "", "")
	f.Add(good.Body, []byte(nil), "node-1", "", "503", "busy\n")
	f.Add(good.Body, []byte(`{"stream":"ALL","seq":1}`), "", "", "", "")
	f.Add(good.Body, []byte(`{"responseList":[{"statusCode":1e99},7,{"statusCode":409,"registryd":{}}]}`), "n", "b", "", "")
	f.Add([]byte(`{"replicationList":[{"id":"\u001b\ufffe","action":"Jump"},{},null,[]]}`), answer.Body, "\xff", "\xff", "x", "\xff")
	f.Add([]byte(`{}`), []byte(`{}`), "", "", "", "")
	f.Add([]byte("hello"), []byte("\x00"), "", "", "", "")
	f.Fuzz(func(t *testing.T, list, results []byte, from, batch, code, text string) {
		req := Message{Kind: Request, Reply: "r", From: from, To: "n", Batch: batch, Body: list}
		rep := Message{Kind: Reply, Subject: "r", ErrorCode: code, Error: text, Body: results}

		lines, counts := runText(t, Options{JSON: true}, req, rep)
		if got := strings.Count(lines, "\n"); uint64(got) != counts.Tasks {
			t.Errorf("got %d JSON lines, want %d, one for each task", got, counts.Tasks)
		}
		for line := range strings.Lines(lines) {
			var v struct {
				Result   string `json:"result"`
				Position int    `json:"position"`
			}
			if err := json.Unmarshal([]byte(line), &v); err != nil || v.Result == "" || v.Position == 0 {
				t.Errorf("line %q: got %+v, %v", line, v, err)
			}
		}
		if seen := counts.Batches + counts.Unmatched + counts.Foreign; seen == 0 || counts.Answered > counts.Batches {
			t.Errorf("counts don't add up: %+v", counts)
		}

		plainText, counts := runText(t, Options{}, req, rep)
		checkText(t, plainText, counts)
	})
}
