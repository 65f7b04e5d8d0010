package eureka

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// takenAnyway lists the registrations that Eureka's server refuses and we take,
// see DecodeInstance.
var takenAnyway = map[string]bool{
	"server/112-reg-dc-no-class":            true,
	"server/113-reg-dc-unknown-class":       true,
	"server/117-reg-dc-name-lower":          true,
	"server/119-reg-dc-extra-field":         true,
	"server/134-reg-gzip-body":              true, // stored decompressed
	"server/141-tol-unknown-array-register": true,
	"server/154-tol-port-number-register":   true,
	"server/161-tol-port-extra-register":    true,
}

// Every recorded registration is taken or refused as the server did it, with
// its text.
func TestRecordedRegistrations(t *testing.T) {
	seen := 0
	for _, folder := range []string{"server", "client-spring", "client-jersey"} {
		for _, e := range load(t, folder) {
			if e.method() != "POST" || !strings.Contains(e.path(), "/apps/") || strings.HasSuffix(e.path(), "/delta") || e.status() == 415 {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				seen++
				f := JSON
				if strings.Contains(e.req.header["Content-Type"], "xml") {
					f = XML
				}
				i, err := DecodeInstance(f, e.req.body)
				unreadable := strings.Contains(string(e.resp.body), "cannot parse request body")
				switch {
				case takenAnyway[e.name]:
					if err != nil || !unreadable {
						t.Fatalf("refused: %v; recorded: %s", err, e.resp.body)
					}
				case unreadable:
					if err == nil {
						t.Fatalf("taken, want an error: %s", e.req.body)
					}
					return
				case err != nil:
					t.Fatalf("refused: %v, recorded: %d %s", err, e.status(), e.resp.body)
				}
				app := e.path()[strings.LastIndexByte(e.path(), '/')+1:]
				switch err := i.Check(app); {
				case err == nil && e.status() == 400 && !takenAnyway[e.name]:
					t.Errorf("check passed, want %q", e.resp.body)
				case err != nil && err.Error() != string(e.resp.body):
					t.Errorf("check: got %q, want %q", err, e.resp.body)
				}
			})
		}
	}
	if seen < 85 {
		t.Errorf("got %d registrations, want at least 85", seen)
	}
}

// What the server stored of each tolerated registration is what we write of it.
func TestRecordedTolerance(t *testing.T) {
	all := load(t, "server")
	seen := 0
	for n, e := range all {
		base, ok := strings.CutSuffix(e.name, "-register")
		if !ok || !strings.Contains(base, "-tol-") || e.status() != 204 {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			seen++
			stored := all[n+1]
			if !strings.HasSuffix(stored.name, "-stored") {
				t.Fatalf("%s follows", stored.name)
			}
			i, err := DecodeInstance(JSON, e.req.body)
			if err != nil {
				t.Fatal(err)
			}
			want := parse(t, stored.resp.body).(map[string]any)
			instance := want["instance"].(map[string]any)
			serve(t, i, instance)
			if strings.Contains(base, "tol-unknown-object") {
				// Eureka reads the members of the unknown object as the
				// instance's. We don't.
				if i.Status != StatusUp || instance["status"] != "DOWN" {
					t.Errorf("status: got %s, recorded %s, want UP and DOWN", i.Status, instance["status"])
				}
				instance["status"] = "UP"
			}
			text, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "stored", JSON.AppendInstanceDocument(nil, i), text)
		})
	}
	if seen < 20 {
		t.Errorf("got %d registrations, want at least 20", seen)
	}
}

// fixture returns the instances of the recorded fixture as the registry holds
// them, by id, built from the registrations.
func fixture(t testing.TB, all []exchange) map[string]*InstanceInfo {
	t.Helper()
	held := map[string]*InstanceInfo{}
	for _, e := range all {
		if e.method() != "POST" || !strings.Contains(e.name, "-register-") || e.name >= "server/029" {
			continue
		}
		i, err := DecodeInstance(formatOf(e.req.body), e.req.body)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		held[i.ID()] = i
	}
	full := parse(t, find(t, all, "029-get-apps-json").resp.body).(map[string]any)["applications"].(map[string]any)
	for _, app := range full["application"].([]any) {
		for _, v := range app.(map[string]any)["instance"].([]any) {
			m := v.(map[string]any)
			id, ok := m["instanceId"].(string)
			if !ok {
				id = m["hostName"].(string)
				if d, amazon := m["dataCenterInfo"].(map[string]any)["metadata"].(map[string]any); amazon {
					id = d["instance-id"].(string)
				}
			}
			if held[id] == nil {
				t.Fatalf("no registration of %q", id)
			}
			serve(t, held[id], v)
		}
	}
	if len(held) != 13 {
		t.Fatalf("got %d instances, want 13", len(held))
	}
	return held
}

// asListed returns the fixture's instances that a recorded list holds, in its
// order. Only names and ids are taken from the recording.
func asListed(t testing.TB, held map[string]*InstanceInfo, apps []Application) []Application {
	t.Helper()
	var listed []Application
	for _, a := range apps {
		l := Application{Name: a.Name}
		for _, i := range a.Instances {
			id := i.ID()
			if held[id] == nil {
				t.Fatalf("%q is not of the fixture", id)
			}
			l.Instances = append(l.Instances, held[id])
		}
		listed = append(listed, l)
	}
	return listed
}

// All recorded reads of the fixture, in all four forms, are written anew from
// the registrations.
func TestRecordedFixture(t *testing.T) {
	all := load(t, "server")
	held := fixture(t, all)
	seen := 0
	for _, e := range all {
		if e.name < "server/029" || e.name >= "server/088" || e.status() != 200 || e.method() != "GET" {
			continue
		}
		seen++
		t.Run(e.name, func(t *testing.T) {
			body := e.resp.body
			form := formFor(e)
			var got []byte
			switch root(body) {
			case "applications":
				a, err := DecodeApplications(form.Format, body)
				if err != nil {
					t.Fatal(err)
				}
				listed := Applications{Version: a.Version, Applications: asListed(t, held, a.Applications)}
				if strings.Contains(e.path(), "vips/") {
					counts := listed.StatusCounts()
					listed.HashCode = counts.HashCode()
				} else {
					var counts StatusCounts
					for _, i := range held {
						counts.Add(i.Status)
					}
					listed.HashCode = counts.HashCode()
				}
				got = form.AppendApplications(nil, listed)
			case "application":
				a, err := DecodeApplication(form.Format, body)
				if err != nil {
					t.Fatal(err)
				}
				got = form.AppendApplicationDocument(nil, asListed(t, held, []Application{a})[0])
			case "instance":
				i, err := DecodeInstance(form.Format, body)
				if err != nil {
					t.Fatal(err)
				}
				if e.name == "server/082-get-instance-xml-out-of-service" {
					// Eureka's first version knew no OUT_OF_SERVICE; we tell the truth.
					if text := string(XML.AppendInstanceDocument(nil, held[i.ID()])); !strings.Contains(text, "<status>OUT_OF_SERVICE</status>") {
						t.Errorf("got %s, want OUT_OF_SERVICE", text)
					}
					body = []byte(strings.Replace(string(body), "<status>DOWN</status>", "<status>OUT_OF_SERVICE</status>", 1))
				}
				got = form.Format.AppendInstanceDocument(nil, held[i.ID()])
			default:
				t.Fatalf("unknown document: %.100s", body)
			}
			same(t, "written anew", got, body)
		})
	}
	if seen != 58 {
		t.Errorf("got %d reads, want 58", seen)
	}
}

// Whatever a server answered is the same after reading and writing it.
func TestRecordedAnswersRoundTrip(t *testing.T) {
	seen := 0
	for _, folder := range []string{"server", "client-spring", "client-jersey"} {
		for _, e := range load(t, folder) {
			if e.status() != 200 && e.status() != 409 || len(e.resp.body) == 0 || e.method() == "POST" {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				seen++
				form := formFor(e)
				same(t, "round trip", rewrite(t, form, e.resp.body), e.resp.body)
			})
		}
	}
	if seen < 134 {
		t.Errorf("got %d answers, want at least 134", seen)
	}
}

// rewrite decodes a document and writes it again.
func rewrite(t testing.TB, form Form, body []byte) []byte {
	t.Helper()
	switch name := root(body); name {
	case "applications":
		a, err := DecodeApplications(form.Format, body)
		if err != nil {
			t.Fatal(err)
		}
		return form.AppendApplications(nil, a)
	case "application":
		a, err := DecodeApplication(form.Format, body)
		if err != nil {
			t.Fatal(err)
		}
		return form.AppendApplicationDocument(nil, a)
	case "instance":
		i, err := DecodeInstance(form.Format, body)
		if err != nil {
			t.Fatal(err)
		}
		return form.Format.AppendInstanceDocument(nil, i)
	default:
		t.Fatalf("unknown document %q: %.100s", name, body)
		return nil
	}
}

// formFor returns the form of a recorded answer.
func formFor(e exchange) Form {
	compact := strings.EqualFold(e.req.header["X-Eureka-Accept"], "compact")
	return Form{Format: formatOf(e.resp.body), Compact: compact && root(e.resp.body) != "instance"}
}

// root returns what a document holds.
func root(body []byte) string {
	text := strings.TrimLeft(string(body), "<{\" \n")
	end := strings.IndexAny(text, "\"> /")
	if end < 0 {
		return ""
	}
	return text[:end]
}

// The empty documents are those of a server that knows nobody.
func TestEmptyDocuments(t *testing.T) {
	all := load(t, "server")
	tests := []struct {
		name    string
		form    Form
		version string
	}{
		{"001-empty-apps-json", Form{}, "1"},
		{"002-empty-apps-xml", Form{Format: XML}, "1"},
		{"073-get-vip-none-json", Form{}, "-1"},
		{"074-get-vip-none-json-compact", Form{Compact: true}, "-1"},
		{"075-get-vip-none-xml", Form{Format: XML}, "-1"},
		{"076-get-vip-none-xml-compact", Form{XML, true}, "-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := find(t, all, tt.name)
			same(t, "empty", tt.form.AppendApplications(nil, Applications{Version: tt.version, Applications: []Application{{Name: "GONE"}}}), e.resp.body)
			a, err := DecodeApplications(tt.form.Format, e.resp.body)
			if err != nil || len(a.Applications) != 0 || a.Version != tt.version || a.HashCode != "" {
				t.Errorf("decoded: %+v, %v", a, err)
			}
		})
	}
	same(t, "empty application", Form{}.AppendApplicationDocument(nil, Application{Name: "X"}), []byte(`{"application":{"name":"X","instance":[]}}`))
}

// The members stand in the order in which Eureka writes them.
func TestKeyOrder(t *testing.T) {
	all := load(t, "server")
	for _, name := range []string{"029-get-apps-json", "030-get-apps-json-compact", "036-get-delta-xml-compact", "032-get-apps-xml-compact", "083-get-instance-json-out-of-service"} {
		e := find(t, all, name)
		got, want := keys(rewrite(t, formFor(e), e.resp.body)), keys(e.resp.body)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
	}
}

// keys lists the members of a document as written, those of metadata left out.
func keys(body []byte) []string {
	sep, meta := `"`, `"metadata":{`
	end := "}"
	if formatOf(body) == XML {
		sep, meta, end = "<", "<metadata>", "</metadata>"
	}
	text := string(body)
	for {
		from := strings.Index(text, meta)
		if from < 0 {
			break
		}
		to := strings.Index(text[from:], end)
		text = text[:from] + text[from+to:]
	}
	var names []string
	for part := range strings.SplitSeq(text, sep) {
		if name := strings.TrimRight(part, ">"); name != "" && !strings.ContainsAny(name, "/ :{}[],.") && strings.ToLower(name[:1]) == name[:1] {
			names = append(names, name)
		}
	}
	return names
}
