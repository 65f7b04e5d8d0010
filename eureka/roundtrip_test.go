package eureka

import (
	"bytes"
	"encoding/xml"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// random makes instances as decoding leaves them.
type random struct{ *rand.Rand }

// text returns a text of characters that XML has, awkward ones preferred.
func (r random) text() string {
	awkward := []rune("a_$.-:<>&\"'\r\n\t \\/{}[]@éß☃日本\u00a0\u2028\ufffd\U0001f600\ue000\u07ff\u0800")
	var b strings.Builder
	for range r.IntN(12) {
		if r.IntN(4) == 0 {
			b.WriteRune(rune(' ' + r.IntN(95)))
		} else {
			b.WriteRune(awkward[r.IntN(len(awkward))])
		}
	}
	return b.String()
}

// key returns a key of metadata: any text that isn't empty.
func (r random) key() string {
	key := r.text() + string(rune(r.IntN(0x300)))
	if r.IntN(3) == 0 {
		key = string(rune(1+r.IntN(0xd7ff))) + key
	}
	return key
}

func (r random) optional() *string {
	if r.IntN(3) == 0 {
		return nil
	}
	return new(r.text())
}

func (r random) number() int64 {
	switch r.IntN(4) {
	case 0:
		return 0
	case 1:
		return math.MaxInt64
	case 2:
		return -r.Int64N(1000)
	default:
		return 1_700_000_000_000 + r.Int64N(1<<40)
	}
}

func (r random) small() int { return int(int32(r.Uint32())) }

func (r random) status() Status {
	return hashOrder[r.IntN(len(hashOrder))]
}

func (r random) metadata() map[string]string {
	m := map[string]string{}
	for range r.IntN(30) {
		m[r.key()] = r.text()
	}
	return m
}

func (r random) instance() *InstanceInfo {
	i := &InstanceInfo{
		InstanceID: r.optional(), HostName: r.text(), App: Upper(r.text()), IPAddr: r.text(),
		SID: r.text(), Status: r.status(), OverriddenStatus: r.status(),
		Port: Port{r.small(), r.IntN(2) == 0}, SecurePort: Port{r.small(), r.IntN(2) == 0}, CountryID: r.small(),
		DataCenterInfo: DataCenterInfo{Name: []string{MyOwn, Netflix}[r.IntN(2)]},
		LeaseInfo: LeaseInfo{
			RenewalIntervalInSecs: 1 + r.IntN(1000), DurationInSecs: 1 + r.IntN(1000),
			RegistrationTimestamp: r.number(), LastRenewalTimestamp: r.number(), EvictionTimestamp: r.number(), ServiceUpTimestamp: r.number(),
		},
		HomePageURL: r.optional(), StatusPageURL: r.optional(), HealthCheckURL: r.optional(), SecureHealthCheckURL: r.optional(),
		VIPAddress: r.optional(), SecureVIPAddress: r.optional(), ASGName: r.optional(),
		IsCoordinatingDiscoveryServer: r.IntN(2) == 0,
		LastUpdatedTimestamp:          r.number(), LastDirtyTimestamp: r.number(),
		ActionType: []ActionType{"", Added, Modified, Deleted}[r.IntN(4)],
	}
	if r.IntN(3) > 0 {
		i.AppGroupName = new(Upper(r.text()))
	}
	if r.IntN(4) == 0 {
		i.LastDirtyTimestamp = NoTimestamp
	}
	if m := r.metadata(); len(m) > 0 {
		i.Metadata = m
	}
	if r.IntN(3) == 0 {
		i.DataCenterInfo = DataCenterInfo{Amazon, r.metadata()}
		if r.IntN(2) == 0 {
			i.DataCenterInfo.Metadata["instance-id"] = r.text()
			i.DataCenterInfo.Metadata["mac"] = r.text()
			i.DataCenterInfo.Metadata["local-ipv4"] = r.text()
		}
	}
	return i
}

// compacted is what the compact forms keep of an instance.
func compacted(i *InstanceInfo) *InstanceInfo {
	c := newInstance()
	c.InstanceID, c.App, c.IPAddr, c.HostName, c.Status = i.InstanceID, i.App, i.IPAddr, i.HostName, i.Status
	c.VIPAddress, c.SecureVIPAddress, c.ASGName = i.VIPAddress, i.SecureVIPAddress, i.ASGName
	c.LastUpdatedTimestamp, c.ActionType = i.LastUpdatedTimestamp, i.ActionType
	c.Port, c.SecurePort = i.Port, i.SecurePort
	c.DataCenterInfo.Name = i.DataCenterInfo.Name
	if i.DataCenterInfo.Name == Amazon {
		c.DataCenterInfo.Metadata = map[string]string{}
		for _, key := range []string{"instance-id", "public-ipv4", "public-hostname", "local-ipv4", "availability-zone"} {
			if v, ok := i.DataCenterInfo.Metadata[key]; ok {
				c.DataCenterInfo.Metadata[key] = v
			}
		}
	}
	return c
}

// decode(encode(x)) == x, in all four forms.
func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	r := random{rand.New(rand.NewPCG(seed, 0))}
	for range 120 {
		a := Applications{Version: r.text() + "v", HashCode: r.text()}
		for range 1 + r.IntN(3) {
			app := Application{Name: r.text()}
			for range 1 + r.IntN(3) {
				i := r.instance()
				if i.App == "" {
					i.App = "X" // an app that is "" gets the list's
				}
				app.Instances = append(app.Instances, i)
			}
			a.Applications = append(a.Applications, app)
		}
		for _, form := range []Form{{JSON, false}, {JSON, true}, {XML, false}, {XML, true}} {
			want := a
			if form.Compact {
				want.Applications = nil
				for _, app := range a.Applications {
					c := Application{Name: app.Name}
					for _, i := range app.Instances {
						c.Instances = append(c.Instances, compacted(i))
					}
					want.Applications = append(want.Applications, c)
				}
			}
			body := form.AppendApplications(nil, a)
			got, err := DecodeApplications(form.Format, body)
			if err != nil {
				t.Fatalf("seed %d: %+v: %s: %v", seed, form, body, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: %+v: %s:\n got %s\nwant %s", seed, form, body, show(got), show(want))
			}
			app, err := DecodeApplication(form.Format, form.AppendApplicationDocument(nil, a.Applications[0]))
			if err != nil || !reflect.DeepEqual(app, want.Applications[0]) {
				t.Fatalf("seed %d: %+v: %v:\n got %s\nwant %s", seed, form, err, show(app), show(want.Applications[0]))
			}
		}
		i := r.instance()
		for _, f := range []Format{JSON, XML} {
			body := f.AppendInstanceDocument(nil, i)
			got, err := DecodeInstance(f, body)
			if err != nil || !reflect.DeepEqual(got, i) {
				t.Fatalf("seed %d: %s: %v:\n got %s\nwant %s", seed, body, err, show(got), show(i))
			}
			if again := f.AppendInstanceDocument(nil, got); !bytes.Equal(again, body) {
				t.Fatalf("seed %d: written twice:\n%s\n%s", seed, body, again)
			}
		}
	}
}

// What a format can't hold is repaired, and never breaks the document.
func TestRepair(t *testing.T) {
	i := plain()
	i.HostName = "a\xffb\x00c\ufffe"
	i.Status, i.OverriddenStatus = "BROKEN", ""
	i.Metadata = map[string]string{"": "e", "\xff": "\x1b", "@class": "x", "s": "\ud7ff\U0010ffff"}
	t.Run("JSON", func(t *testing.T) {
		body := JSON.AppendInstanceDocument(nil, i)
		if !utf8.Valid(body) {
			t.Errorf("not UTF-8: %q", body)
		}
		got, err := DecodeInstance(JSON, body)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"": "e", "\ufffd": "\x1b", "s": "\ud7ff\U0010ffff"}; !reflect.DeepEqual(got.Metadata, want) {
			t.Errorf("metadata: got %q, want %q", got.Metadata, want)
		}
		if want := "a\ufffdb\x00c\ufffe"; got.HostName != want || got.Status != StatusUnknown || got.OverriddenStatus != StatusUnknown {
			t.Errorf("got %q %s %s, want %q UNKNOWN UNKNOWN", got.HostName, got.Status, got.OverriddenStatus, want)
		}
	})
	t.Run("XML", func(t *testing.T) {
		got, err := DecodeInstance(XML, XML.AppendInstanceDocument(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"\ufffd": "\ufffd", "s": "\ud7ff\U0010ffff"}; !reflect.DeepEqual(got.Metadata, want) {
			t.Errorf("metadata: got %q, want %q", got.Metadata, want)
		}
		if want := "a\ufffdb\ufffdc\ufffd"; got.HostName != want {
			t.Errorf("got %q, want %q", got.HostName, want)
		}
	})
}

func TestXMLNames(t *testing.T) {
	tests := []struct{ key, name string }{
		// As recorded.
		{"zone", "zone"},
		{"a_b-c.d$e", "a__b-c.d_-e"},
		{"management.port", "management.port"},
		{"a b", "a_.0020b"},
		{"1x", "_.0031x"},
		{"a/b", "a_.002fb"},
		// By the same rule.
		{"versions_delta", "versions__delta"},
		{"-a", "_.002da"},
		{".a", "_.002ea"},
		{"Zürich", "Zürich"},
		{"日本", "日本"},
		{"@class", "_.0040class"},
		{"\U0001f600", "_.d83d_.de00"},
		{"\x00", "_.0000"},
		// Ours, see appendXMLName.
		{"a:b", "a_.003ab"},
		{"a:b:c", "a_.003ab_.003ac"},
		{":a", "_.003aa"},
		{"a:", "a_.003a"},
		{"\u1e9e", "ẞ"},
	}
	tests[len(tests)-1].name = "_.1e9e" // legal since the fifth edition only in some parsers' tables
	for _, tt := range tests {
		if got := string(appendXMLName(nil, tt.key)); got != tt.name {
			t.Errorf("%q: got %q, want %q", tt.key, got, tt.name)
		}
		if got := xmlKey(tt.name); got != tt.key {
			t.Errorf("%q: got back %q, want %q", tt.name, got, tt.key)
		}
	}
	// What is no escape stands for itself.
	for name, key := range map[string]string{"a_b": "a_b", "_": "_", "_.00": "_.00", "_.zzzz": "_.zzzz", "_.d83dx": "\ufffdx", "_.de00": "\ufffd", "_.d83d": "\ufffd", "___": "__", "_.d83d_.d83d_.de00": "\ufffd\U0001f600"} {
		if got := xmlKey(name); got != key {
			t.Errorf("%q: got %q, want %q", name, got, key)
		}
	}
}

// Each character that may stand in a name is written so that a parser of
// another hand reads it, at both places.
func TestXMLNamesParse(t *testing.T) {
	for r := rune(0); r <= 0x11000; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		for _, key := range []string{string(r), "a" + string(r), string(r) + string(r)} {
			name := appendXMLName(nil, key)
			var v struct {
				XMLName xml.Name
			}
			if err := xml.Unmarshal([]byte("<"+string(name)+"/>"), &v); err != nil {
				t.Fatalf("%q as %s: %v", key, name, err)
			}
			if got := xmlKey(string(name)); got != key {
				t.Fatalf("%q as %s: got back %q", key, name, got)
			}
		}
	}
}

// What is at Eureka's default, or not known, isn't written.
func TestLeftOut(t *testing.T) {
	for _, sid := range []string{"", "na", "unknown"} {
		i := plain()
		i.SID = sid
		for _, f := range []Format{JSON, XML} {
			body := string(f.AppendInstanceDocument(nil, i))
			for _, word := range []string{"sid", "lastDirtyTimestamp", "actionType", "vipAddress", "appGroupName", "asgName", "null"} {
				if strings.Contains(body, word) {
					t.Errorf("sid %q: %s in %s", sid, word, body)
				}
			}
		}
	}
	i := plain()
	i.InstanceID = nil
	for _, form := range []Form{{JSON, false}, {JSON, true}, {XML, false}, {XML, true}} {
		if body := string(form.AppendInstance(nil, i)); strings.Contains(body, "instanceId") {
			t.Errorf("%+v: instanceId in %s", form, body)
		}
	}
}
