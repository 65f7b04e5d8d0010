package registry

import (
	"testing"
	"time"
)

// TestOldest has the age of renewals grow with the list, above freshLen.
func TestOldest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		instances    int
		maxAge, want time.Duration
	}{
		{0, 20 * time.Second, 20 * time.Second},
		{100_032, 20 * time.Second, 20 * time.Second},
		{200_000, 20 * time.Second, 20 * time.Second},
		{400_000, 20 * time.Second, 40 * time.Second},
		{1_000_000, 20 * time.Second, 100 * time.Second},
		{1_000_000, 24 * time.Hour, 5 * 24 * time.Hour},
		{1_000_000, 0, 0},
		{100_032, -1, -1}, // always made anew
	} {
		s := sequence{blocks: make([]*block, test.instances/partSize)}
		if got := s.oldest(test.maxAge); got != test.want {
			t.Errorf("%d instances, %v: %v, want %v", test.instances, test.maxAge, got, test.want)
		}
	}
}
