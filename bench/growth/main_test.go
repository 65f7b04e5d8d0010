package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCounts(t *testing.T) {
	for _, test := range []struct {
		list string
		want []int
		bad  bool
	}{
		{"100, 1000", []int{100, 1000}, false},
		{"", nil, false},
		{"99", nil, true},
		{"many", nil, true},
	} {
		got, err := counts("sizes", test.list, 100)
		if !slices.Equal(got, test.want) || (err != nil) != test.bad {
			t.Errorf("%q: %v, %v; want %v, an error: %t", test.list, got, err, test.want, test.bad)
		}
	}
}

// A run that leaves something out keeps what an earlier one has measured of it.
func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "growth.json")
	if all, err := load(file); err != nil || all.Sizes != nil {
		t.Errorf("no file: %+v, %v", all, err)
	}
	if err := os.WriteFile(file, []byte(`{"sizes":{"instances":[1000]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := load(file)
	if err != nil || !slices.Equal(all.Sizes["instances"], []float64{1000}) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestPeersMetric(t *testing.T) {
	line := "BenchmarkPeers/16-2  \t   40000\t     94187 ns/op\t     38299 bare-ns\t     55879 node-ns\t         1.484 x-bare\n"
	m := peersMetric.FindStringSubmatch(line)
	if want := []string{"16", "38299", "55879", "1.484"}; m == nil || !slices.Equal(m[1:], want) {
		t.Errorf("%q, want %q", m, want)
	}
}
