package node_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// holdAt is a log handler that holds one line back.
type holdAt struct {
	slog.Handler
	message string
	reached chan<- struct{}
	release <-chan struct{}
}

func (h holdAt) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func (h holdAt) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.reached <- struct{}{}
		<-h.release
	}
	return h.Handler.Handle(ctx, r)
}

// TestCancelSentBeforeTheStartEnds: a cancel that reaches a node during its
// start is refused. Its client may have registered with another node since.
func TestCancelSentBeforeTheStartEnds(t *testing.T) {
	t.Parallel()
	opts := node.Options{Name: "n1", Cluster: natstest.Cluster, Listen: natstest.FreeAddress(t), DataDir: t.TempDir()}
	before := start(t, opts)
	register(t, before, "a")
	if err := before.stop(); err != nil {
		t.Fatal(err)
	}

	reached, release := make(chan struct{}), make(chan struct{})
	opts.Logger = slog.New(holdAt{Handler: natstest.Logger(t).Handler(), message: "snapshot loaded", reached: reached, release: release})
	started := make(chan *node.Node, 1)
	go func() {
		n, err := node.Start(t.Context(), opts)
		if err != nil {
			t.Error(err)
		}
		started <- n
	}()
	<-reached
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", opts.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // A test's own.
	if _, err := io.WriteString(c, "DELETE /eureka/apps/ORDERS/a HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	close(release)
	n := <-started
	if n == nil {
		t.FailNow()
	}
	after := adopt(t, n)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // It has none.
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("cancel: status %d, want 503", answer.StatusCode)
	}
	if err := lists(t.Context(), after, "a"); err != nil {
		t.Error(err)
	}
}
