package interop_test

import (
	"testing"

	"github.com/hudl/fargo"
)

// mixed is the scenario's cast, and what must be true of it.
type mixed struct {
	*cluster
	inJSON, inXML, mortal *fargoClient
	js, mortalJS          *jsClient
	metadata              map[string]map[string]string // of all instances, by id
	watch                 *watch
}

func newMixed(t *testing.T) *mixed {
	t.Helper()
	m := &mixed{
		cluster: newCluster(t),
		metadata: map[string]map[string]string{
			idJSON: {"format": "json", "weight": "7"}, idXML: {"format": "xml"}, idJS: {"format": "js"},
			idMortalXML: {"format": "xml"}, idMortalJS: {"format": "js"},
		},
		inJSON: &fargoClient{name: "fargo with JSON", json: true, instance: &fargo.Instance{
			InstanceId: idJSON, App: "FARGO-JSON", HostName: "host-json.example", IPAddr: "192.0.2.1",
			Port: 8081, PortEnabled: true, SecurePort: 8444, SecurePortEnabled: true,
			HomePageUrl: "http://host-json.example:8081/", StatusPageUrl: "http://host-json.example:8081/info",
			HealthCheckUrl: "http://host-json.example:8081/health",
			DataCenterInfo: fargo.DataCenterInfo{Name: fargo.MyOwn},
		}},
		inXML: &fargoClient{name: "fargo with XML", instance: &fargo.Instance{
			InstanceId: idXML, App: "FARGO-XML", HostName: "host-xml.example", IPAddr: "192.0.2.2",
			Port: 8082, PortEnabled: true, SecurePort: 8445,
			HomePageUrl: "http://host-xml.example:8082/?a=1&b=<2>", StatusPageUrl: "http://host-xml.example:8082/info",
			HealthCheckUrl: "http://host-xml.example:8082/health",
			DataCenterInfo: fargo.DataCenterInfo{Name: fargo.Amazon, Metadata: fargo.AmazonMetadataType{
				InstanceID: idXML, AvailabilityZone: zone, AmiID: "ami-1", InstanceType: "m5.large",
				PublicIpv4: "198.51.100.2", LocalIpv4: "192.0.2.2", HostName: "host-xml.example",
			}},
		}},
		mortal: &fargoClient{name: "fargo with XML, mortal", instance: &fargo.Instance{
			InstanceId: idMortalXML, App: "FARGO-MORTAL", HostName: "host-mortal.example", IPAddr: "192.0.2.4",
			Port: 8084, PortEnabled: true, SecurePort: 8446,
			HomePageUrl:    "http://host-mortal.example:8084/",
			DataCenterInfo: fargo.DataCenterInfo{Name: fargo.MyOwn},
		}},
	}
	for _, c := range []*fargoClient{m.inJSON, m.inXML, m.mortal} {
		i := c.instance
		i.VipAddress, i.SecureVipAddress, i.Status, i.CountryId = vip, secureVIP, fargo.UP, 1
		i.LeaseInfo = fargo.LeaseInfo{RenewalIntervalInSecs: int32(renewal.Seconds()), DurationInSecs: lease}
		for key, value := range m.metadata[i.InstanceId] {
			i.SetMetadataString(key, value)
		}
		t.Cleanup(c.abandon)
	}
	m.mortal.instance.LeaseInfo.DurationInSecs = shortLease
	return m
}

// jsInstance is what eureka-js-client is configured with.
func (m *mixed) jsInstance(id, app, host, ip string, port, duration int) map[string]any {
	return map[string]any{
		"app": app, "instanceId": id, "hostName": host, "ipAddr": ip,
		"port":       map[string]any{"$": port, "@enabled": true},
		"vipAddress": vip, "homePageUrl": "http://" + host + "/",
		"dataCenterInfo": map[string]any{
			"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn",
		},
		"leaseInfo": map[string]any{"renewalIntervalInSecs": int(renewal.Seconds()), "durationInSecs": duration},
		"metadata":  m.metadata[id],
	}
}

func (m *mixed) fargos() []*fargoClient { return []*fargoClient{m.inJSON, m.inXML} }
