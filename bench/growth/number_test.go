package main

import "testing"

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 16: "16", 1.084: "1.1", 34.56: "34.6", 141807.4: "141807", 0.0876: "0.088"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
