package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWorking tells a person what takes over a second, and wipes it off again.
func TestWorking(t *testing.T) {
	for _, test := range []struct {
		name     string
		terminal bool
		takes    time.Duration
		want     string
	}{
		{"quick", true, time.Second - 1, ""},
		{"slow", true, 2*time.Second + 1, "\rasking … 1 s\x1b[K\rasking … 2 s\x1b[K\r\x1b[K"},
		{"for nobody", false, time.Minute, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &screenOutput{}
				p := &program{err: out, terminal: test.terminal}
				done := p.working("asking")
				time.Sleep(test.takes)
				synctest.Wait()
				done()
				if got := out.String(); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}
