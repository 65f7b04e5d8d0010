package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/registry"
)

//go:embed assets
var assets embed.FS

// Page serves the pages of one node: / and what is below /page/. Any goroutine may use
// it, from New on. [Page.Run] keeps open pages up to date.
type Page struct {
	reg      *registry.Registry
	opts     Options
	log      *slog.Logger
	list     *list
	shared   shared
	looking  chan struct{} // a place for each page that asks the other nodes
	feed     *feed
	template *template.Template
	files    map[string]asset
}

// asset is a file that pages refer to.
type asset struct {
	contentType string
	tag         string // of its content
	body        []byte
}

var _ http.Handler = (*Page)(nil)

// New returns the pages of a node whose registry is reg. It fails if an option is out of
// bounds, or its metrics are registered already.
func New(reg *registry.Registry, opts Options) (*Page, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	p := &Page{
		reg: reg, opts: opts, log: opts.Logger.With("component", "page"),
		list: newList(reg), looking: make(chan struct{}, maxLooks),
	}
	if p.files, err = readAssets(); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	p.template, err = template.New("").Funcs(template.FuncMap{
		"plain": plain.Text, "number": number[int], "ago": ago, "fine": fine, "asset": p.asset, "span": span,
		"clock": func(t time.Time) string { return t.UTC().Format("15:04:05Z") },
		"show":  func(s string) string { return statusWords(eureka.Status(s)) },
		"utc":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") },
	}).ParseFS(assets, "assets/*.html")
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	p.feed = newFeed(p)
	if opts.Metrics != nil {
		if err := p.feed.register(opts.Metrics); err != nil {
			return nil, fmt.Errorf("page: %w", err)
		}
	}
	return p, nil
}

func readAssets() (map[string]asset, error) {
	files := map[string]asset{}
	for name, contentType := range map[string]string{
		"style.css": "text/css; charset=utf-8",
		"script.js": "text/javascript; charset=utf-8",
		"icon.svg":  "image/svg+xml",
	} {
		body, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		files[name] = asset{contentType: contentType, tag: hex.EncodeToString(sum[:6]), body: body}
	}
	return files, nil
}

// asset returns the path of a file below /page/. It changes with the content, so that
// browsers may keep the file.
func (p *Page) asset(name string) string { return name + "?v=" + p.files[name].tag }

// ServeHTTP answers a request for a page. Its caller has refused what other sites began.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.Trim(strings.TrimPrefix(strings.Trim(r.URL.Path, "/"), "page"), "/")
	if f, ok := p.files[name]; ok {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		answer(w, http.StatusOK, f.contentType, f.body)
		return
	}
	switch name {
	case "":
		p.render(w, http.StatusOK, "overview", p.overview(r))
	case "list":
		p.listPart(w, r)
	case "live":
		p.live(w, r)
	case "instance":
		view, code := p.instance(r)
		p.render(w, code, "instance", view)
	case "changes":
		p.render(w, http.StatusOK, "changes", p.changes(r))
	case "differences":
		p.render(w, http.StatusOK, "differences", p.differences(r))
	case "configuration":
		p.render(w, http.StatusOK, "configuration", p.configuration())
	case "confirm":
		view, code := p.confirm(r)
		p.render(w, code, "confirm", view)
	case "act":
		p.act(w, r)
	default:
		p.render(w, http.StatusNotFound, "missing", p.frame("../", "Not found"))
	}
}

// policy allows what this package serves, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// render answers with a template.
func (p *Page) render(w http.ResponseWriter, code int, name string, data any) {
	body, err := p.execute(name, data)
	if err != nil {
		p.log.Error("page not rendered", "page", name, "err", err)
		answer(w, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("page not rendered"))
		return
	}
	p.html(w, code, body)
}

// html answers with what was rendered.
func (p *Page) html(w http.ResponseWriter, code int, body []byte) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	answer(w, code, "text/html; charset=utf-8", body)
}

func (p *Page) execute(name string, data any) ([]byte, error) {
	var out bytes.Buffer
	if err := p.template.ExecuteTemplate(&out, name, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func answer(w http.ResponseWriter, code int, contentType string, body []byte) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body) //nolint:errcheck // The browser is gone: there is nobody to tell.
}
