package sample_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/internal/sample"
)

func TestDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sample.Sample
		lines := 0
		for range 25 * 4 { // 25 seconds
			if s.Due(10 * time.Second) {
				lines++
			}
			time.Sleep(time.Second / 4)
		}
		if lines != 3 {
			t.Errorf("%d lines in 25 s, want 3: at once, after 10 s and after 20 s", lines)
		}
	})
}
