package broker

import (
	"context"
	"log/slog"

	expslog "golang.org/x/exp/slog"
)

var (
	_ slog.Handler    = (*fromExp)(nil)
	_ expslog.Handler = (*toExp)(nil)
)

// FromExp makes a log/slog handler of a golang.org/x/exp/slog one: for a program that logs through x/exp/slog and
// embeds a node. Time, level, message, source position, attributes, groups and LogValuers are kept.
func FromExp(handler expslog.Handler) slog.Handler {
	if back, ok := handler.(*toExp); ok {
		return back.handler
	}
	return &fromExp{handler: handler}
}

// ToExp makes a golang.org/x/exp/slog handler of a log/slog one: for code that wants an x/exp/slog logger and is to
// write where the node does. It keeps what FromExp keeps.
func ToExp(handler slog.Handler) expslog.Handler {
	if back, ok := handler.(*fromExp); ok {
		return back.handler
	}
	return &toExp{handler: handler}
}

type fromExp struct{ handler expslog.Handler }

func (h *fromExp) Enabled(ctx context.Context, level slog.Level) bool {
	return h.handler.Enabled(ctx, expslog.Level(level))
}

func (h *fromExp) Handle(ctx context.Context, record slog.Record) error {
	out := expslog.NewRecord(record.Time, expslog.Level(record.Level), record.Message, record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		out.AddAttrs(attrToExp(attr))
		return true
	})
	return h.handler.Handle(ctx, out)
}

func (h *fromExp) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return &fromExp{handler: h.handler.WithAttrs(attrsToExp(attrs))}
}

func (h *fromExp) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &fromExp{handler: h.handler.WithGroup(name)}
}

type toExp struct{ handler slog.Handler }

func (h *toExp) Enabled(ctx context.Context, level expslog.Level) bool {
	return h.handler.Enabled(ctx, slog.Level(level))
}

func (h *toExp) Handle(ctx context.Context, record expslog.Record) error {
	out := slog.NewRecord(record.Time, slog.Level(record.Level), record.Message, record.PC)
	record.Attrs(func(attr expslog.Attr) bool {
		out.AddAttrs(attrFromExp(attr))
		return true
	})
	return h.handler.Handle(ctx, out)
}

func (h *toExp) WithAttrs(attrs []expslog.Attr) expslog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return &toExp{handler: h.handler.WithAttrs(attrsFromExp(attrs))}
}

func (h *toExp) WithGroup(name string) expslog.Handler {
	if name == "" {
		return h
	}
	return &toExp{handler: h.handler.WithGroup(name)}
}

func attrsToExp(attrs []slog.Attr) []expslog.Attr {
	out := make([]expslog.Attr, len(attrs))
	for i, attr := range attrs {
		out[i] = attrToExp(attr)
	}
	return out
}

func attrToExp(attr slog.Attr) expslog.Attr {
	return expslog.Attr{Key: attr.Key, Value: valueToExp(attr.Value)}
}

func valueToExp(value slog.Value) expslog.Value {
	switch value.Kind() {
	case slog.KindBool:
		return expslog.BoolValue(value.Bool())
	case slog.KindDuration:
		return expslog.DurationValue(value.Duration())
	case slog.KindFloat64:
		return expslog.Float64Value(value.Float64())
	case slog.KindInt64:
		return expslog.Int64Value(value.Int64())
	case slog.KindString:
		return expslog.StringValue(value.String())
	case slog.KindTime:
		return expslog.TimeValue(value.Time())
	case slog.KindUint64:
		return expslog.Uint64Value(value.Uint64())
	case slog.KindGroup:
		return expslog.GroupValue(attrsToExp(value.Group())...)
	case slog.KindLogValuer:
		return expslog.AnyValue(expValuer{value.LogValuer()})
	case slog.KindAny:
	}
	return expslog.AnyValue(value.Any())
}

func attrsFromExp(attrs []expslog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, attr := range attrs {
		out[i] = attrFromExp(attr)
	}
	return out
}

func attrFromExp(attr expslog.Attr) slog.Attr {
	return slog.Attr{Key: attr.Key, Value: valueFromExp(attr.Value)}
}

func valueFromExp(value expslog.Value) slog.Value {
	switch value.Kind() {
	case expslog.KindBool:
		return slog.BoolValue(value.Bool())
	case expslog.KindDuration:
		return slog.DurationValue(value.Duration())
	case expslog.KindFloat64:
		return slog.Float64Value(value.Float64())
	case expslog.KindInt64:
		return slog.Int64Value(value.Int64())
	case expslog.KindString:
		return slog.StringValue(value.String())
	case expslog.KindTime:
		return slog.TimeValue(value.Time())
	case expslog.KindUint64:
		return slog.Uint64Value(value.Uint64())
	case expslog.KindGroup:
		return slog.GroupValue(attrsFromExp(value.Group())...)
	case expslog.KindLogValuer:
		return slog.AnyValue(stdValuer{value.LogValuer()})
	case expslog.KindAny:
	}
	return slog.AnyValue(value.Any())
}

// expValuer and stdValuer keep a LogValuer lazy on its way through: it runs only if the last handler asks for its
// value.
type (
	expValuer struct{ valuer slog.LogValuer }
	stdValuer struct{ valuer expslog.LogValuer }
)

func (v expValuer) LogValue() expslog.Value { return valueToExp(v.valuer.LogValue()) }

func (v stdValuer) LogValue() slog.Value { return valueFromExp(v.valuer.LogValue()) }
