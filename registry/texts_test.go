package registry_test

import (
	"testing"
	"unsafe"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestTextsAreStoredOnce registers instances whose texts repeat each other, each with bytes
// of its own, and reads them back as they were.
func TestTextsAreStoredOnce(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, newClock())
	own := func(s string) string { return string([]byte(s)) }
	var read []*eureka.InstanceInfo
	for _, host := range []string{"a.example", "b.example"} {
		i := instance(own("APP"), own(host+":8080"), eureka.StatusUp, 1)
		i.HostName = own(host)
		i.VIPAddress, i.SecureVIPAddress, i.ASGName = new(own("vip")), new(own("")), nil
		r.Register(i, registry.Origin{})
		got, ok := r.Instance(registry.NewKey("APP", host+":8080"))
		if !ok || *got.InstanceID != host+":8080" || got.HostName != host || *got.VIPAddress != "vip" || *got.SecureVIPAddress != "" || got.ASGName != nil {
			t.Fatalf("%+v", got)
		}
		read = append(read, got)
		if unsafe.StringData(got.HostName) != unsafe.StringData(*got.InstanceID) {
			t.Errorf("%s: its texts are stored twice", host)
		}
	}
	if read[0].VIPAddress != read[1].VIPAddress || read[0].SecureVIPAddress != read[1].SecureVIPAddress ||
		unsafe.StringData(read[0].App) != unsafe.StringData(read[1].App) {
		t.Error("what both have is stored twice")
	}
}
