package bridge

import (
	"testing"

	"github.com/registryd/registryd/eureka"
)

// What a Java peer answers is told, but for heartbeats that went well and what is sent again.
func TestMeaning(t *testing.T) {
	for _, tt := range []struct {
		action string
		code   int
		want   string
	}{
		{"Register", 200, "Register: 200 ok"},
		{"Heartbeat", 200, ""},
		{"Heartbeat", 404, "Heartbeat: 404 not known there, the whole instance follows"},
		{"Heartbeat", 409, "Heartbeat: 409 newer there, its copy is taken here"},
		{"Cancel", 404, "Cancel: 404 nothing to change there"},
		{"DeleteStatusOverride", 200, "DeleteStatusOverride: 200 ok"},
		{"StatusUpdate", 500, "StatusUpdate: 500 refused, dropped"},
		{"Register", 503, ""},
		{"Register", 429, ""},
	} {
		if got := meaning(tt.action, &eureka.Result{StatusCode: tt.code}); got != tt.want {
			t.Errorf("%s, %d: %q, want %q", tt.action, tt.code, got, tt.want)
		}
	}
}
