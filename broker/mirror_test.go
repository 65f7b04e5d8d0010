package broker_test

import (
	"testing"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

// TestMirror shows a batch and its answer to a watcher, and to nobody else.
func TestMirror(t *testing.T) {
	server := natstest.TCP(t)
	a := natstest.Node(t, server, "a")
	w := watch(t, broker.WatchOptions{Access: broker.Access{Server: server}, Node: "a"})
	for _, test := range []struct {
		code      int
		text      string
		body      string
		wantCode  int
		wantText  string
		wantBytes string
	}{
		{200, "", "the answer", 0, "", "the answer"},
		{503, "Service Unavailable", "ignored", 503, "Service Unavailable", ""},
		{0, "no answer", "", 0, "no answer", ""},
	} {
		answer := a.Mirror("java-host-8761", batchID, []byte("a list"))
		answer(test.code, test.text, []byte(test.body))
		request := next(t, w)
		if to, from, ok := a.Subjects().ParseBatch(request.Subject); !ok || to != "java-host-8761" || from != "a" {
			t.Errorf("batch on %q", request.Subject)
		}
		if string(request.Body) != "a list" || request.Get(broker.HeaderBatch) != batchID {
			t.Errorf("batch: %+v", request)
		}
		reply := next(t, w)
		if reply.Subject != request.Reply || string(reply.Body) != test.wantBytes || !reply.Ours() {
			t.Errorf("answer: %+v", reply)
		}
		failed := reply.Failed()
		if (failed != nil) != (test.wantText != "") || failed != nil && (failed.Code != test.wantCode || failed.Text != test.wantText) {
			t.Errorf("failure %+v, want %d %q", failed, test.wantCode, test.wantText)
		}
	}
	if got := a.Count("ignored_replies_total", "foreign", "late"); got != 0 {
		t.Errorf("%d replies ignored, want 0: nobody waits for these", got)
	}
	if got := a.Mirror("java-host-8761", batchID, make([]byte, a.MaxPayload())); got == nil {
		t.Error("no function for a batch that is too large to show")
	}
}
