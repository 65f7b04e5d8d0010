package eureka

import (
	"reflect"
	"testing"
)

func TestCheck(t *testing.T) {
	amazon := DataCenterInfo{Name: Amazon, Metadata: map[string]string{"instance-id": "i-1"}}
	tests := []struct {
		name string
		path string
		set  func(*InstanceInfo)
		want string
	}{
		{"fine", "A", func(*InstanceInfo) {}, ""},
		{"fine in lower case", "a", func(*InstanceInfo) {}, ""},
		{"no id at all", "A", func(i *InstanceInfo) { i.InstanceID, i.HostName, i.IPAddr = nil, "", "" }, "Missing instanceId"},
		{"id of the data centre, no host", "A", func(i *InstanceInfo) { i.InstanceID, i.HostName, i.DataCenterInfo = nil, "", amazon }, "Missing hostname"},
		{"no host, no ip", "A", func(i *InstanceInfo) { i.HostName, i.IPAddr = "", "" }, "Missing hostname"},
		{"no ip, no app", "A", func(i *InstanceInfo) { i.IPAddr, i.App = "", "" }, "Missing ip address"},
		{"no app, no data centre", "A", func(i *InstanceInfo) { i.App, i.DataCenterInfo = "", DataCenterInfo{} }, "Missing appName"},
		{"another app", "other", func(i *InstanceInfo) { i.DataCenterInfo = DataCenterInfo{} }, "Mismatched appName, expecting OTHER but was A"},
		{"no data centre", "A", func(i *InstanceInfo) { i.DataCenterInfo = DataCenterInfo{} }, "Missing dataCenterInfo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := plain()
			tt.set(i)
			got := ""
			if err := i.Check(tt.path); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("nameless data centre", func(t *testing.T) {
		for _, body := range []string{`{}`, `{"name":null}`, `{"name":""}`, `{"@class":"x"}`} {
			i, err := DecodeInstance(JSON, inst(`"dataCenterInfo":`+body))
			if err != nil {
				t.Fatal(err)
			}
			if err := i.Check("A"); err == nil || err.Error() != "Missing dataCenterInfo Name" {
				t.Errorf("%s: got %v", body, err)
			}
		}
		for _, body := range []string{`<dataCenterInfo/>`, `<dataCenterInfo class="x"><x>1</x></dataCenterInfo>`} {
			i, err := DecodeInstance(XML, xinst(body))
			if err != nil {
				t.Fatal(err)
			}
			if err := i.Check("A"); err == nil || err.Error() != "Missing dataCenterInfo" { // unlike in JSON
				t.Errorf("%s: got %v", body, err)
			}
		}
	})
	t.Run("Amazon gets its id", func(t *testing.T) {
		shared := map[string]string{"mac": "m"}
		i := plain()
		i.DataCenterInfo = DataCenterInfo{Name: Amazon, Metadata: shared}
		if err := i.Check("A"); err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"mac": "m", "instance-id": "i"}; !reflect.DeepEqual(i.DataCenterInfo.Metadata, want) {
			t.Errorf("got %v, want %v", i.DataCenterInfo.Metadata, want)
		}
		if len(shared) != 1 {
			t.Errorf("the given map changed: %v", shared)
		}
	})
	t.Run("refused Amazon stays", func(t *testing.T) {
		i := plain()
		i.DataCenterInfo = DataCenterInfo{Name: Amazon}
		if err := i.Check("B"); err == nil || i.DataCenterInfo.Metadata != nil {
			t.Errorf("got %v, %v", err, i.DataCenterInfo.Metadata)
		}
	})
}

func TestStatusCounts(t *testing.T) {
	var c StatusCounts
	if got := c.HashCode(); got != "" {
		t.Errorf("empty: got %q", got)
	}
	add := func(s Status, n int) {
		for range n {
			c.Add(s)
		}
	}
	add(StatusUp, 8)
	add(StatusOutOfService, 2)
	add(StatusUnknown, 1)
	add(StatusDown, 1)
	add(StatusStarting, 1)
	if got, want := c.HashCode(), "DOWN_1_OUT_OF_SERVICE_2_STARTING_1_UNKNOWN_1_UP_8_"; got != want { // recorded
		t.Errorf("got %q, want %q", got, want)
	}
	c.Add("BROKEN")
	if c.Count(StatusUnknown) != 2 {
		t.Errorf("got %d unknown, want 2", c.Count(StatusUnknown))
	}
	c.Remove("BROKEN")
	c.Remove(StatusUnknown)
	c.Remove(StatusDown)
	if got, want := c.HashCode(), "OUT_OF_SERVICE_2_STARTING_1_UP_8_"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := testing.AllocsPerRun(100, func() { c.Add(StatusUp); c.Remove(StatusUp) }); n != 0 {
		t.Errorf("Add and Remove allocate %v times", n)
	}
}

func TestContentType(t *testing.T) {
	for form, want := range map[Form]string{{}: "application/json", {JSON, true}: "application/json", {XML, false}: "application/xml", {XML, true}: "application/xml"} {
		if got := form.ContentType(); got != want {
			t.Errorf("%+v: got %q, want %q", form, got, want)
		}
	}
}
