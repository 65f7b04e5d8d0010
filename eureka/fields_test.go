package eureka

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
)

// leaves calls visit for each single value in v, with its path.
func leaves(t *testing.T, v reflect.Value, path string, visit func(path string, field reflect.Value)) {
	t.Helper()
	if v.Kind() != reflect.Struct {
		visit(path, v)
		return
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if path != "" {
			name = path + "." + name
		}
		leaves(t, v.Field(i), name, visit)
	}
}

// other gives a field another value than it has.
func other(t *testing.T, path string, field reflect.Value) {
	t.Helper()
	switch path {
	case "Status", "OverriddenStatus":
		field.SetString("STARTING")
		return
	case "ActionType":
		field.SetString("MODIFIED")
		return
	case "DataCenterInfo.Name":
		field.SetString(Netflix)
		return
	}
	switch v := field.Addr().Interface().(type) {
	case *string:
		*v += "X"
	case **string:
		*v = new("X")
	case *bool:
		*v = !*v
	case *int:
		*v++
	case *int64:
		*v++
	case *map[string]string:
		*v = map[string]string{"public-ipv4": "192.0.2.7"}
	default:
		t.Fatalf("%s: a field of type %T: teach this test to change one", path, v)
	}
}

// TestEveryField: each field of an instance is written and read back, in each
// format; compact answers have Eureka's fields and no other. A new field that is
// forgotten in one of the codecs fails here.
func TestEveryField(t *testing.T) {
	compact := []string{
		"InstanceID", "HostName", "App", "IPAddr", "Status", "Port.Number", "Port.Enabled", "SecurePort.Number", "SecurePort.Enabled",
		"DataCenterInfo.Name", "DataCenterInfo.Metadata", "VIPAddress", "SecureVIPAddress", "ASGName", "LastUpdatedTimestamp", "ActionType",
	}
	base := func(path string) *InstanceInfo {
		i := newInstance()
		i.HostName, i.App, i.IPAddr, i.DataCenterInfo.Name = "h", "A", "192.0.2.1", MyOwn
		if path == "DataCenterInfo.Metadata" {
			i.DataCenterInfo = DataCenterInfo{Name: Amazon, Metadata: map[string]string{"instance-id": "i-1"}}
		}
		return i
	}
	seen := 0
	leaves(t, reflect.ValueOf(newInstance()).Elem(), "", func(path string, _ reflect.Value) {
		seen++
		plain, changed := base(path), base(path)
		leaves(t, reflect.ValueOf(changed).Elem(), "", func(at string, field reflect.Value) {
			if at == path {
				other(t, path, field)
			}
		})
		for _, f := range []Format{JSON, XML} {
			got, err := DecodeInstance(f, f.AppendInstanceDocument(nil, changed))
			if err != nil || !reflect.DeepEqual(got, changed) {
				t.Errorf("%s in format %d: got %s, %v, want %s", path, f, show(got), err, show(changed))
			}
			form := Form{Format: f, Compact: true}
			differs := !bytes.Equal(form.AppendInstance(nil, plain), form.AppendInstance(nil, changed))
			if differs != slices.Contains(compact, path) {
				t.Errorf("%s in compact form of format %d: reported %t", path, f, differs)
			}
		}
	})
	if seen < len(compact)+15 {
		t.Errorf("%d fields seen", seen)
	}
}
