package await_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/internal/await"
)

func TestUntil(t *testing.T) {
	never := errors.New("never")
	for _, test := range []struct {
		name  string
		after time.Duration
		want  error
		took  time.Duration
	}{
		{"at once", 0, nil, 0},
		{"within patience", 995 * time.Millisecond, nil, time.Second},
		{"too late", 1001 * time.Millisecond, never, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := await.Until(1001*time.Millisecond, func() error {
					if time.Since(began) >= test.after {
						return nil
					}
					return never
				})
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if took := time.Since(began); took.Truncate(10*time.Millisecond) != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
			})
		})
	}
}
