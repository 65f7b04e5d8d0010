package logqueue

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// reader is a log's reader that is suspended until it is released.
type reader struct {
	gate chan struct{} // closed: it reads
	got  bytes.Buffer  // read once the bubble rests
}

func (r *reader) Write(b []byte) (int, error) {
	<-r.gate
	return r.got.Write(b)
}

func TestNobodyReads(t *testing.T) {
	for _, tc := range []struct {
		name       string
		line       int // bytes
		lines, fit int // fit: with the one that is being written
	}{
		{"bound of lines", 10, maxLines + 8, maxLines},
		{"bound of bytes", maxBytes / 4, 7, 4},
		{"a line over the bound", maxBytes + 1, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reader{gate: make(chan struct{})}
				w := New(r, nil)
				log := slog.New(slog.NewTextHandler(w, nil))
				w.OnDrop(func(n uint64, sample string) { log.Warn("log lines dropped", "n", n, "bytes", len(sample)) })
				began := time.Now()
				line := strings.Repeat("x", tc.line-1) + "\n"
				for range tc.lines {
					fmt.Fprint(w, line)
					synctest.Wait() // The first is on its way.
				}
				if waited := time.Since(began); waited != 0 {
					t.Errorf("the lines took %v, want no time", waited)
				}
				lost := tc.lines - tc.fit
				if got := testutil.ToFloat64(w); got != float64(lost) {
					t.Errorf("%v lines dropped, want %d", got, lost)
				}
				close(r.gate)
				synctest.Wait()
				fmt.Fprintln(w, "again")
				synctest.Wait()
				text := r.got.String()
				if got := strings.Count(text, "\n"); got != tc.fit+2 {
					t.Errorf("%d lines were written, want %d, the report and one more", got, tc.fit)
				}
				report := fmt.Sprintf("level=WARN msg=\"log lines dropped\" n=%d bytes=%d\n", lost, min(tc.line, sampleBytes))
				if got := strings.Count(text, report); got != 1 {
					t.Errorf("%d reports %q in the log, want one", got, report)
				}
				if !w.Close() {
					t.Error("Close did not write all")
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	t.Run("writes what waits", func(t *testing.T) {
		var out bytes.Buffer
		w := New(&out, nil)
		for i := range 100 {
			fmt.Fprintln(w, i)
		}
		if !w.Close() || strings.Count(out.String(), "\n") != 100 || !strings.HasSuffix(out.String(), "98\n99\n") {
			t.Errorf("written: %q, want 100 lines in order", out.String())
		}
		fmt.Fprintln(w, "late")
		if got := testutil.ToFloat64(w); got != 1 || !w.Close() {
			t.Errorf("%v lines dropped after Close, want 1", got)
		}
	})
	t.Run("gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &reader{gate: make(chan struct{})}
			w := New(r, nil)
			fmt.Fprintln(w, "a")
			began := time.Now()
			if w.Close() {
				t.Error("Close says that all was written")
			}
			if took := time.Since(began); took != closeWait {
				t.Errorf("Close took %v, want %v", took, closeWait)
			}
			close(r.gate)
			synctest.Wait()
			if !w.Close() || r.got.String() != "a\n" {
				t.Errorf("written: %q, want a", r.got.String())
			}
		})
	})
}
