// Package reread keeps what was made of some files, and makes it anew when they change.
//
//	files ──Look──▶ read ──other contents?──▶ parse ──▶ Current
//	                                            └─ fails: Current stays, a count and a log line
//
// Contents that hold for a time only, such as a certificate, are not taken in the place of some
// that hold now while they do not themselves, see [Timed].
//
// It compares contents, so it does not matter how a file was replaced: written in place,
// renamed over, or by a symbolic link of a directory above, as Kubernetes does.
package reread

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/sample"
)

const (
	// Interval is the time between two looks at files while a node runs.
	Interval = 5 * time.Second
	// MaxFile bounds a file, in bytes.
	MaxFile = 8 << 20
	// staleInterval is the time between two log lines about files that can't be used.
	staleInterval = 10 * time.Minute
)

// Timed is what a parser returns whose contents hold for a time only.
type Timed[T any] interface {
	// Behind returns why one that was made of older contents is to be kept for now, nil if this
	// one takes its place. It is asked again at each look.
	Behind(old *T, now time.Time) error
}

// Files are the files of one use, and what was last made of them. One goroutine calls
// Look; all else may be called from any.
type Files[T any] struct {
	what  string
	names []string
	parse func(contents [][]byte) (*T, error)
	log   *slog.Logger

	current atomic.Pointer[T]
	good    [sha256.Size]byte // of the contents that Current was made of
	bad     [sha256.Size]byte // of contents that were refused at the last look
	told    sample.Sample
	early   bool // those refused parse, and are behind Current for now

	reloads, failures atomic.Uint64
	stale             atomic.Bool
}

// Open reads the files and parses them. what names their use in logs and metrics. A parser
// gets the contents in the order of the names, and does not put secrets into its errors.
func Open[T any](
	what string, names []string, log *slog.Logger, parse func(contents [][]byte) (*T, error),
) (*Files[T], error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Files[T]{what: what, names: names, parse: parse, log: log}
	contents, err := f.read()
	if err != nil {
		return nil, err
	}
	made, err := parse(contents)
	if err != nil {
		return nil, err
	}
	f.good = sum(contents, nil)
	f.current.Store(made)
	return f, nil
}

// Current returns what was made of the newest contents that could be used.
func (f *Files[T]) Current() *T { return f.current.Load() }

// Look reads the files, and takes their contents if they are others. Contents that can't
// be used change nothing. They are counted and logged at the second look that finds them:
// at the first a file may be half written, or a key not yet that of its certificate.
func (f *Files[T]) Look() {
	contents, err := f.read()
	now := sum(contents, err)
	if now == f.good {
		f.bad = [sha256.Size]byte{}
		f.stale.Store(false)
		return
	}
	again := now == f.bad && f.stale.Load()
	if again && !f.early {
		f.tellAgain()
		return
	}
	var made *T
	if err == nil {
		made, err = f.parse(contents)
	}
	f.early = false
	if timed, ok := any(made).(Timed[T]); ok && err == nil {
		err = timed.Behind(f.current.Load(), time.Now())
		f.early = err != nil
	}
	switch {
	case err == nil:
		f.current.Store(made)
		f.good, f.bad = now, [sha256.Size]byte{}
		f.stale.Store(false)
		f.reloads.Add(1)
		f.log.Info("files reread", "use", f.what, "files", f.list())
	case again:
		f.tellAgain()
	case now != f.bad:
		f.bad = now
	default:
		f.failures.Add(1)
		f.stale.Store(true)
		f.told.Due(staleInterval)
		level := slog.LevelWarn
		if f.early { // whoever renews them does it wrong, and what is kept will end
			level = slog.LevelError
		}
		f.log.Log(context.Background(), level, "files unusable, keeping what was read before", "use", f.what,
			"files", f.list(), "err", err)
	}
}

// tellAgain logs now and then that files stay unusable.
func (f *Files[T]) tellAgain() {
	if f.told.Due(staleInterval) {
		f.log.Warn("files still unusable, keeping what was read before", "use", f.what, "files", f.list())
	}
}

func (f *Files[T]) list() string { return strings.Join(f.names, " ") }

// read returns the contents of the files.
func (f *Files[T]) read() ([][]byte, error) {
	contents := make([][]byte, len(f.names))
	for i, name := range f.names {
		var err error
		if contents[i], err = readBounded(name); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // It was read.
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, MaxFile)
	}
	return text, nil
}

// sum returns a hash of contents, or of the reason why there are none.
func sum(contents [][]byte, err error) (out [sha256.Size]byte) {
	h := sha256.New()
	if err != nil {
		_, _ = io.WriteString(h, err.Error()) //nolint:errcheck // A hash takes all.
	}
	for _, c := range contents {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(c)))
		h.Write(length[:])
		h.Write(c)
	}
	h.Sum(out[:0])
	return out
}

// Describe implements prometheus.Collector.
func (f *Files[T]) Describe(out chan<- *prometheus.Desc) {
	out <- f.reloadsDesc()
	out <- f.staleDesc()
}

func (f *Files[T]) reloadsDesc() *prometheus.Desc {
	return prometheus.NewDesc("registryd_files_reloads_total",
		"Times that changed files were taken, or refused because they can't be used, by what they are for.",
		[]string{"outcome"}, prometheus.Labels{"use": f.what})
}

func (f *Files[T]) staleDesc() *prometheus.Desc {
	return prometheus.NewDesc("registryd_files_stale",
		"1 while files can't be used and what was read before is kept, by what they are for.",
		nil, prometheus.Labels{"use": f.what})
}

// Collect implements prometheus.Collector.
func (f *Files[T]) Collect(out chan<- prometheus.Metric) {
	reloads := f.reloadsDesc()
	count := func(n uint64, outcome string) {
		out <- prometheus.MustNewConstMetric(reloads, prometheus.CounterValue, float64(n), outcome)
	}
	count(f.reloads.Load(), "taken")
	count(f.failures.Load(), "refused")
	stale := 0.0
	if f.stale.Load() {
		stale = 1
	}
	out <- prometheus.MustNewConstMetric(f.staleDesc(), prometheus.GaugeValue, stale)
}
