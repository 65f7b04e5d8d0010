package eureka

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// inst is a registration with the members given behind the required ones.
func inst(members string) []byte {
	if members != "" {
		members = "," + members
	}
	return []byte(`{"instance":{"instanceId":"i","hostName":"h","app":"A","ipAddr":"192.0.2.1","dataCenterInfo":{"name":"MyOwn"}` + members + `}}`)
}

// xinst is the same in XML.
func xinst(elements string) []byte {
	return []byte(`<instance><instanceId>i</instanceId><hostName>h</hostName><app>A</app><ipAddr>192.0.2.1</ipAddr><dataCenterInfo><name>MyOwn</name></dataCenterInfo>` + elements + `</instance>`)
}

// plain is what inst("") and xinst("") hold.
func plain() *InstanceInfo {
	return &InstanceInfo{
		InstanceID: new("i"), HostName: "h", App: "A", IPAddr: "192.0.2.1",
		Status: StatusUp, OverriddenStatus: StatusUnknown,
		Port: Port{7001, true}, SecurePort: Port{7002, false}, CountryID: 1,
		DataCenterInfo:     DataCenterInfo{Name: MyOwn},
		LeaseInfo:          LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
		LastDirtyTimestamp: NoTimestamp,
	}
}

func TestDecodeInstance(t *testing.T) {
	tests := []struct {
		name  string
		f     Format
		body  []byte
		wants func(*InstanceInfo)
	}{
		{"defaults", JSON, inst(``), func(*InstanceInfo) {}},
		{"defaults in XML", XML, xinst(``), func(*InstanceInfo) {}},
		{"nulls are missing", JSON, inst(`"status":null,"overriddenstatus":null,"port":null,"securePort":null,"countryId":null,"leaseInfo":null,"metadata":null,"appGroupName":null,"vipAddress":null,"lastDirtyTimestamp":null,"actionType":null,"sid":null,"isCoordinatingDiscoveryServer":null,"lastUpdatedTimestamp":null`), func(*InstanceInfo) {}},
		{"a later null takes back", JSON, inst(`"status":"DOWN","vipAddress":"v","status":null,"vipAddress":null`), func(*InstanceInfo) {}},
		{"the last counts", JSON, inst(`"status":"DOWN","status":"STARTING","overriddenStatus":"UP","overriddenstatus":"DOWN"`), func(i *InstanceInfo) { i.Status, i.OverriddenStatus = StatusStarting, StatusDown }},
		{"the last metadata counts", JSON, inst(`"metadata":{"a":"1","b":"2"},"metadata":{"a":"3","a":"4"}`), func(i *InstanceInfo) { i.Metadata = map[string]string{"a": "4"} }},
		{"lower-case status is none in JSON", JSON, inst(`"status":"up"`), func(i *InstanceInfo) { i.Status = StatusUnknown }},
		{"lower-case status is one in XML", XML, xinst(`<status>down</status><overriddenstatus>Out_Of_Service</overriddenstatus>`), func(i *InstanceInfo) { i.Status, i.OverriddenStatus = StatusDown, StatusOutOfService }},
		{"unknown status in XML", XML, xinst(`<status>BROKEN</status>`), func(i *InstanceInfo) { i.Status = StatusUnknown }},
		{"empty status", JSON, inst(`"status":"","overriddenstatus":""`), func(i *InstanceInfo) { i.Status = StatusUnknown }},
		{"group is upper-cased", JSON, inst(`"appGroupName":"people","app":"straße"`), func(i *InstanceInfo) { i.AppGroupName, i.App = new("PEOPLE"), "STRASSE" }},
		{"empty texts stay", JSON, inst(`"vipAddress":"","homePageUrl":"","instanceId":""`), func(i *InstanceInfo) { i.VIPAddress, i.HomePageURL, i.InstanceID = new(""), new(""), new("") }},
		{"empty texts stay in XML", XML, xinst(`<vipAddress/><homePageUrl></homePageUrl>`), func(i *InstanceInfo) { i.VIPAddress, i.HomePageURL = new(""), new("") }},
		{"default sid is none", JSON, inst(`"sid":"na"`), func(*InstanceInfo) {}},
		{"unknown sid is none", XML, xinst(`<sid>unknown</sid>`), func(*InstanceInfo) {}},
		{"sid", JSON, inst(`"sid":"s"`), func(i *InstanceInfo) { i.SID = "s" }},
		{"numbers as texts", JSON, inst(`"countryId":"44","lastDirtyTimestamp":"5","lastUpdatedTimestamp":" 6 ","port":{"$":"8","@enabled":false}`), func(i *InstanceInfo) {
			i.CountryID, i.LastDirtyTimestamp, i.LastUpdatedTimestamp, i.Port = 44, 5, 6, Port{8, false}
		}},
		{"numbers as numbers", JSON, inst(`"countryId":44,"lastDirtyTimestamp":1.7e12,"lastUpdatedTimestamp":6.9`), func(i *InstanceInfo) {
			i.CountryID, i.LastDirtyTimestamp, i.LastUpdatedTimestamp = 44, 1_700_000_000_000, 6
		}},
		{"texts as numbers", JSON, inst(`"hostName":5,"vipAddress":true`), func(i *InstanceInfo) { i.HostName, i.VIPAddress = "5", new("true") }},
		{"blank numbers are missing", JSON, inst(`"countryId":"","lastDirtyTimestamp":" "`), func(*InstanceInfo) {}},
		{"texts in numbers that nobody needs", JSON, inst(`"countryId":"US","lastDirtyTimestamp":"2023-11-14T22:13:20Z","lastUpdatedTimestamp":"yesterday","leaseInfo":{"registrationTimestamp":"x","lastRenewalTimestamp":"","evictionTimestamp":"Inf","serviceUpTimestamp":"0x1p4"}`), func(*InstanceInfo) {}},
		{"the same in XML", XML, xinst(`<countryId>US</countryId><lastDirtyTimestamp>2023-11-14T22:13:20Z</lastDirtyTimestamp><lastUpdatedTimestamp>true</lastUpdatedTimestamp><leaseInfo><registrationTimestamp>x</registrationTimestamp><serviceUpTimestamp>Inf</serviceUpTimestamp></leaseInfo>`), func(*InstanceInfo) {}},
		{"byte order mark", JSON, []byte("\ufeff" + string(inst(`"sid":"é"`))), func(i *InstanceInfo) { i.SID = "é" }},
		{"declared Latin-1", XML, []byte("<?xml version='1.0' encoding='ISO-8859-1'?>" + string(xinst("<sid>caf\xe9</sid>"))), func(i *InstanceInfo) { i.SID = "café" }},
		{"declared Windows-1252", XML, []byte(`<?xml version="1.0" encoding="windows-1252" standalone="yes"?>` + string(xinst("<sid>\x80</sid>"))), func(i *InstanceInfo) { i.SID = "€" }},
		{"zero and negative dirty timestamps", JSON, inst(`"lastDirtyTimestamp":-1`), func(i *InstanceInfo) { i.LastDirtyTimestamp = -1 }},
		{"plain port", JSON, inst(`"port":8,"securePort":"9"`), func(i *InstanceInfo) { i.Port, i.SecurePort = Port{8, true}, Port{9, false} }},
		{"port alone in XML", XML, xinst(`<port>8</port><securePort>9</securePort>`), func(i *InstanceInfo) { i.Port, i.SecurePort = Port{8, true}, Port{9, false} }},
		{"enabled in XML", XML, xinst(`<port enabled="false">8</port><securePort enabled='true'>9</securePort>`), func(i *InstanceInfo) { i.Port, i.SecurePort = Port{8, false}, Port{9, true} }},
		{"enabled as a number", JSON, inst(`"port":{"@enabled":0},"securePort":{"@enabled":1,"$":9}`), func(i *InstanceInfo) { i.Port, i.SecurePort = Port{7001, false}, Port{9, true} }},
		{"lease without use", JSON, inst(`"leaseInfo":{"renewalIntervalInSecs":0,"durationInSecs":-5,"x":{"y":[1]}}`), func(*InstanceInfo) {}},
		{"lease", XML, xinst(`<leaseInfo><renewalIntervalInSecs>5</renewalIntervalInSecs><durationInSecs>15</durationInSecs><serviceUpTimestamp>9</serviceUpTimestamp></leaseInfo>`), func(i *InstanceInfo) {
			i.LeaseInfo = LeaseInfo{RenewalIntervalInSecs: 5, DurationInSecs: 15, ServiceUpTimestamp: 9}
		}},
		{"metadata becomes text", JSON, inst(`"metadata":{"n":1.50,"b":true,"z":null,"@class":"x","s":"\u00fc\n"}`), func(i *InstanceInfo) {
			i.Metadata = map[string]string{"n": "1.50", "b": "true", "z": "null", "s": "ü\n"}
		}},
		{"metadata in XML", XML, xinst(`<metadata class="x"><a__b_-c>1 &lt;&#13;</a__b_-c><_.0031x/><a_.0020b> t </a_.0020b><z><![CDATA[<x>]]><!-- c -->y</z><_.0040class>java</_.0040class></metadata>`), func(i *InstanceInfo) {
			i.Metadata = map[string]string{"a_b$c": "1 <\r", "1x": "", "a b": " t ", "z": "<x>y"}
		}},
		{"empty metadata", XML, xinst(`<metadata class="java.util.Collections$EmptyMap"/>`), func(*InstanceInfo) {}},
		{"unknown members", JSON, inst(`"x":{"status":"DOWN","app":{"app":"B"}},"y":[[{"status":"DOWN"}],null],"Status":"DOWN","z":1e999`), func(*InstanceInfo) {}},
		{"unknown elements", XML, xinst(`<x><status>DOWN</status></x><Status>DOWN</Status><p:status>DOWN</p:status>`), func(*InstanceInfo) {}},
		{"data centre of Netflix", JSON, inst(`"dataCenterInfo":{"name":"Netflix","@class":"com.netflix.appinfo.MyDataCenterInfo"}`), func(i *InstanceInfo) { i.DataCenterInfo.Name = Netflix }},
		{"case of the data centre's name", JSON, inst(`"dataCenterInfo":{"name":"myown"}`), func(*InstanceInfo) {}},
		{"Amazon in lower case in XML", XML, xinst(`<dataCenterInfo class="whatever"><name>amazon</name><metadata><instance-id>i-1</instance-id></metadata></dataCenterInfo>`), func(i *InstanceInfo) {
			i.DataCenterInfo = DataCenterInfo{Amazon, map[string]string{"instance-id": "i-1"}}
		}},
		{"metadata of Amazon that is null", JSON, inst(`"dataCenterInfo":{"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon","metadata":null}`), func(i *InstanceInfo) {
			i.DataCenterInfo = DataCenterInfo{Amazon, map[string]string{}}
		}},
		{"metadata of Amazon that is a text", JSON, inst(`"dataCenterInfo":{"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon","metadata":""}`), func(i *InstanceInfo) {
			i.DataCenterInfo = DataCenterInfo{Amazon, map[string]string{}}
		}},
		{"Amazon's class goes before the name", JSON, inst(`"dataCenterInfo":{"name":"MyOwn","metadata":{"mac":null,"vpc-id":"v"},"@class":"com.netflix.appinfo.AmazonInfo"}`), func(i *InstanceInfo) {
			i.DataCenterInfo = DataCenterInfo{Amazon, map[string]string{"vpc-id": "v"}}
		}},
		{"metadata of other data centres goes", JSON, inst(`"dataCenterInfo":{"name":"MyOwn","metadata":{"instance-id":"i-1"}}`), func(*InstanceInfo) {}},
		{"action type", JSON, inst(`"actionType":"DELETED"`), func(i *InstanceInfo) { i.ActionType = Deleted }},
		{"unknown action type", JSON, inst(`"actionType":"FOO"`), func(*InstanceInfo) {}},
		{"coordinating", XML, xinst(`<isCoordinatingDiscoveryServer>TRUE</isCoordinatingDiscoveryServer>`), func(i *InstanceInfo) { i.IsCoordinatingDiscoveryServer = true }},
		{"white space", JSON, []byte(" \r\n\t" + string(inst("")) + "\n "), func(*InstanceInfo) {}},
		{"declaration and comments", XML, []byte("\ufeff<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<!-- c -->" + string(xinst("")) + "\n<!-- c -->\n"), func(*InstanceInfo) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := plain()
			tt.wants(want)
			got, err := DecodeInstance(tt.f, tt.body)
			if err != nil {
				t.Fatalf("%s: %v", tt.body, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %s\nwant %s", tt.body, show(got), show(want))
			}
		})
	}
}

func TestDecodeInstanceRefuses(t *testing.T) {
	nest := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	tests := []struct {
		name string
		f    Format
		body []byte
		says string // part of the error
	}{
		{"nothing", JSON, nil, "EOF"},
		{"nothing in XML", XML, nil, "EOF"},
		{"null", JSON, []byte(`null`), "not an object"},
		{"a text", JSON, []byte(`"instance"`), "not an object"},
		{"an array", JSON, []byte(`[{}]`), "not an object"},
		{"two documents", JSON, []byte(string(inst("")) + `{}`), "something follows"},
		{"no wrapper's end", JSON, inst("")[:len(inst(""))-1], "EOF"},
		{"app missing", JSON, []byte(`{"instance":{"hostName":"h"}}`), "app is missing"},
		{"app null", JSON, inst(`"app":null`), "app is missing"},
		{"app missing in XML", XML, []byte(`<instance><hostName>h</hostName></instance>`), "app is missing"},
		{"app an object", JSON, inst(`"app":{}`), "/instance/app: not a text"},
		{"unknown data centre", JSON, inst(`"dataCenterInfo":{"name":"Azure"}`), "/instance/dataCenterInfo: unknown name"},
		{"unknown data centre in XML", XML, xinst(`<dataCenterInfo><name>Azure</name></dataCenterInfo>`), "unknown name"},
		{"data centre a text", JSON, inst(`"dataCenterInfo":"MyOwn"`), "not an object"},
		{"Amazon without metadata", JSON, inst(`"dataCenterInfo":{"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon"}`), "metadata of Amazon"},
		{"nested metadata", JSON, inst(`"metadata":{"a":{}}`), "/instance/metadata/a: not a text"},
		{"an array in metadata", JSON, inst(`"metadata":{"a":[]}`), "/instance/metadata/a: not a text"},
		{"nested metadata in XML", XML, xinst(`<metadata><a><b/></a></metadata>`), "not a text"},
		{"port an array", JSON, inst(`"port":[1]`), "not an object"},
		{"port beyond 32 bits", JSON, inst(`"port":{"$":2147483648}`), "/instance/port/$: number out of range"},
		{"duration beyond 32 bits", XML, xinst(`<leaseInfo><durationInSecs>99999999999</durationInSecs></leaseInfo>`), "number out of range"},
		{"timestamp beyond 64 bits", JSON, inst(`"lastDirtyTimestamp":9223372036854775808`), "number out of range"},
		{"timestamp far beyond", JSON, inst(`"lastDirtyTimestamp":1e999`), "number out of range"},
		{"timestamp barely beyond", JSON, inst(`"lastDirtyTimestamp":9.3e18`), "number out of range"},
		{"timestamp an object", JSON, inst(`"lastDirtyTimestamp":{}`), "/instance/lastDirtyTimestamp: not a text"},
		{"country beyond 32 bits", XML, xinst(`<countryId>2147483648</countryId>`), "number out of range"},
		{"port no number", JSON, inst(`"port":{"$":"http"}`), "not a number"},
		{"duration infinite", JSON, inst(`"leaseInfo":{"durationInSecs":"Inf"}`), "not a number"},
		{"interval hexadecimal", XML, xinst(`<leaseInfo><renewalIntervalInSecs>0x1p4</renewalIntervalInSecs></leaseInfo>`), "not a number"},
		{"Latin-1 that is not declared", XML, []byte("<?xml version='1.0'?>" + string(xinst("<sid>\xe9</sid>"))), "UTF-8"},
		{"an encoding that nobody knows", XML, []byte("<?xml version='1.0' encoding='x'?>" + string(xinst("<sid>\xe9</sid>"))), "UTF-8"},
		{"not UTF-8", JSON, inst("\"sid\":\"\xff\""), "UTF-8"},
		{"not UTF-8 in a key", JSON, inst("\"\xff\":1"), "UTF-8"},
		{"half a surrogate pair", JSON, inst(`"sid":"\ud800"`), "surrogate"},
		{"not UTF-8 in XML", XML, xinst("<sid>\xff</sid>"), "UTF-8"},
		{"not UTF-8 in a comment", XML, xinst("<!--\xff-->"), "UTF-8"},
		{"a control character in XML", XML, xinst("<sid>&#1;</sid>"), ""},
		{"a bomb of objects", JSON, inst(`"x":` + nest(`{"a":`, `}`, 1000)), "nested deeper than 64"},
		{"a bomb of arrays", JSON, inst(`"x":` + nest(`[`, `]`, 100_000)), "nested deeper than 64"},
		{"a bomb of elements", XML, xinst(nest(`<a>`, `</a>`, 100_000)), "nested deeper than 64"},
		{"a bomb of entities", XML, []byte(`<!DOCTYPE a [<!ENTITY a "aaaa">]>` + string(xinst("<sid>&a;</sid>"))), "document type"},
		{"an entity", XML, xinst("<sid>&nbsp;</sid>"), "entity"},
		{"another root", XML, []byte(`<application/>`), "is not instance"},
		{"a root in a name space", XML, []byte(`<a:instance/>`), "is not instance"},
		{"two roots", XML, []byte(string(xinst("")) + `<instance/>`), "something follows"},
		{"text behind", XML, []byte(string(xinst("")) + `x`), "something follows"},
		{"text before", XML, []byte(`x` + string(xinst(""))), "text before"},
		{"crossed tags", XML, []byte(`<instance><a><b></a></b></instance>`), "closed by a"},
		{"unknown format", JSON, []byte(`<instance/>`), "invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i, err := DecodeInstance(tt.f, tt.body)
			if err == nil {
				t.Fatalf("taken: %s", show(i))
			}
			if _, ok := errors.AsType[*DecodeError](err); !ok {
				t.Errorf("got a %T, want a DecodeError", err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q, want %q in it", err, tt.says)
			}
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// The bound on depth is where it says.
func TestMaxDepth(t *testing.T) {
	for depth, fits := range map[int]bool{MaxDepth: true, MaxDepth + 1: false} {
		n := depth - 2 // the wrapper and the instance
		if _, err := DecodeInstance(JSON, inst(`"x":`+strings.Repeat("[", n)+strings.Repeat("]", n))); (err == nil) != fits {
			t.Errorf("JSON of depth %d: %v", depth, err)
		}
		n = depth - 1 // the instance
		if _, err := DecodeInstance(XML, xinst(strings.Repeat("<a>", n)+strings.Repeat("</a>", n))); (err == nil) != fits {
			t.Errorf("XML of depth %d: %v", depth, err)
		}
	}
}

// What is not whole is refused, wherever it ends.
func TestTruncated(t *testing.T) {
	all := load(t, "server")
	bodies := [][]byte{
		find(t, all, "021-register-i-0aaa1111").req.body,
		find(t, all, "025-register-gw-1").req.body,
		find(t, all, "028-register-xml").req.body,
	}
	for _, body := range bodies {
		f := formatOf(body)
		for n := range body {
			if i, err := DecodeInstance(f, body[:n]); err == nil {
				t.Fatalf("%.*s: taken: %s", n, body, show(i))
			}
		}
	}
	list := find(t, all, "052-get-app-gateway-xml-compact").resp.body
	for n := range list {
		if _, err := DecodeApplication(XML, list[:n]); err == nil {
			t.Fatalf("%.*s: taken", n, list)
		}
	}
	batch := find(t, all, "284-batch-mixed").req.body
	for n := range batch {
		for _, o := range []ListOptions{{}, {NATS: true}} {
			if _, err := DecodeReplicationList(batch[:n], o); err == nil || errors.Is(err, ErrNoReplicationList) {
				t.Fatalf("%.*s: %v", n, batch, err)
			}
		}
	}
	answer := find(t, all, "267-batch-heartbeat-older").resp.body
	for n := range answer {
		if _, err := DecodeReplicationListResponse(answer[:n], 0); err == nil {
			t.Fatalf("%.*s: taken", n, answer)
		}
	}
}

// The time to decode grows with the body, not faster.
func TestDecodeLinear(t *testing.T) {
	tests := []struct {
		name string
		f    Format
		body []byte
	}{
		{"text in pieces", XML, xinst("<sid>" + strings.Repeat("<!---->a", 100_000) + "</sid>")},
		{"many attributes", XML, xinst("<x" + strings.Repeat(` a=""`, 100_000) + "/>")},
		{"many members", JSON, inst(strings.Repeat(`"status":"UP",`, 100_000) + `"a":1`)},
		{"escapes", JSON, inst(`"metadata":{"a":"` + strings.Repeat(`\u0041`, 200_000) + `"}`)},
		{"a great text", JSON, inst(`"sid":"` + strings.Repeat("a", 1<<20) + `"`)},
		{"failed members", JSON, inst(`"port":[` + strings.Repeat(`[],`, 200_000) + `1]`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := DecodeInstance(tt.f, tt.body)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v (%v)", took, err)
			}
		})
	}
}

// Lists are read as tolerantly as Eureka's own client reads them.
func TestDecodeApplicationsTolerates(t *testing.T) {
	const one = `{"instanceId":"i","hostName":"h","app":"A","ipAddr":"192.0.2.1","dataCenterInfo":{"name":"MyOwn"}`
	list := func(apps string) string {
		return `{"applications":{"versions__delta":"1","apps__hashcode":"UP_1_","application":` + apps + `}}`
	}
	app := func(instances string) string { return list(`[{"name":"A","instance":` + instances + `}]`) }
	normal := func() Applications {
		return Applications{Version: "1", HashCode: "UP_1_", Applications: []Application{{"A", []*InstanceInfo{plain()}}}}
	}
	tests := []struct {
		name  string
		f     Format
		body  string
		wants func(*Applications)
	}{
		{"plain", JSON, app(`[` + one + `}]`), func(*Applications) {}},
		{"unknown members everywhere", JSON, strings.Replace(app(`[`+one+`,"x":1,"y":{"app":"B"},"z":[{}],"leaseInfo":{"x":1},"port":{"$":7001,"@enabled":"true","x":1}}]`), `"name"`, `"x":{"name":"B"},"name"`, 1), func(*Applications) {}},
		{"single instance", JSON, app(one + `}`), func(*Applications) {}},
		{"single application", JSON, list(`{"name":"A","instance":[` + one + `}]}`), func(*Applications) {}},
		{"application missing", JSON, `{"applications":{"versions__delta":"1","apps__hashcode":"UP_1_"}}`, func(a *Applications) { a.Applications = nil }},
		{"application null", JSON, list(`null`), func(a *Applications) { a.Applications = nil }},
		{"application empty", JSON, list(`[]`), func(a *Applications) { a.Applications = nil }},
		{"nulls in arrays", JSON, list(`[null,{"name":"A","instance":[null,` + one + `}]}]`), func(*Applications) {}},
		{"instance empty", JSON, app(`[]`), func(a *Applications) { a.Applications[0].Instances = nil }},
		{"both spellings", JSON, app(`[` + one + `,"overriddenstatus":"DOWN","overriddenStatus":"UNKNOWN"}]`), func(*Applications) {}},
		{"unknown status", JSON, app(`[` + one + `,"status":"BROKEN"}]`), func(a *Applications) { a.Applications[0].Instances[0].Status = StatusUnknown }},
		{"version as a number", JSON, strings.Replace(app(`[`+one+`}]`), `"1"`, `1`, 1), func(*Applications) {}},
		{"version missing", JSON, `{"applications":{"apps__hashcode":"UP_1_","application":[{"name":"A","instance":[` + one + `}]}]}}`, func(a *Applications) { a.Version = "-1" }},
		{"hash missing", JSON, `{"applications":{"versions__delta":"1","application":[{"name":"A","instance":[` + one + `}]}]}}`, func(a *Applications) { a.HashCode = "" }},
		{"app of the list", JSON, list(`[{"instance":[` + strings.Replace(one, `"app":"A",`, "", 1) + `}],"name":"a"}]`), func(a *Applications) { a.Applications[0].Name = "a" }},
		{"XML", XML, `<applications><apps__hashcode>UP_1_</apps__hashcode><versions__delta>1</versions__delta><x/><application><name>A</name><x><name>B</name></x>` + string(xinst("")) + `</application></applications>`, func(*Applications) {}},
		{"XML without anything", XML, `<applications/>`, func(a *Applications) { *a = Applications{Version: "-1"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := normal()
			tt.wants(&want)
			got, err := DecodeApplications(tt.f, []byte(tt.body))
			if err != nil {
				t.Fatalf("%s: %v", tt.body, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %s\nwant %s", tt.body, show(got), show(want))
			}
		})
	}
	for _, body := range []string{`{}`, `{"applications":null}`, `{"applications":{},"x":1}`, `{"application":{}}`, `[]`, list(`"x"`), app(`[null,1]`)} {
		if a, err := DecodeApplications(JSON, []byte(body)); err == nil {
			t.Errorf("%s: taken: %s", body, show(a))
		}
	}
}

// Decoding leaves the body alone: the API may keep it.
func TestBodyStays(t *testing.T) {
	body := inst(`"metadata":{"a\u0062":"\ud83d\ude00"},"x":[1,{"y":null}],"vipAddress":"v"`)
	before := string(body)
	i, err := DecodeInstance(JSON, body)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != before {
		t.Errorf("got %s, want %s", body, before)
	}
	clear(body)
	if *i.VIPAddress != "v" || i.Metadata["ab"] != "\U0001f600" {
		t.Errorf("the instance changed with the body: %s", show(i))
	}
}

func TestDecodeErrorText(t *testing.T) {
	_, err := DecodeInstance(JSON, inst(fmt.Sprintf(`"metadata":{%q:[]}`, strings.Repeat("ü", 500))))
	if err == nil || len(err.Error()) > 250 || !strings.Contains(err.Error(), "…") {
		t.Errorf("got %v", err)
	}
}
