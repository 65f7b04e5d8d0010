package consumer_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// recordings holds what a Spring Cloud Eureka server answered, in order; see the
// INDEX.md beside it.
const recordings = "../testdata/eureka/wire/server"

// message is one side of an exchange: first line, headers, body.
type message struct {
	first, header string
	body          []byte
}

func loadMessage(tb testing.TB, file string) message {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	head, body, _ := bytes.Cut(data, []byte("\n\n"))
	first, header, _ := strings.Cut(string(head), "\n")
	return message{first, header, body}
}

// otherwise names the recorded batches that we answer or read differently, on
// purpose.
type otherwise struct {
	why string
	// edits are pairs of texts: the first is taken out of the recorded body and
	// the second put in its place.
	edits []string
}

var differences = map[string]otherwise{
	"270-show-batch-heartbeat-newer-override": {
		"an override that a peer's heartbeat brought is visible at once; Eureka shows it after the next renewal",
		[]string{`"status":"UP"`, `"status":"OUT_OF_SERVICE"`, `"actionType":"ADDED"`, `"actionType":"MODIFIED"`},
	},
	"284-batch-mixed": {
		"a register that is not newer than what was cancelled has not heard of the cancel",
		[]string{
			`[{"statusCode":200},{"statusCode":200},{"statusCode":404},{"statusCode":404},{"statusCode":200},{"statusCode":200}]`,
			`[{"statusCode":200},{"statusCode":404},{"statusCode":404},{"statusCode":404},{"statusCode":404},{"statusCode":404}]`,
		},
	},
}

// The batches that were recorded with a real server, through the strict decoder
// and Apply: the same results and the same instances afterwards.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(recordings, "2[6-9][0-9]-*.req.http"))
	if err != nil || len(files) != 36 {
		t.Fatalf("%d recordings, %v, want 36: 260 to 295", len(files), err)
	}
	n := newNode(t, consumer.Options{})
	applied, refused, shown := 0, 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".req.http")
		req, resp := loadMessage(t, file), loadMessage(t, strings.TrimSuffix(file, ".req.http")+".resp.http")
		code := strings.Fields(resp.first)[1]
		for edits := differences[name].edits; len(edits) > 0; edits = edits[2:] {
			if !bytes.Contains(resp.body, []byte(edits[0])) {
				t.Fatalf("%s: %s is not in the recording", name, edits[0])
			}
			resp.body = bytes.Replace(resp.body, []byte(edits[0]), []byte(edits[1]), 1)
		}
		if strings.HasPrefix(req.first, "GET ") {
			shown++
			checkShown(t, name, n, req.first, code, resp.body)
			continue
		}
		list, err := eureka.DecodeReplicationList(req.body, eureka.ListOptions{})
		switch {
		case strings.Contains(req.header, "Content-Encoding: gzip"):
			// Spring's server refuses any compressed body: a matter of HTTP.
		case code == "400":
			refused++
			if err == nil || errors.Is(err, eureka.ErrNoReplicationList) {
				t.Errorf("%s: decoded with %v, want it refused with 400", name, err)
			}
		case code == "500":
			refused++
			if !errors.Is(err, eureka.ErrNoReplicationList) {
				t.Errorf("%s: decoded with %v, want %v", name, err, eureka.ErrNoReplicationList)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			applied++
			got := eureka.AppendReplicationListResponse(nil, n.Apply("java-1", list))
			want := resp.body
			if strings.Contains(resp.header, "application/xml") {
				want = fromXML(t, want)
			}
			same(t, name, got, want)
		}
	}
	if applied != 25 || refused != 5 || shown != 5 {
		t.Errorf("%d batches applied, %d refused, %d reads, want 25, 5 and 5", applied, refused, shown)
	}
}

// checkShown compares what readers see with a recorded GET apps/APP/id.
func checkShown(t *testing.T, name string, n *node, first, code string, body []byte) {
	t.Helper()
	path := strings.Split(strings.Fields(first)[1], "/")
	i, ok := n.reg.Instance(registry.NewKey(path[len(path)-2], path[len(path)-1]))
	if !ok || code == "404" {
		if ok || code != "404" {
			t.Errorf("%s: readers see it: %t, recorded %s", name, ok, code)
		}
		return
	}
	same(t, name, eureka.JSON.AppendInstanceDocument(nil, i), body)
}

// same compares two documents as INDEX.md says: by their values, of those that
// the server sets whether they are zero.
func same(t *testing.T, name string, got, want []byte) {
	t.Helper()
	if a, b := parse(t, name, got), parse(t, name, want); !reflect.DeepEqual(a, b) {
		t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
	}
}

func parse(t *testing.T, name string, body []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s: %v: %s", name, err, body)
	}
	level(v)
	return v
}

// level makes what the server sets comparable.
func level(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			level(e)
		}
	case map[string]any:
		for key, e := range v {
			switch key {
			case "lastUpdatedTimestamp", "registrationTimestamp", "lastRenewalTimestamp", "evictionTimestamp", "serviceUpTimestamp":
				v[key] = e != "0" && e != float64(0)
			default:
				level(e)
			}
		}
	}
}

// fromXML turns the recorded answer in XML into the JSON that it stands for.
func fromXML(t *testing.T, body []byte) []byte {
	t.Helper()
	var doc struct {
		Codes []int `xml:"responseList>com.netflix.eureka.cluster.protocol.ReplicationInstanceResponse>statusCode"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil || len(doc.Codes) == 0 {
		t.Fatalf("XML: %v: %s", err, body)
	}
	list := make(eureka.ReplicationListResponse, len(doc.Codes))
	for i, code := range doc.Codes {
		list[i].StatusCode = code
	}
	return eureka.AppendReplicationListResponse(nil, list)
}
