package main

import (
	"io"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	got := lines([]byte(`goos: linux
BenchmarkRenew-2   	 9106544	       129.4 ns/op	       0 B/op	       0 allocs/op
BenchmarkApps/new_json_gzip-16         	    8666	    130508 ns/op	    148074 body-bytes	   41006 B/op	      65 allocs/op
PASS
`))
	want := map[string]result{"Renew": {129.4, 0}, "Apps/new_json_gzip": {130508, 65}}
	for name, r := range want {
		if got[name] != r {
			t.Errorf("%s: got %+v, want %+v", name, got[name], r)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d results, want %d: %v", len(got), len(want), got)
	}
}

func TestCompare(t *testing.T) {
	was, err := parse([]byte("# a comment\na.B 1000 40\na.C/x 0.5 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		is   map[string]result
		want string // part of the error; "": none
	}{
		{"the same", map[string]result{"a.B": {1, 40}, "a.C/x": {0.0005, 0}}, ""},
		{"a little slower", map[string]result{"a.B": {1.29, 42}, "a.C/x": {0.0006, 0}}, ""},
		{"too slow", map[string]result{"a.B": {1.31, 40}, "a.C/x": {0.0005, 0}}, "a.B: 1.31 times as slow"},
		{"allocates", map[string]result{"a.B": {1, 40}, "a.C/x": {0.0005, 1}}, "a.C/x: 1 allocations"},
		{"missing", map[string]result{"a.B": {1, 40}}, "a.C/x: is in the baseline"},
		{"new", map[string]result{"a.B": {1, 40}, "a.C/x": {0.0005, 0}, "a.D": {1, 1}}, "a.D: is not in the baseline"},
	} {
		err := compare(io.Discard, was, test.is, 1.3)
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	again, err := parse([]byte(text(was)))
	if err != nil || again["a.B"] != was["a.B"] || again["a.C/x"] != was["a.C/x"] {
		t.Errorf("written and read again: %v, %v", again, err)
	}
	for _, bad := range []string{"a 1", "a x 1", "a 1 x"} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
