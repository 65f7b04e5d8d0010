package api

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/registry"
)

//go:embed lastn.html
var recentText string

// parsePage reads the templates of the pages.
func parsePage() (*template.Template, error) {
	pages := template.New("").Funcs(template.FuncMap{
		"plain": plain.Text,
		"utc":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") },
	})
	if _, err := pages.New("lastn").Parse(recentText); err != nil {
		return nil, err
	}
	return pages, nil
}

// page answers with what is plugged in as the page.
func (h *Handler) page(w http.ResponseWriter, r *http.Request, who *access.Login) int {
	if h.opts.Page == nil {
		return empty(w, http.StatusNotFound)
	}
	if who != nil {
		r = r.WithContext(WithLogin(r.Context(), who))
	}
	c := codeWriter{ResponseWriter: w, code: http.StatusOK}
	h.opts.Page.ServeHTTP(&c, r)
	return c.code
}

// loginKey is the key of who asks, in the context of a request for the page.
type loginKey struct{}

// WithLogin returns a context that says who asks.
func WithLogin(ctx context.Context, who *access.Login) context.Context {
	return context.WithValue(ctx, loginKey{}, who)
}

// LoginOf returns who asks for the page; nil if the node has no logins.
func LoginOf(ctx context.Context) *access.Login {
	who, _ := ctx.Value(loginKey{}).(*access.Login) // or nil
	return who
}

// base answers at the base of Eureka's paths. Eureka has nothing there; a browser is
// redirected to the page. The redirect is relative, for proxies that add a prefix.
func (h *Handler) base(w http.ResponseWriter, r *http.Request) int {
	w.Header().Set("Vary", "Accept")
	if !strings.Contains(header(r.Header, "Accept"), "text/html") {
		return empty(w, http.StatusNotFound)
	}
	w.Header().Set("Location", "./"+strings.Repeat("../", strings.Count(r.URL.Path, "/")-1))
	return empty(w, http.StatusFound)
}

// stray answers a client whose service URL lacks the base of Eureka's paths, and logs
// a warning. Writes get no body, see the package comment.
func (h *Handler) stray(w http.ResponseWriter, r *http.Request) int {
	if h.strayed.Due(sampleInterval) {
		h.log.Warn("not a path of Eureka's, clients need a service URL that ends with /eureka/",
			"method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
	}
	if r.Method != http.MethodGet {
		return empty(w, http.StatusNotFound)
	}
	return text(w, http.StatusNotFound, "not found: Eureka's paths are below /eureka/, as in /eureka/apps")
}

// recent answers with the last registrations and cancels, newest first: the page
// lastn of Spring's server.
func (h *Handler) recent(w http.ResponseWriter) int {
	data := struct {
		Node                  string
		Registered, Cancelled []history.Event
	}{Node: h.opts.Node.Overview().Node}
	if h.opts.History != nil {
		data.Registered = h.lastOf(registry.Registered, registry.EventRegistered, registry.EventKept)
		data.Cancelled = h.lastOf(registry.Cancelled, registry.EventCancelled, registry.EventEvicted)
	}
	return h.html(w, "lastn", data)
}

// lastN is how many registrations, and how many cancels, the page lastn shows: Eureka's.
const lastN = 1000

// lastOf returns the last events of these kinds, and of those that were joined the ones
// that brought this part.
func (h *Handler) lastOf(part registry.Bits, kinds ...registry.Kind) []history.Event {
	var out []history.Event
	filter := history.Filter{Kinds: history.KindsOf(append(kinds, registry.EventJoined)...)}
	before, more := uint64(0), true
	for more && len(out) < lastN {
		var events []history.Event
		events, more = h.opts.History.Query(filter, before, lastN)
		for _, e := range events {
			before = e.Seq
			if len(out) < lastN && (e.Kind != registry.EventJoined || e.Changed&part != 0) {
				out = append(out, e)
			}
		}
	}
	return out
}

// html answers with one of the templates.
func (h *Handler) html(w http.ResponseWriter, name string, data any) int {
	var out bytes.Buffer
	if err := h.template.ExecuteTemplate(&out, name, data); err != nil {
		h.log.Error("page not rendered", "err", err)
		return text(w, http.StatusInternalServerError, "page not rendered")
	}
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	header.Set("X-Content-Type-Options", "nosniff")
	return document(w, http.StatusOK, "text/html; charset=utf-8", out.Bytes())
}
