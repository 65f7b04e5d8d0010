package cluster

import (
	"errors"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// What a peer answers is told, but for heartbeats that went well and what is sent again.
func TestMeaning(t *testing.T) {
	whole := &eureka.State{RecordVersion: 1}
	for _, tt := range []struct {
		bits registry.Bits
		res  eureka.Result
		want string
	}{
		{registry.Registered, eureka.Result{StatusCode: 200}, "200 ok"},
		{registry.Cancelled, eureka.Result{StatusCode: 200}, "200 ok"},
		{registry.Renewed, eureka.Result{StatusCode: 200}, ""},
		{registry.Renewed, eureka.Result{StatusCode: 404}, "404 not known there, the whole instance follows"},
		{registry.Overridden, eureka.Result{StatusCode: 409, State: whole}, "409 newer there, its copy is joined here"},
		{registry.Overridden, eureka.Result{StatusCode: 409}, "409 newer there, its copy is fetched"},
		{registry.Registered, eureka.Result{StatusCode: 400}, "400 refused, dropped"},
		{registry.Registered, eureka.Result{StatusCode: 503}, ""},
		{registry.Registered, eureka.Result{StatusCode: 200, Err: errors.New("not read")}, ""},
	} {
		if got := meaning(tt.bits, &tt.res); got != tt.want {
			t.Errorf("%s, %d: %q, want %q", tt.bits, tt.res.StatusCode, got, tt.want)
		}
	}
}
