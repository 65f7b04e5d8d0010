package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	expslog "golang.org/x/exp/slog"

	"github.com/registryd/registryd/broker"
)

type stdSecret struct{ calls *int }

func (s stdSecret) LogValue() slog.Value {
	*s.calls++
	return slog.GroupValue(slog.String("kind", "secret"), slog.Int("n", 1))
}

type expSecret struct{ calls *int }

func (s expSecret) LogValue() expslog.Value {
	*s.calls++
	return expslog.GroupValue(expslog.String("kind", "secret"), expslog.Int("n", 1))
}

var when = time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)

// A record that goes through FromExp must look as if the x/exp handler had been given it directly. The wanted lines are
// JSON, as both packages document it.
func TestFromExp(t *testing.T) {
	calls := 0
	tests := []struct {
		name string
		log  func(slog.Handler) slog.Handler
		want string
	}{
		{"bare", func(h slog.Handler) slog.Handler { return h }, `"k":"v"}`},
		{"attrs", func(h slog.Handler) slog.Handler { return h.WithAttrs([]slog.Attr{slog.Int("a", 1)}) }, `"a":1,"k":"v"}`},
		{"group", func(h slog.Handler) slog.Handler { return h.WithGroup("g") }, `"g":{"k":"v"}}`},
		{"attrs in a group", func(h slog.Handler) slog.Handler {
			return h.WithGroup("g").WithAttrs([]slog.Attr{slog.Bool("a", true)}).WithGroup("h")
		}, `"g":{"a":true,"h":{"k":"v"}}}`},
		{"group value", func(h slog.Handler) slog.Handler {
			return h.WithAttrs([]slog.Attr{slog.Group("g", slog.Duration("d", time.Second), slog.Uint64("u", 7))})
		}, `"g":{"d":1000000000,"u":7},"k":"v"}`},
		{"time, float, any", func(h slog.Handler) slog.Handler {
			return h.WithAttrs([]slog.Attr{slog.Time("t", when), slog.Float64("f", 1.5), slog.Any("e", errors.New("bad"))})
		}, `"t":"2026-02-03T04:05:06.000007Z","f":1.5,"e":"bad","k":"v"}`},
		{"log valuer", func(h slog.Handler) slog.Handler {
			return h.WithAttrs([]slog.Attr{slog.Any("s", stdSecret{&calls})})
		}, `"s":{"kind":"secret","n":1},"k":"v"}`},
		{"empty group name and no attrs", func(h slog.Handler) slog.Handler { return h.WithGroup("").WithAttrs(nil) }, `"k":"v"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			handler := test.log(broker.FromExp(expslog.NewJSONHandler(&out, nil)))
			record := slog.NewRecord(when, slog.LevelWarn+1, "told", 0)
			record.AddAttrs(slog.String("k", "v"))
			if err := handler.Handle(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			want := `{"time":"2026-02-03T04:05:06.000007Z","level":"WARN+1","msg":"told",` + test.want + "\n"
			if out.String() != want {
				t.Errorf("got  %s want %s", out.String(), want)
			}
		})
	}
	if calls != 1 {
		t.Errorf("the log valuer ran %d times, want 1", calls)
	}
}

func TestToExp(t *testing.T) {
	calls := 0
	tests := []struct {
		name string
		log  func(expslog.Handler) expslog.Handler
		want string
	}{
		{"bare", func(h expslog.Handler) expslog.Handler { return h }, `"k":"v"}`},
		{"attrs", func(h expslog.Handler) expslog.Handler { return h.WithAttrs([]expslog.Attr{expslog.Int("a", 1)}) }, `"a":1,"k":"v"}`},
		{"attrs in a group", func(h expslog.Handler) expslog.Handler {
			return h.WithGroup("g").WithAttrs([]expslog.Attr{expslog.Bool("a", true)}).WithGroup("h")
		}, `"g":{"a":true,"h":{"k":"v"}}}`},
		{"group value", func(h expslog.Handler) expslog.Handler {
			return h.WithAttrs([]expslog.Attr{expslog.Group("g", expslog.Duration("d", time.Second), expslog.Uint64("u", 7))})
		}, `"g":{"d":1000000000,"u":7},"k":"v"}`},
		{"time, float, any", func(h expslog.Handler) expslog.Handler {
			return h.WithAttrs([]expslog.Attr{expslog.Time("t", when), expslog.Float64("f", 1.5), expslog.Any("e", errors.New("bad"))})
		}, `"t":"2026-02-03T04:05:06.000007Z","f":1.5,"e":"bad","k":"v"}`},
		{"log valuer", func(h expslog.Handler) expslog.Handler {
			return h.WithAttrs([]expslog.Attr{expslog.Any("s", expSecret{&calls})})
		}, `"s":{"kind":"secret","n":1},"k":"v"}`},
		{"empty group name and no attrs", func(h expslog.Handler) expslog.Handler { return h.WithGroup("").WithAttrs(nil) }, `"k":"v"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			handler := test.log(broker.ToExp(slog.NewJSONHandler(&out, nil)))
			record := expslog.NewRecord(when, expslog.LevelWarn+1, "told", 0)
			record.AddAttrs(expslog.String("k", "v"))
			if err := handler.Handle(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			want := `{"time":"2026-02-03T04:05:06.000007Z","level":"WARN+1","msg":"told",` + test.want + "\n"
			if out.String() != want {
				t.Errorf("got  %s want %s", out.String(), want)
			}
		})
	}
	if calls != 1 {
		t.Errorf("the log valuer ran %d times, want 1", calls)
	}
}

func TestExpEnabled(t *testing.T) {
	var out bytes.Buffer
	from := broker.FromExp(expslog.NewTextHandler(&out, &expslog.HandlerOptions{Level: expslog.LevelWarn}))
	to := broker.ToExp(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for level, want := range map[int]bool{int(slog.LevelInfo): false, int(slog.LevelWarn) - 1: false, int(slog.LevelWarn): true, int(slog.LevelError): true} {
		if got := from.Enabled(context.Background(), slog.Level(level)); got != want { //nolint:usetesting // a clean-up outlives the test's context
			t.Errorf("FromExp enabled at %d: %v, want %v", level, got, want)
		}
		if got := to.Enabled(context.Background(), expslog.Level(level)); got != want { //nolint:usetesting // a clean-up outlives the test's context
			t.Errorf("ToExp enabled at %d: %v, want %v", level, got, want)
		}
	}
}

// There and back is the same handler, not two layers.
func TestExpRoundTrip(t *testing.T) {
	std := slog.NewTextHandler(t.Output(), nil)
	if got := broker.FromExp(broker.ToExp(std)); got != slog.Handler(std) {
		t.Errorf("FromExp(ToExp(h)) is %T, want h itself", got)
	}
	exp := expslog.NewTextHandler(t.Output(), nil)
	if got := broker.ToExp(broker.FromExp(exp)); got != expslog.Handler(exp) {
		t.Errorf("ToExp(FromExp(h)) is %T, want h itself", got)
	}
}

// A valuer that nobody prints must not run: it may be expensive.
func TestExpLazy(t *testing.T) {
	calls := 0
	logger := slog.New(broker.FromExp(expslog.NewTextHandler(t.Output(), &expslog.HandlerOptions{
		ReplaceAttr: func([]string, expslog.Attr) expslog.Attr { return expslog.Attr{} },
		Level:       expslog.LevelError,
	})))
	logger.Info("not told", "s", stdSecret{&calls})
	if calls != 0 {
		t.Errorf("the log valuer ran %d times, want 0", calls)
	}
}
