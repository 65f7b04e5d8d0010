package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/registryd/registryd/eureka"
)

// TestCalls compares what is sent with what Eureka's REST protocol and the
// recorded Java clients say.
func TestCalls(t *testing.T) {
	const jsonType = "application/json"
	for _, tt := range []struct {
		name        string
		call        func(context.Context, *Client) error
		code        int
		want        string
		contentType string
	}{
		{
			"register", func(ctx context.Context, c *Client) error { return c.Register(ctx, instance()) },
			204, "POST /eureka/apps/DEMO", jsonType,
		},
		{
			"heartbeat", func(ctx context.Context, c *Client) error {
				return c.Heartbeat(ctx, "DEMO", "demo-1", eureka.StatusUp, 1795361342214)
			},
			200, "PUT /eureka/apps/DEMO/demo-1?lastDirtyTimestamp=1795361342214&status=UP", "",
		},
		{
			"plain heartbeat", func(ctx context.Context, c *Client) error {
				return c.Heartbeat(ctx, "DEMO", "demo-1", "", eureka.NoTimestamp)
			},
			200, "PUT /eureka/apps/DEMO/demo-1", "",
		},
		{
			"timestamp 0 is one", func(ctx context.Context, c *Client) error {
				return c.Heartbeat(ctx, "DEMO", "demo-1", "", 0)
			},
			200, "PUT /eureka/apps/DEMO/demo-1?lastDirtyTimestamp=0", "",
		},
		{
			"cancel", func(ctx context.Context, c *Client) error { return c.Cancel(ctx, "DEMO", "demo-1") },
			200, "DELETE /eureka/apps/DEMO/demo-1", "",
		},
		{
			"set status", func(ctx context.Context, c *Client) error {
				return c.SetStatus(ctx, "DEMO", "demo-1", eureka.StatusOutOfService)
			},
			200, "PUT /eureka/apps/DEMO/demo-1/status?value=OUT_OF_SERVICE", "",
		},
		{
			"delete status", func(ctx context.Context, c *Client) error {
				return c.DeleteStatus(ctx, "DEMO", "demo-1", eureka.StatusUp)
			},
			200, "DELETE /eureka/apps/DEMO/demo-1/status?value=UP", "",
		},
		{
			"delete status without value", func(ctx context.Context, c *Client) error {
				return c.DeleteStatus(ctx, "DEMO", "demo-1", "")
			},
			200, "DELETE /eureka/apps/DEMO/demo-1/status", "",
		},
		{
			"set metadata", func(ctx context.Context, c *Client) error {
				return c.SetMetadata(ctx, "DEMO", "demo-1", map[string]string{"zone": "a&b", "a": "1"})
			},
			200, "PUT /eureka/apps/DEMO/demo-1/metadata?a=1&zone=a%26b", "",
		},
		{
			"names are escaped", func(ctx context.Context, c *Client) error { return c.Cancel(ctx, "D/M", "h:a b?%é") },
			200, "DELETE /eureka/apps/D%2FM/h:a%20b%3F%25%C3%A9", "",
		},
		{
			"dots are no steps", func(ctx context.Context, c *Client) error { return c.Cancel(ctx, ".", "..") },
			200, "DELETE /eureka/apps/%2E/%2E%2E", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got, contentType, accept string
			var body []byte
			var readErr error
			c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				got, contentType, accept = r.Method+" "+r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("Accept")
				if _, sent := r.Header["Idempotency-Key"]; sent {
					t.Error("Idempotency-Key was sent")
				}
				body, readErr = io.ReadAll(r.Body)
				w.WriteHeader(tt.code)
			})
			if err := errors.Join(tt.call(t.Context(), c), readErr); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("request: got %s, want %s", got, tt.want)
			}
			if contentType != tt.contentType || accept != jsonType {
				t.Errorf("got Content-Type %q and Accept %q, want %q and %q", contentType, accept, tt.contentType, jsonType)
			}
			if tt.contentType == "" {
				if len(body) > 0 {
					t.Errorf("got body %q, want none", body)
				}
				return
			}
			sent, err := eureka.DecodeInstance(eureka.JSON, body)
			if err != nil {
				t.Fatalf("body %s: %v", body, err)
			}
			if want := instance(); sent.ID() != want.ID() || sent.Port != want.Port || sent.LastDirtyTimestamp != want.LastDirtyTimestamp {
				t.Errorf("got %+v, want %+v", sent, want)
			}
		})
	}
}

func TestNamesAreRequired(t *testing.T) {
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		t.Errorf("%s %s was sent", r.Method, r.URL)
		return nil, errors.New("no network")
	}, "http://a.test/eureka")
	nameless := instance()
	nameless.App = ""
	for name, call := range map[string]func() error{
		"app of a cancel":      func() error { return c.Cancel(t.Context(), "", "i") },
		"id of a cancel":       func() error { return c.Cancel(t.Context(), "A", "") },
		"app of a register":    func() error { return c.Register(t.Context(), nameless) },
		"instance":             func() error { return c.Register(t.Context(), nil) },
		"app of a read":        func() error { _, err := c.Application(t.Context(), ""); return err },
		"id of a single read":  func() error { _, err := c.Instance(t.Context(), "A", ""); return err },
		"id of a status call":  func() error { return c.SetStatus(t.Context(), "A", "", eureka.StatusUp) },
		"id of a heartbeat":    func() error { return c.Heartbeat(t.Context(), "A", "", "", 0) },
		"id of a removal":      func() error { return c.DeleteStatus(t.Context(), "A", "", "") },
		"id of a metadata put": func() error { return c.SetMetadata(t.Context(), "A", "", nil) },
	} {
		if err := call(); err == nil {
			t.Errorf("%s left out: got no error", name)
		}
	}
}

func TestReads(t *testing.T) {
	const one = `{"instanceId":"a-1","hostName":"a-1.test","app":"ALPHA","ipAddr":"192.0.2.1","status":"UP",` +
		`"overriddenStatus":"UNKNOWN","port":{"$":80,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},"countryId":1,` +
		`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},` +
		`"metadata":{"@class":"java.util.Collections$EmptyMap"},"lastDirtyTimestamp":"1700000000000","actionType":"DELETED"}`
	const list = `{"applications":{"versions__delta":"7","apps__hashcode":"UP_1_","application":[{"name":"ALPHA","instance":[` + one + `]}]}}`
	answers := map[string]string{
		"/eureka/apps/":          list,
		"/eureka/apps/delta":     list,
		"/eureka/apps/ALPHA":     `{"application":{"name":"ALPHA","instance":[` + one + `]}}`,
		"/eureka/apps/ALPHA/a-1": `{"instance":` + one + `}`,
		"/eureka/apps/BROKEN":    `{"application":`,
	}
	c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.RequestURI]
		if !ok || r.Method != http.MethodGet || r.Header.Get("Accept") != "application/json" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		write(t, w, body)
	})
	check := func(what string, i *eureka.InstanceInfo) {
		t.Helper()
		if i.ID() != "a-1" || i.Port.Number != 80 || i.LastDirtyTimestamp != 1700000000000 || i.ActionType != eureka.Deleted {
			t.Errorf("%s: got %+v", what, i)
		}
	}
	for what, read := range map[string]func(context.Context) (eureka.Applications, error){
		"applications": c.Applications, "delta": c.Delta,
	} {
		apps, err := read(t.Context())
		if err != nil || apps.Version != "7" || apps.HashCode != "UP_1_" || len(apps.Applications) != 1 {
			t.Errorf("%s: got %+v, %v", what, apps, err)
			continue
		}
		check(what, apps.Applications[0].Instances[0])
	}
	app, err := c.Application(t.Context(), "ALPHA")
	if err != nil || app.Name != "ALPHA" || len(app.Instances) != 1 {
		t.Fatalf("application: got %+v, %v", app, err)
	}
	check("application", app.Instances[0])
	info, err := c.Instance(t.Context(), "ALPHA", "a-1")
	if err != nil {
		t.Fatal(err)
	}
	check("instance", info)

	if _, err := c.Application(t.Context(), "BETA"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown application: got %v, want %v", err, ErrNotFound)
	}
	if _, err := c.Application(t.Context(), "BROKEN"); err == nil || !strings.Contains(err.Error(), "application BROKEN: decode answer") {
		t.Errorf("broken answer: got %v, want it to name the call", err)
	}
}

func TestOnlyOneCodeIsSuccess(t *testing.T) {
	for _, tt := range []struct {
		name string
		code int
		call func(context.Context, *Client) error
	}{
		{"register answered 200", 200, func(ctx context.Context, c *Client) error { return c.Register(ctx, instance()) }},
		{"register answered 404", 404, func(ctx context.Context, c *Client) error { return c.Register(ctx, instance()) }},
		{"heartbeat answered 204", 204, func(ctx context.Context, c *Client) error { return c.Heartbeat(ctx, "A", "i", "", 0) }},
		{"heartbeat answered 404", 404, func(ctx context.Context, c *Client) error { return c.Heartbeat(ctx, "A", "i", "", 0) }},
		{"cancel redirected", 302, func(ctx context.Context, c *Client) error { return c.Cancel(ctx, "A", "i") }},
		{"cancel refused", 403, func(ctx context.Context, c *Client) error { return c.Cancel(ctx, "A", "i") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			c := serve(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.code)
			})
			err := tt.call(t.Context(), c)
			e, ok := errors.AsType[*StatusError](err)
			if !ok || e.Code != tt.code {
				t.Fatalf("got %v, want a StatusError with code %d", err, tt.code)
			}
			if got, want := errors.Is(err, ErrNotFound), tt.code == 404; got != want {
				t.Errorf("is ErrNotFound: got %t, want %t", got, want)
			}
			if got := calls.Load(); got != 1 {
				t.Errorf("got %d requests, want 1: no redirect is followed", got)
			}
		})
	}
}

func TestStatusError(t *testing.T) {
	c := serve(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		write(t, w, "Missing hostname"+strings.Repeat("x", 10_000))
	})
	err := c.Register(t.Context(), instance())
	e, ok := errors.AsType[*StatusError](err)
	if !ok {
		t.Fatalf("got %v, want a StatusError", err)
	}
	if e.Method != "POST" || e.Path != "/eureka/apps/DEMO" || e.Code != 400 || len(e.Body) != 256 || !strings.HasPrefix(e.Body, "Missing hostname") {
		t.Errorf("got %+v", e)
	}
	for _, want := range []string{"register DEMO/demo-1", "POST /eureka/apps/DEMO", "400", "Missing hostname"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to hold %q", err, want)
		}
	}
}
