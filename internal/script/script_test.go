package script_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/internal/script"
)

// TestRun lets scripts echo their commands, in fake time.
func TestRun(t *testing.T) {
	script.Each(t, "testdata", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			script.Run(t, path, func(cmd script.Command) string {
				switch cmd.Name {
				case "advance":
					time.Sleep(cmd.WordDuration(0))
					return time.Since(began).String()
				case "echo":
					return fmt.Sprintf("words %s\ntext %s\nnumber %d\nduration %v\ninput %s",
						strings.Join(cmd.Words, " "), cmd.Text("text", "none"), cmd.Int("number", 7),
						cmd.Duration("duration", time.Second), cmd.Input)
				case "all":
					return fmt.Sprint(cmd.All())
				default:
					cmd.Fatalf("unknown command")
					return ""
				}
			})
		})
	})
}
