package api

import (
	"net/http"
	"testing"

	"github.com/registryd/registryd/eureka"
)

const (
	browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	spring  = "application/json, application/xml, text/xml, application/*+json, application/*+xml"
)

func TestNegotiate(t *testing.T) {
	const none = eureka.Format(99)
	for _, c := range []struct {
		name, accept string
		one, list    eureka.Format
	}{
		{"none", "", eureka.XML, eureka.XML},
		{"blank", " ", eureka.XML, eureka.XML},
		{"any", "*/*", eureka.XML, eureka.XML},
		{"java.net's any", "*; q=.2, */*; q=.2", eureka.XML, eureka.XML},
		{"any application", "application/*", eureka.XML, eureka.XML},
		{"JSON", "application/json", eureka.JSON, eureka.JSON},
		{"XML", "application/xml", eureka.XML, eureka.XML},
		{"JSON in capitals", "Application/JSON", eureka.JSON, eureka.JSON},
		{"JSON with a charset", "application/json;charset=UTF-8", eureka.JSON, eureka.JSON},
		{"browser", browser, eureka.XML, eureka.XML},
		{"Spring", spring, eureka.JSON, eureka.JSON},
		{"JSON, then any", "application/json, */*", eureka.JSON, eureka.JSON},
		{"JSON and vendor JSON", "application/json, application/*+json", eureka.JSON, eureka.JSON},
		{"XML rather than JSON", "application/json;q=0.5, application/xml", eureka.XML, eureka.JSON},
		{"JSON rather than XML", "application/xml;q=0.5, application/json", eureka.JSON, eureka.JSON},
		{"XML, then JSON", "application/xml,application/json", eureka.XML, eureka.JSON},
		{"XML, and a word with json in it", "application/xml, application/vnd.x+json", eureka.XML, eureka.XML},
		{"anything but XML", "application/xml;q=0, */*", eureka.JSON, eureka.JSON},
		{"anything but JSON", "application/json;q=0, */*", eureka.XML, eureka.XML},
		{"vendor JSON alone", "application/*+json", none, none},
		{"HTML", "text/html", none, none},
		{"JSON refused", "application/json;q=0", none, none},
		{"a quality that is none", "application/json;q=x", eureka.JSON, eureka.JSON},
		{"commas", ",,,", none, none},
	} {
		h := http.Header{}
		if c.accept != "" {
			h.Set("Accept", c.accept)
		}
		if f, ok := negotiate(h); ok != (c.one != none) || ok && f != c.one {
			t.Errorf("%s: one instance in format %d, %v, want %d", c.name, f, ok, c.one)
		}
		if f, ok := negotiateList(h); ok != (c.list != none) || ok && f.Format != c.list {
			t.Errorf("%s: list in format %d, %v, want %d", c.name, f.Format, ok, c.list)
		}
	}
	lines := http.Header{"Accept": {"text/html", "application/json"}}
	if f, ok := negotiate(lines); !ok || f != eureka.JSON {
		t.Errorf("two lines: format %d, %v, want JSON", f, ok)
	}
}

func TestCompact(t *testing.T) {
	for value, want := range map[string]bool{"": false, "compact": true, "COMPACT": true, "full": false, "[compact]": false, "tiny": false} {
		h := http.Header{"Accept": {"application/json"}, "X-Eureka-Accept": {value}}
		if f, _ := negotiateList(h); f.Compact != want {
			t.Errorf("X-Eureka-Accept %q: compact %v, want %v", value, f.Compact, want)
		}
	}
}

func TestTakesGzip(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "gzip": true, "deflate, gzip": true, "gzip, x-gzip, deflate": true, "GZIP": true, "x-gzip": true,
		"identity": false, "gzip;q=0": false, "gzip;q=0.5": true, "br;q=1.0, gzip;q=0.8": true, "gzipped": false,
	} {
		if got := takesGzip(http.Header{"Accept-Encoding": {value}}); got != want {
			t.Errorf("Accept-Encoding %q: %v, want %v", value, got, want)
		}
	}
}

func TestBodyFormat(t *testing.T) {
	for _, c := range []struct {
		content    string
		format     eureka.Format
		latin1, ok bool
	}{
		{"application/json", eureka.JSON, false, true},
		{"application/json;charset=UTF-8", eureka.JSON, false, true},
		{"application/json; charset=utf-8", eureka.JSON, false, true},
		{`application/json; charset="utf-8"`, eureka.JSON, false, true},
		{"Application/XML", eureka.XML, false, true},
		{"application/xml; charset=iso-8859-1", eureka.XML, true, true},
		{"application/json;charset=UTF-16", eureka.JSON, false, false},
		{"application/vnd.x+json", eureka.JSON, false, false},
		{"text/plain", eureka.JSON, false, false},
		{"text/xml", eureka.JSON, false, false},
		{"", eureka.JSON, false, false},
		{";", eureka.JSON, false, false},
	} {
		f, latin1, ok := bodyFormat(http.Header{"Content-Type": {c.content}})
		if ok != c.ok || ok && (f != c.format || latin1 != c.latin1) {
			t.Errorf("Content-Type %q: format %d, Latin-1 %v, %v, want %d, %v, %v", c.content, f, latin1, ok, c.format, c.latin1, c.ok)
		}
	}
}

func TestIsReplication(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "True": false, "TRUE": false, "false": false, "": false, " true": false, "1": false} {
		if got := isReplication(http.Header{"X-Netflix-Discovery-Replication": {value}}); got != want {
			t.Errorf("header %q: %v, want %v", value, got, want)
		}
	}
	if isReplication(http.Header{}) {
		t.Error("no header: replication")
	}
}

func TestCodings(t *testing.T) {
	for list, want := range map[string]struct {
		gzips int
		ok    bool
	}{
		"": {0, true}, "identity": {0, true}, "utf-8": {0, true}, "none, binary": {0, true},
		"gzip": {1, true}, "X-GZIP": {1, true}, "identity , gzip": {1, true}, "gzip,gzip": {2, true},
		"br": {0, false}, "gzip, deflate": {0, false}, "Zstd": {0, false}, "x-compress": {0, false},
	} {
		if gzips, ok := codings(list); gzips != want.gzips || ok != want.ok {
			t.Errorf("Content-Encoding %q: %d, %v, want %d, %v", list, gzips, ok, want.gzips, want.ok)
		}
	}
}
