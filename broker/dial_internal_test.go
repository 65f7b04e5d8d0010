package broker

import (
	"testing"
	"testing/synctest"
	"time"
)

// Rounds that fail are followed by longer and longer waits, a little at random; a connection that stood ends that.
func TestDialerWaits(t *testing.T) {
	steady := []time.Duration{minWait, 2 * minWait, 4 * minWait, 8 * minWait}
	for _, test := range []struct {
		name     string
		answered bool
		want     []time.Duration
	}{
		{"nobody answers the dial", false, append(steady[:3:3], 2*time.Second, 2*time.Second, 2*time.Second)},
		{"a broker that refuses", true, append(steady[:4:4], 4*time.Second, 8*time.Second, 15*time.Second, 15*time.Second)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dialer{}
				check := func(i int, began time.Time, want time.Duration) {
					t.Helper()
					d.answered = test.answered
					if got := d.wait(began); got < want/2 || got >= want {
						t.Errorf("wait %d is %s, want %s to %s", i, got, want/2, want)
					}
				}
				for i, want := range test.want {
					check(i, time.Time{}, want)
				}
				for range 1000 { // Far beyond what could overflow.
					d.wait(time.Time{})
				}
				last := test.want[len(test.want)-1]
				began := time.Now()
				time.Sleep(steadyTime - time.Millisecond)
				check(-1, began, last)
				time.Sleep(time.Millisecond)
				check(0, began, minWait)
			})
		})
	}
	d := &dialer{}
	for i, want := range []time.Duration{2, 4, 8, 15, 15} {
		if got := d.handshake(); got != want*time.Second {
			t.Errorf("handshake %d: %s, want %ds", i, got, want)
		}
		d.wait(time.Time{})
	}
}
