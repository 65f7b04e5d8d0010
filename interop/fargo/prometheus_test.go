package interop_test

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// element is any XML element.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// only returns the one child of that name.
func (e element) only(name string) (element, error) {
	var found []element
	for _, child := range e.Children {
		if child.XMLName.Local == name {
			found = append(found, child)
		}
	}
	if len(found) != 1 {
		return element{}, fmt.Errorf("<%s> holds %d <%s>, want 1", e.XMLName.Local, len(found), name)
	}
	return found[0], nil
}

var errNotSpace = errors.New("not space")

// parseStrictly reads one XML document and nothing but space behind it.
func parseStrictly(text string) (element, error) {
	d := xml.NewDecoder(strings.NewReader(text))
	var root element
	if err := d.Decode(&root); err != nil {
		return root, err
	}
	for {
		extra, err := d.Token()
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if text, ok := extra.(xml.CharData); !ok || strings.TrimSpace(string(text)) != "" {
			return root, fmt.Errorf("behind </%s>: token %v, want the end: %w", root.XMLName.Local, extra, cmp.Or(err, errNotSpace))
		}
	}
}

// Readers that decode into typed fields, Prometheus's discovery among them, fail
// on the whole list when one of these is not what its kind says.
var (
	integers = []string{"port", "securePort", "countryId", "lastUpdatedTimestamp", "lastDirtyTimestamp"}
	booleans = []string{"isCoordinatingDiscoveryServer"}
	enabled  = []string{"port", "securePort"} // with that attribute
	leaseInt = []string{
		"renewalIntervalInSecs", "durationInSecs", "registrationTimestamp",
		"lastRenewalTimestamp", "evictionTimestamp", "serviceUpTimestamp",
	}
	texts = []string{"instanceId", "hostName", "app", "ipAddr", "vipAddress", "homePageUrl", "overriddenstatus", "actionType"}
	// statuses in the order of the hash code.
	statuses = []string{"DOWN", "OUT_OF_SERVICE", "STARTING", "UNKNOWN", "UP"}
)

// faults returns what is wrong with one <instance>.
func (e element) faults() error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	integer := func(in element, name string) {
		child, err := in.only(name)
		if err == nil {
			_, err = strconv.ParseInt(child.Text, 10, 64)
		}
		note(err)
	}
	for _, name := range integers {
		integer(e, name)
	}
	for _, name := range booleans {
		child, err := e.only(name)
		note(err)
		note(isBoolean(name, child.Text))
	}
	for _, name := range enabled {
		child, err := e.only(name)
		note(err)
		note(isBoolean(name+"'s enabled", child.attr("enabled")))
	}
	for _, name := range texts {
		child, err := e.only(name)
		if err == nil && (child.Text == "" || len(child.Children) > 0) {
			err = fmt.Errorf("<%s> holds text %q and %d elements, want a text alone", name, child.Text, len(child.Children))
		}
		note(err)
	}
	lease, err := e.only("leaseInfo")
	note(err)
	for _, name := range leaseInt {
		integer(lease, name)
	}
	status, err := e.only("status")
	note(err)
	if !slices.Contains(statuses, status.Text) {
		note(fmt.Errorf("status %q, want one of %v", status.Text, statuses))
	}
	center, err := e.only("dataCenterInfo")
	note(err)
	_, err = center.only("name")
	note(err)
	return errors.Join(errs...)
}

func isBoolean(what, text string) error {
	if text != "true" && text != "false" {
		return fmt.Errorf("%s is %q, want true or false", what, text)
	}
	return nil
}

// labels returns the children of <metadata> in e by their names, which Prometheus
// makes labels of.
func (e element) labels() (map[string]string, error) {
	metadata, err := e.only("metadata")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, child := range metadata.Children {
		if len(child.Children) > 0 {
			return nil, fmt.Errorf("metadata <%s> holds elements", child.XMLName.Local)
		}
		out[child.XMLName.Local] = child.Text
	}
	return out, nil
}

// checkForPrometheus reads a node's list as Prometheus's discovery does: at
// {server}/apps without a slash behind and without an Accept. metadata is what
// the instances must say in theirs, by id.
func (c *cluster) checkForPrometheus(ctx context.Context, t *testing.T, url string, metadata map[string]map[string]string) {
	t.Helper()
	header, body, err := c.get(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("Content-Type"); got != "application/xml" {
		t.Errorf("%s: Content-Type %q, want application/xml", url, got)
	}
	root, err := parseStrictly(body)
	if err != nil {
		t.Fatalf("%s: %v in\n%s", url, err, body)
	}
	if root.XMLName.Local != "applications" {
		t.Fatalf("%s: the root is <%s>, want <applications>", url, root.XMLName.Local)
	}
	delta, err := root.only("versions__delta")
	if err != nil {
		t.Errorf("%s: %v", url, err)
	} else if _, err := strconv.Atoi(delta.Text); err != nil {
		t.Errorf("%s: versions__delta: %v", url, err)
	}
	count := map[string]int{}
	var seen []string
	for _, app := range root.Children {
		if app.XMLName.Local != "application" {
			continue
		}
		name, err := app.only("name")
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		for _, instance := range app.Children {
			if instance.XMLName.Local != "instance" {
				continue
			}
			if err := instance.faults(); err != nil {
				t.Errorf("%s: instance of %s:\n%v", url, name.Text, err)
				continue
			}
			id, err := instance.only("instanceId")
			if err != nil {
				t.Fatal(err) // faults looked for it, and for the status
			}
			status, err := instance.only("status")
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, id.Text)
			count[status.Text]++
			labels, err := instance.labels()
			if err != nil {
				t.Errorf("%s: %s: %v", url, id.Text, err)
			} else if want := metadata[id.Text]; !maps.Equal(labels, want) {
				t.Errorf("%s: metadata of %s: got %v, want %v", url, id.Text, labels, want)
			}
			if err := checkDataCenter(instance, id.Text); err != nil {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	slices.Sort(seen)
	if want := slices.Sorted(maps.Keys(metadata)); !slices.Equal(seen, want) {
		t.Errorf("%s: lists %v, want %v", url, seen, want)
	}
	want := ""
	for _, status := range statuses {
		if n := count[status]; n > 0 {
			want += fmt.Sprintf("%s_%d_", status, n)
		}
	}
	if hash, err := root.only("apps__hashcode"); err != nil || hash.Text != want {
		t.Errorf("%s: apps__hashcode %q (%v), want %q by its own statuses", url, hash.Text, err, want)
	}
}

// checkDataCenter looks at the metadata of an Amazon data centre, which becomes
// labels as well.
func checkDataCenter(instance element, id string) error {
	center, err := instance.only("dataCenterInfo")
	if err != nil {
		return err
	}
	if name, err := center.only("name"); err != nil || name.Text != "Amazon" {
		return err
	}
	labels, err := center.labels()
	if err == nil && (labels["instance-id"] != id || labels["availability-zone"] != zone) {
		err = fmt.Errorf("data centre of %s: got %v, want its id and zone %s", id, labels, zone)
	}
	return err
}

// goodInstance has all that faults asks for, as Eureka writes it.
const goodInstance = `<instance><instanceId>i</instanceId><hostName>h</hostName><app>A</app><ipAddr>192.0.2.1</ipAddr>
<status>UP</status><overriddenstatus>UNKNOWN</overriddenstatus>
<port enabled="true">8080</port><securePort enabled="false">443</securePort><countryId>1</countryId>
<dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"><name>MyOwn</name></dataCenterInfo>
<leaseInfo><renewalIntervalInSecs>30</renewalIntervalInSecs><durationInSecs>90</durationInSecs>
<registrationTimestamp>1700000000000</registrationTimestamp><lastRenewalTimestamp>1700000000000</lastRenewalTimestamp>
<evictionTimestamp>0</evictionTimestamp><serviceUpTimestamp>1700000000000</serviceUpTimestamp></leaseInfo>
<metadata class="java.util.Collections$EmptyMap"/><homePageUrl>http://h/</homePageUrl><vipAddress>v</vipAddress>
<isCoordinatingDiscoveryServer>false</isCoordinatingDiscoveryServer>
<lastUpdatedTimestamp>1700000000000</lastUpdatedTimestamp><lastDirtyTimestamp>1700000000000</lastDirtyTimestamp>
<actionType>ADDED</actionType></instance>`

// TestXMLFaults shows that the check of the lists finds what it is for.
func TestXMLFaults(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           string // part of the fault; empty: none
	}{
		{"as it is", "", "", ""},
		{"space behind the end", "</instance>", "</instance>\n", ""},
		{"enabled in words", `enabled="true"`, `enabled="yes"`, "port's enabled"},
		{"enabled missing", ` enabled="false"`, "", "securePort's enabled"},
		{"port without a number", ">8080<", "><", "invalid syntax"},
		{"country in words", "<countryId>1<", "<countryId>one<", "invalid syntax"},
		{"country twice", "<countryId>", "<countryId>1</countryId><countryId>", "2 <countryId>"},
		{"coordinating in capitals", ">false<", ">FALSE<", "isCoordinatingDiscoveryServer"},
		{"time with a fraction", "<lastDirtyTimestamp>1700000000000", "<lastDirtyTimestamp>1.7e12", "invalid syntax"},
		{"lease incomplete", "<evictionTimestamp>0</evictionTimestamp>", "", "0 <evictionTimestamp>"},
		{"override in camel case", "overriddenstatus", "overriddenStatus", "0 <overriddenstatus>"},
		{"another status", ">UP<", ">READY<", "READY"},
		{"data centre without a name", "<name>MyOwn</name>", "", "0 <name>"},
		{"text behind the end", "</instance>", "</instance>more", "behind </instance>"},
		{"second root", "</instance>", "</instance><instance/>", "behind </instance>"},
		{"bare ampersand", "http://h/", "http://h/?a&b", "XML syntax error"},
		{"not closed", "</leaseInfo>", "", "XML syntax error"},
		{"crossed", "</app>", "</ap>", "XML syntax error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, err := parseStrictly(strings.ReplaceAll(goodInstance, tt.old, tt.new))
			if err == nil {
				err = root.faults()
			}
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("fault: got %v, want one with %q", err, tt.want)
			}
		})
	}
}
