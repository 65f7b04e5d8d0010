package page_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a tab of a real Chromium, and what it complained about.
type browser struct {
	ctx context.Context

	mu       sync.Mutex
	faults   []string // errors of the console, exceptions, policies that were broken
	requests []string // addresses that it asked
	expected func(fault string) bool
}

// newBrowser starts Chromium with a profile of its own. It ends with the test.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := os.Getenv("INTEROP_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Fatal("no Chromium: install Debian's package chromium, or set INTEROP_CHROMIUM")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...) //nolint:usetesting // cleanups end it, in order
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits until the browser is gone, and its profile free
			t.Log("browser:", err)
		}
		cancel()
	})
	b := &browser{ctx: ctx, expected: func(string) bool { return false }}
	b.do(t) // starts the browser
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	call(t, b, log.Enable, cdp.Empty{})
	call(t, b, network.Enable, network.EnableParams{})
	return b
}

// heard takes an event of the tab.
func (b *browser) heard(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			fault = fmt.Sprintf("console.%s: %v", e.Type, e.Args)
		}
	case *runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			fault = fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		b.mu.Lock()
		b.requests = append(b.requests, e.Request.URL)
		b.mu.Unlock()
	}
	if fault != "" {
		b.mu.Lock()
		b.faults = append(b.faults, fault)
		b.mu.Unlock()
	}
}

// clean fails the test if the browser complained, or asked anything but the nodes.
func (b *browser) clean(t *testing.T, roots ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		if !b.expected(f) {
			t.Errorf("the browser complains: %s", f)
		}
	}
	for _, r := range b.requests {
		known := strings.HasPrefix(r, "about:") || strings.HasPrefix(r, "data:")
		for _, root := range roots {
			known = known || strings.HasPrefix(r, root)
		}
		if !known {
			t.Errorf("the page asked %s", r)
		}
	}
}

// call runs a command of the protocol in the tab.
func call[P, R any](t *testing.T, b *browser, command cdp.Command[P, R], params P) R {
	t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// do takes steps in the tab.
func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx := b.ctx
	if len(steps) > 0 { // the first call, without any, starts the browser, which lives as long as its context
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(b.ctx, stepTime)
		defer cancel()
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.picture(t, "failed")
		t.Fatal(err)
	}
}

// stepTime is how long steps in the tab may take.
const stepTime = 20 * time.Second

// eval returns the value of an expression in the tab.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// see waits until an expression is true.
func (b *browser) see(t *testing.T, within time.Duration, what, expression string) {
	t.Helper()
	await(t.Context(), t, within, what, func() error {
		if !eval[bool](t, b, expression) {
			return fmt.Errorf("not true: %s", expression)
		}
		return nil
	})
}

// text is an expression: the page shows this text.
func text(s string) string { return fmt.Sprintf("(document.body?.innerText ?? '').includes(%q)", s) }

// size is what the tab holds, after its garbage is collected.
type size struct {
	nodes, listeners int64
	heap             float64 // bytes
}

func (b *browser) size(t *testing.T) size {
	t.Helper()
	call(t, b, heapprofiler.CollectGarbage, cdp.Empty{})
	dom := call(t, b, memory.GetDOMCounters, cdp.Empty{})
	heap := call(t, b, runtime.GetHeapUsage, cdp.Empty{})
	return size{nodes: dom.Nodes, listeners: dom.JsEventListeners, heap: heap.UsedSize}
}

// view sets the width and the colours of the tab.
func (b *browser) view(t *testing.T, width, height int64, colours string) {
	t.Helper()
	b.do(t, chromedp.EmulateViewport(width, height))
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: colours},
			{Name: "prefers-reduced-motion", Value: "reduce"}, // colours change at once
		},
	})
}

// picture keeps what the tab shows, for whoever wants to look.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("screenshots", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("screenshots", name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}
