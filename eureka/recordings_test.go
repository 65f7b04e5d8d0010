package eureka

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// recordings is where the exchanges with real servers and clients are; see the
// INDEX.md there.
const recordings = "../testdata/eureka/wire"

// message is one half of a recorded exchange.
type message struct {
	first  string // "POST /eureka/apps/X HTTP/1.1" or "HTTP/1.1 200"
	header map[string]string
	body   []byte
}

// exchange is a recorded request and its answer.
type exchange struct {
	name      string // "server/004-register-orders-1"
	req, resp message
}

func (e exchange) method() string { return strings.Fields(e.req.first)[0] }
func (e exchange) path() string {
	p, _, _ := strings.Cut(strings.Fields(e.req.first)[1], "?")
	return p
}

func (e exchange) status() int {
	n, err := strconv.Atoi(strings.Fields(e.resp.first)[1])
	if err != nil {
		return 0 // the connection was closed without an answer
	}
	return n
}

// formatOf goes by the body: recorded servers mislabel theirs.
func formatOf(body []byte) Format {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return XML
	}
	return JSON
}

// load reads all exchanges of a folder that have an answer, in order.
func load(t testing.TB, folder string) []exchange {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordings, folder, "*.req.http"))
	if err != nil || len(files) == 0 {
		t.Fatalf("recordings of %s: %d files, %v", folder, len(files), err)
	}
	slices.Sort(files)
	var all []exchange
	for _, file := range files {
		e := exchange{name: folder + "/" + strings.TrimSuffix(filepath.Base(file), ".req.http"), req: loadMessage(t, file)}
		answer := strings.TrimSuffix(file, ".req.http") + ".resp.http"
		if _, err := os.Stat(answer); err == nil {
			e.resp = loadMessage(t, answer)
		} else {
			e.resp.first = "HTTP/1.1 0"
		}
		all = append(all, e)
	}
	return all
}

func loadMessage(t testing.TB, file string) message {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	m := message{first: lines[0], header: map[string]string{}, body: body}
	if len(strings.Fields(m.first)) < 2 {
		m.first = "HTTP/1.1 0" // the peer closed the connection without an answer
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, ": ")
		m.header[key] = value
	}
	return m
}

// find returns the exchange of that name.
func find(t testing.TB, all []exchange, name string) exchange {
	t.Helper()
	for _, e := range all {
		if strings.HasSuffix(e.name, "/"+name) {
			return e
		}
	}
	t.Fatalf("no recording %q", name)
	return exchange{}
}

// element is an XML element: attributes and everything that its reader sees,
// except the order of children.
type element struct {
	Name     string
	Attr     []string
	Text     string
	Children []element
}

// parse reads a body with an independent parser into values that compare:
// texts, numbers and booleans stay apart in JSON, layout and the order of
// children are gone in XML.
func parse(t testing.TB, body []byte) any {
	t.Helper()
	if formatOf(body) == JSON {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("parse %.300s: %v", body, err)
		}
		return v
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	var read func(start xml.StartElement) element
	read = func(start xml.StartElement) element {
		e := element{Name: rawName(start.Name)}
		for _, a := range start.Attr {
			e.Attr = append(e.Attr, a.Name.Local+"="+a.Value)
		}
		for {
			token, err := d.Token()
			if err != nil {
				t.Fatalf("parse %.300s: %v", body, err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				e.Children = append(e.Children, read(token))
			case xml.CharData:
				e.Text += string(token)
			case xml.EndElement:
				if len(e.Children) > 0 {
					e.Text = strings.TrimSpace(e.Text)
				}
				slices.SortStableFunc(e.Children, func(a, b element) int { return strings.Compare(a.key(), b.key()) })
				return e
			}
		}
	}
	for {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("parse %.300s: %v", body, err)
		}
		if start, ok := token.(xml.StartElement); ok {
			root := read(start)
			if _, err := d.Token(); !errors.Is(err, io.EOF) {
				t.Fatalf("parse %.300s: something follows: %v", body, err)
			}
			return root
		}
	}
}

// key orders elements.
func (e element) key() string {
	key := e.Name + "\x00" + strings.Join(e.Attr, "\x00") + "\x00" + e.Text
	for _, c := range e.Children {
		key += "\x01" + c.key()
	}
	return key
}

// same reports a difference between two bodies, parsed.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if g, w := parse(t, got), parse(t, want); !reflect.DeepEqual(g, w) {
		t.Errorf("%s:\n got %s\nwant %s", what, show(g), show(w))
	}
}

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// timeOf reads a timestamp of a parsed document, a text or a number.
func timeOf(t testing.TB, v any) int64 {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		text = string(v.(json.Number))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serve sets what the server sets of an instance from how the recorded server
// answered it: v is the instance in parsed full JSON.
func serve(t testing.TB, i *InstanceInfo, v any) {
	t.Helper()
	m := v.(map[string]any)
	lease := m["leaseInfo"].(map[string]any)
	i.LeaseInfo.RegistrationTimestamp = timeOf(t, lease["registrationTimestamp"])
	i.LeaseInfo.LastRenewalTimestamp = timeOf(t, lease["lastRenewalTimestamp"])
	i.LeaseInfo.EvictionTimestamp = timeOf(t, lease["evictionTimestamp"])
	i.LeaseInfo.ServiceUpTimestamp = timeOf(t, lease["serviceUpTimestamp"])
	i.LastUpdatedTimestamp = timeOf(t, m["lastUpdatedTimestamp"])
	i.ActionType = ActionType(m["actionType"].(string))
	i.IsCoordinatingDiscoveryServer = m["isCoordinatingDiscoveryServer"] == "true"
	if i.LastDirtyTimestamp == NoTimestamp {
		i.LastDirtyTimestamp = timeOf(t, m["lastDirtyTimestamp"])
	}
	if i.OverriddenStatus != StatusUnknown {
		i.Status = Status(m["status"].(string)) // an override's doing
	}
}
