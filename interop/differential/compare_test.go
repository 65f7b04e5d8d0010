package differential

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestCompare compares pairs of answers, of which each case says where they differ.
func TestCompare(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	const list = `{"applications":{"versions__delta":"1","apps__hashcode":"UP_2_","application":[{"name":"X","instance":[` +
		`{"instanceId":"a","port":{"$":1},"lastUpdatedTimestamp":"1800000000001"},{"instanceId":"b","port":{"$":2}}]}]}}`
	tests := []struct {
		name       string
		target     string
		java, ours string
		code       int // of both; 0: 200
		want       []string
	}{
		{name: "the same", java: list, ours: list},
		{name: "the order of instances and members", java: list, ours: `{"applications":{"apps__hashcode":"UP_2_","application":[{"instance":[` +
			`{"port":{"$":2},"instanceId":"b"},{"instanceId":"a","port":{"$":1},"lastUpdatedTimestamp":"1800000000999"}],"name":"X"}],"versions__delta":"1"}}`},
		{name: "a missing instance", java: list, ours: `{"applications":{"versions__delta":"1","apps__hashcode":"UP_2_","application":[{"name":"X","instance":[` +
			`{"instanceId":"a","port":{"$":1},"lastUpdatedTimestamp":"1800000000001"}]}]}}`, want: []string{"body.applications.application[X].instance[b]"}},
		{
			name: "an object for an array", java: `{"application":{"instance":[{"instanceId":"a"}]}}`, ours: `{"application":{"instance":{"instanceId":"a"}}}`,
			want: []string{"body.application.instance", "body.application.instance[a]"},
		},
		{name: "a text for a number", java: `{"a":1}`, ours: `{"a":"1"}`, want: []string{"body.a"}},
		{name: "null for nothing", java: `{}`, ours: `{"a":null}`, want: []string{"body.a"}},
		{name: "a member twice", java: `{"a":1}`, ours: `{"a":1,"a":1}`, want: []string{"body.a#2"}},
		{name: "no time", java: `{"lastUpdatedTimestamp":"1800000000001"}`, ours: `{"lastUpdatedTimestamp":"0"}`, want: []string{"body.lastUpdatedTimestamp"}},
		{name: "a time as a number", java: `{"lastUpdatedTimestamp":"1800000000001"}`, ours: `{"lastUpdatedTimestamp":1800000000001}`, want: []string{"body.lastUpdatedTimestamp"}},
		{name: "lastDirtyTimestamp that both set", java: `{"lastDirtyTimestamp":"1800000000001"}`, ours: `{"lastDirtyTimestamp":"1800000000002"}`},
		{name: "lastDirtyTimestamp that a client set", java: `{"lastDirtyTimestamp":"1700000000001"}`, ours: `{"lastDirtyTimestamp":"1700000000002"}`, want: []string{"body.lastDirtyTimestamp"}},
		{name: "a time in metadata", java: `{"metadata":{"lastDirtyTimestamp":"1800000000001"}}`, ours: `{"metadata":{"lastDirtyTimestamp":"1800000000002"}}`, want: []string{"body.metadata.lastDirtyTimestamp"}},
		{name: "an attribute", java: `<i><port enabled="true">1</port></i>`, ours: `<i><port enabled="false">1</port></i>`, want: []string{"body.i.port.@enabled"}},
		{name: "white space in XML", java: "<i>\n  <port>1</port>\n</i>", ours: `<i><port>1</port></i>`},
		{name: "the escaping of text", java: `<i><a>&lt;&amp;"</a></i>`, ours: `<i><a>&#60;&amp;&quot;</a></i>`},
		{name: "XML cut short", java: `<i><a>1</a></i>`, ours: `<i><a>1</a>`, want: []string{"body"}},
		{name: "the other format", java: `<a>1</a>`, ours: `{"a":1}`, want: []string{"body.XML"}},
		{name: "no body", java: `{}`, ours: ``, want: []string{"body"}},
		{
			name: "applications of another sequence in a delta", target: "/eureka/apps/delta", java: `{"applications":{"versions__delta":"7","application":[{"name":"OLD"},{"name":"N7"}]}}`,
			ours: `{"applications":{"versions__delta":"8","application":[{"name":"N7"}]}}`,
		},
		{
			name: "an application of this sequence in a delta", target: "/eureka/apps/delta", java: `{"applications":{"application":[{"name":"N7"}]}}`,
			ours: `{"applications":{"application":[]}}`, want: []string{"body.applications.application[N7]"},
		},
		{name: "a refusal in words of Eureka", code: 400, java: `Missing hostname`, ours: `Missing appName`, want: []string{"body"}},
		{name: "an error page", code: 404, java: `{"timestamp":"x","status":404,"path":"/"}`, ours: ``, want: []string{"body"}},
		{name: "a 409", code: 409, java: `{"instance":{"status":"UP"}}`, ours: `{"instance":{"status":"DOWN"}}`, want: []string{"body.instance.status"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.code == 0 {
				tt.code = http.StatusOK
			}
			var got []string
			for _, d := range compare(&request{method: http.MethodGet, target: tt.target}, answered(tt.code, tt.java), answered(tt.code, tt.ours), newWindow(now), "7") {
				got = append(got, d.path)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("differences at %q, want %q", got, tt.want)
			}
		})
	}
}

func answered(code int, body string) *answer {
	return &answer{code: code, header: http.Header{}, body: []byte(body)}
}

// TestCompareHead checks what is compared beside the body.
func TestCompareHead(t *testing.T) {
	java, ours := answered(200, "{}"), answered(404, "{}")
	java.header.Set("Content-Type", "application/json")
	if d := compare(&request{}, java, ours, window{}, ""); len(d) != 1 || d[0].path != codePath {
		t.Errorf("differences %v, want one of the status code", d)
	}
	ours.code = 200
	if d := compare(&request{}, java, ours, window{}, ""); len(d) != 1 || d[0].path != contentTypePath {
		t.Errorf("differences %v, want one of the Content-Type", d)
	}
	java, ours = answered(405, ""), answered(405, "")
	java.header.Set("Allow", "GET,HEAD")
	ours.header.Set("Allow", "GET,OPTIONS")
	if d := compare(&request{}, java, ours, window{}, ""); len(d) != 1 || d[0].path != allowPath {
		t.Errorf("differences %v, want one of Allow", d)
	}
}

// TestSameSeed checks that a seed gives one sequence, else it could not be replayed.
func TestSameSeed(t *testing.T) {
	a, b, c := newGenerator(7), newGenerator(7), newGenerator(8)
	other := false
	for range 50 {
		first, second := list(a.sequence()), list(b.sequence())
		if first != second {
			t.Fatalf("one seed, two sequences:\n%s\n%s", first, second)
		}
		other = other || first != list(c.sequence())
	}
	if !other {
		t.Error("two seeds, one sequence")
	}
}
