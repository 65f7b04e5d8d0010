package api

import (
	"bytes"
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/registry"
)

//go:embed page.html
var pageText string

//go:embed lastn.html
var recentText string

// maxPageInstances bounds the instances that the page lists. The page says how many
// more there are.
const maxPageInstances = 1000

// pageData is what the page shows.
type pageData struct {
	Overview
	Base    string // the service URL, with a slash at its end
	Reads   bool   // lists are served
	Uptime  string
	Hash    string
	Total   int
	Hidden  int // instances beyond maxPageInstances
	Late    int // instances whose lease is over
	Apps    []pageApp
	Metrics bool
}

type pageApp struct {
	Name      string
	Total     int
	Instances []pageInstance
}

type pageInstance struct {
	ID, Status, Address, Link string
	Overridden                bool
	Silent                    time.Duration // since its last heartbeat
	Left                      time.Duration // of its lease
	IsOver                    bool          // its lease is over
	Over                      time.Duration // since then
}

// parsePage reads the templates of the pages.
func parsePage() (*template.Template, error) {
	pages := template.New("").Funcs(template.FuncMap{
		"pageOf": pageOf,
		"plain":  plain.Text,
		"seconds": func(s float64) string {
			return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
		},
		"utc": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") },
	})
	for name, text := range map[string]string{"page": pageText, "lastn": recentText} {
		if _, err := pages.New(name).Parse(text); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// page answers with a page for people. html/template escapes the values of instances,
// and drops links other than http, https and mailto; plain shows what would move a
// cursor or turn the direction of writing.
func (h *Handler) page(w http.ResponseWriter) int {
	apps, hash := h.reg.Summary(maxPageInstances)
	data := pageData{
		Overview: h.opts.Node.Overview(), Reads: h.opts.Node.Readiness().Reads, Hash: hash, Metrics: h.scrape != nil,
	}
	if !data.Started.IsZero() {
		data.Uptime = time.Since(data.Started).Truncate(time.Second).String()
	}
	data.Base = strings.TrimSuffix(cmp.Or(data.URL, "http://HOST:PORT/eureka"), "/") + "/"
	_, data.Late = h.reg.Overdue(0)
	for _, app := range apps {
		shown := pageApp{Name: app.Name, Total: app.Total}
		data.Total += shown.Total
		for _, i := range app.Instances {
			shown.Instances = append(shown.Instances, h.pageInstance(app.Name, i))
		}
		data.Hidden += shown.Total - len(shown.Instances)
		data.Apps = append(data.Apps, shown)
	}
	return h.html(w, "page", data)
}

// pageOf returns where the page of a node is, from its service URL.
func pageOf(serviceURL string) string {
	root := strings.TrimSuffix(strings.TrimSuffix(serviceURL, "/"), "/v2")
	return strings.TrimSuffix(root, "/eureka") + "/"
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
		Registered, Cancelled []registry.Event
	}{Node: h.opts.Node.Overview().Node}
	data.Registered, data.Cancelled = h.reg.Recent()
	return h.html(w, "lastn", data)
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

func (h *Handler) pageInstance(app string, i *eureka.InstanceInfo) pageInstance {
	shown := pageInstance{
		ID: i.ID(), Status: string(i.Status), Address: i.IPAddr,
		Overridden: i.OverriddenStatus != eureka.StatusUnknown,
	}
	if lease, ok := h.reg.Lease(registry.Key{App: app, ID: shown.ID}); ok { // it may be gone since
		shown.Silent = lease.Silent.Truncate(time.Second)
		shown.Left, shown.Over = max(0, lease.Left.Truncate(time.Second)), max(0, (-lease.Left).Truncate(time.Second))
		shown.IsOver = lease.Left < 0
	}
	if i.StatusPageURL != nil {
		shown.Link = *i.StatusPageURL
	}
	return shown
}
