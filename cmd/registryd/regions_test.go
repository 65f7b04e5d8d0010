package main

import (
	"io"
	"reflect"
	"testing"

	"github.com/registryd/registryd/regions"
)

// TestRegionFlags reads regions and the applications that are shown of them: its own
// list, else the global one, else all.
func TestRegionFlags(t *testing.T) {
	for _, tt := range []struct {
		urls, apps string
		want       []regions.Region
	}{
		{"East=http://e/, west = http://me:a%2Cb@w/eureka", "", []regions.Region{
			{Name: "east", URL: "http://e/"}, {Name: "west", URL: "http://me:a%2Cb@w/eureka"},
		}},
		{"east=http://e/,west=http://w/", "east=ORDERS, EAST=USERS", []regions.Region{
			{Name: "east", URL: "http://e/", Apps: []string{"ORDERS", "USERS"}}, {Name: "west", URL: "http://w/"},
		}},
		{"east=http://e/,west=http://w/?x", "", nil},
		{"east=http://e/,west=http://w/", "east=ORDERS,global=SEARCH", []regions.Region{
			{Name: "east", URL: "http://e/", Apps: []string{"ORDERS"}}, {Name: "west", URL: "http://w/", Apps: []string{"SEARCH"}},
		}},
	} {
		args := []string{"--remote-regions", tt.urls, "--data", "none"}
		if tt.apps != "" {
			args = append(args, "--remote-region-apps", tt.apps)
		}
		s, err := readSettings(args, io.Discard)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if err == nil && !reflect.DeepEqual(s.RemoteRegions, tt.want) {
			t.Errorf("%q: got %+v, want %+v", args, s.RemoteRegions, tt.want)
		}
	}
}
