package interop_test

import (
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

// parseStrictly reads one XML document and nothing behind it.
func parseStrictly(text string) (element, error) {
	d := xml.NewDecoder(strings.NewReader(text))
	var root element
	if err := d.Decode(&root); err != nil {
		return root, err
	}
	if extra, err := d.Token(); !errors.Is(err, io.EOF) {
		return root, fmt.Errorf("behind </%s>: token %v, error %v, want the end", root.XMLName.Local, extra, err)
	}
	return root, nil
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
			// faults made sure that both are there.
			id, _ := instance.only("instanceId")
			status, _ := instance.only("status")
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
