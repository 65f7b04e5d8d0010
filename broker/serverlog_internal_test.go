package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestServerWarningsAreFew has two routes that are dead for three minutes, each tried four times a second, and
// strangers who fail to log in meanwhile.
func TestServerWarningsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		l := &serverLog{log: slog.New(slog.NewTextHandler(&text, nil))}
		for n := range 3 * 60 * 4 {
			for _, at := range []string{"10.0.0.1:6222", "10.0.0.2:6222"} {
				l.Errorf("Error trying to connect to route (attempt %v): %v", n, errors.New("dial tcp "+at+": refused"))
			}
			l.Errorf(fmt.Sprintf("10.1.2.%d:%d - cid:%d - %s", n%250, 40000+n, n, "authentication error"))
			time.Sleep(time.Second / 4)
		}
		for _, part := range []string{"10.0.0.1:6222", "10.0.0.2:6222", "authentication error"} {
			if got := strings.Count(text.String(), part); got != 3 {
				t.Errorf("%d lines about %s in three minutes, want 3", got, part)
			}
		}
		if got := strings.Count(text.String(), "more_like_it=239"); got != 6 {
			t.Errorf("%d lines say how many there were between, want 6:\n%s", got, text.String())
		}
	})
}

// TestServerWarningsAreBounded has more kinds than are told apart.
func TestServerWarningsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		l := &serverLog{log: slog.New(slog.NewTextHandler(&text, nil))}
		for n := range 1000 {
			l.Warnf("%s", strings.Repeat("x", n+1))
		}
		if lines := strings.Count(text.String(), "\n"); lines != maxKinds+1 || len(l.kinds) != maxKinds+1 {
			t.Errorf("%d lines, %d kinds, want %d", lines, len(l.kinds), maxKinds+1)
		}
	})
}
