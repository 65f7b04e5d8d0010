package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/api"
)

type target struct {
	Targets []string
	Labels  map[string]string
}

func targets(t *testing.T, n *node, path string) []target {
	t.Helper()
	w := n.want(t, http.StatusOK, http.MethodGet, path, "")
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/json") { // which Prometheus asks for
		t.Errorf("Content-Type %q", got)
	}
	var got []target
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields() // as Prometheus's own
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestDiscovery compares a target with the labels that Prometheus's documentation lists for
// eureka_sd_configs.
func TestDiscovery(t *testing.T) {
	n := newNode(t, api.Options{})
	if w := n.want(t, http.StatusOK, http.MethodGet, "/prometheus/sd", ""); strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("without instances: %s, want an empty list", w.Body)
	}
	n.want(t, http.StatusNoContent, http.MethodPost, "/eureka/apps/ORDERS", `{"instance":{"instanceId":"o-1:80","hostName":"o-1.test","app":"ORDERS",
		"ipAddr":"192.0.2.1","status":"DOWN","port":{"$":8080,"@enabled":"true"},"securePort":{"$":8443,"@enabled":"false"},
		"homePageUrl":"http://home/","statusPageUrl":"http://status/","healthCheckUrl":"http://health/","vipAddress":"orders","secureVipAddress":"sorders",
		"countryId":7,"metadata":{"prometheus.scrape":"true","a-b":"1","a.b":"2","zone":"east"},
		"dataCenterInfo":{"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon","metadata":{"instance-id":"i-1","local-ipv4":"10.0.0.1"}}}}`,
		"Content-Type", jsonType)
	got := targets(t, n, "/prometheus/sd")
	want := map[string]string{
		"instance":                                                       "o-1:80",
		"__meta_eureka_app_name":                                         "ORDERS",
		"__meta_eureka_app_instance_id":                                  "o-1:80",
		"__meta_eureka_app_instance_hostname":                            "o-1.test",
		"__meta_eureka_app_instance_homepage_url":                        "http://home/",
		"__meta_eureka_app_instance_statuspage_url":                      "http://status/",
		"__meta_eureka_app_instance_healthcheck_url":                     "http://health/",
		"__meta_eureka_app_instance_ip_addr":                             "192.0.2.1",
		"__meta_eureka_app_instance_vip_address":                         "orders",
		"__meta_eureka_app_instance_secure_vip_address":                  "sorders",
		"__meta_eureka_app_instance_status":                              "DOWN",
		"__meta_eureka_app_instance_port":                                "8080",
		"__meta_eureka_app_instance_port_enabled":                        "true",
		"__meta_eureka_app_instance_secure_port":                         "8443",
		"__meta_eureka_app_instance_secure_port_enabled":                 "false",
		"__meta_eureka_app_instance_country_id":                          "7",
		"__meta_eureka_app_instance_metadata_prometheus_scrape":          "true",
		"__meta_eureka_app_instance_metadata_a_b":                        "2",
		"__meta_eureka_app_instance_metadata_zone":                       "east",
		"__meta_eureka_app_instance_datacenterinfo_name":                 "Amazon",
		"__meta_eureka_app_instance_datacenterinfo_metadata_instance_id": "i-1",
		"__meta_eureka_app_instance_datacenterinfo_metadata_local_ipv4":  "10.0.0.1",
	}
	if len(got) != 1 || len(got[0].Targets) != 1 || got[0].Targets[0] != "o-1.test:8080" {
		t.Fatalf("got %+v, want one target o-1.test:8080", got)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got := got[0].Labels[name]; got != want[name] {
			t.Errorf("%s: got %q, want %q", name, got, want[name])
		}
		delete(got[0].Labels, name)
	}
	if len(got[0].Labels) > 0 {
		t.Errorf("more labels: %v", got[0].Labels)
	}
}

func TestDiscoveryOfApplications(t *testing.T) {
	n := newNode(t, api.Options{})
	for _, app := range []string{"A", "B", "C"} {
		for id := range 2 {
			n.put(t, app, fmt.Sprint(id), "")
		}
	}
	for query, want := range map[string]int{"": 6, "?app=A": 2, "?app=a&app=C": 4, "?app=X": 0} {
		if got := targets(t, n, "/prometheus/sd"+query); len(got) != want {
			t.Errorf("%q: %d targets, want %d", query, len(got), want)
		}
	}
}

// TestDiscoveryKeepsTargets is 503 while lists may not be read: Prometheus then keeps what it has.
func TestDiscoveryKeepsTargets(t *testing.T) {
	for _, now := range []api.Readiness{
		{State: "syncing"},
		{State: "waiting: nothing to serve, lists are refused", Ready: true, Reads: true, Empty: true},
	} {
		newNode(t, api.Options{Node: &fakeNode{now: now}}).want(t, http.StatusServiceUnavailable, http.MethodGet, "/prometheus/sd", "")
	}
}

func TestInstanceMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	is := &fakeNode{now: api.Readiness{State: "degraded: 1 of 2 peers", Ready: true, Reads: true}}
	n := newNode(t, api.Options{Metrics: metrics, Node: is})
	n.put(t, "A", "1", "")
	n.put(t, "A", "2", "")
	n.put(t, "B", "1", "")
	n.want(t, http.StatusOK, http.MethodPut, "/eureka/apps/A/2/status?value=OUT_OF_SERVICE", "")
	const want = `
		# HELP registryd_instances Instances that readers see, without those of other regions. Of more than 1000 applications the first by name have series of their own, and the application (others) sums the rest.
		# TYPE registryd_instances gauge
		registryd_instances{application="A",status="OUT_OF_SERVICE"} 1
		registryd_instances{application="A",status="UP"} 1
		registryd_instances{application="B",status="UP"} 1
		# HELP registryd_instances_summed_applications Applications that registryd_instances sums as (others).
		# TYPE registryd_instances_summed_applications gauge
		registryd_instances_summed_applications 0
		# HELP registryd_state 1 for the state that the node is in, as the first word of /readyz.
		# TYPE registryd_state gauge
		registryd_state{state="degraded"} 1
		registryd_state{state="other"} 0
		registryd_state{state="ready"} 0
		registryd_state{state="stopping"} 0
		registryd_state{state="superseded"} 0
		registryd_state{state="syncing"} 0
		registryd_state{state="waiting"} 0
`
	names := []string{"registryd_instances", "registryd_instances_summed_applications", "registryd_state"}
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	is.now.State = "something new"
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(strings.NewReplacer(
		`"degraded"} 1`, `"degraded"} 0`, `"other"} 0`, `"other"} 1`).Replace(want)), names...); err != nil {
		t.Error(err)
	}
}

// TestInstanceMetricsAreBounded has as many applications as have series of their own, and more.
func TestInstanceMetricsAreBounded(t *testing.T) {
	metrics := prometheus.NewRegistry()
	n := newNode(t, api.Options{Metrics: metrics})
	series := func() map[string]float64 {
		t.Helper()
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				switch f.GetName() {
				case "registryd_instances":
					out[m.GetLabel()[0].GetValue()] += m.GetGauge().GetValue()
				case "registryd_instances_summed_applications":
					out["summed"] = m.GetGauge().GetValue()
				}
			}
		}
		return out
	}
	for i := range api.MaxCountedApps {
		n.put(t, fmt.Sprintf("APP-%04d", i), "1", "")
	}
	if got := series(); len(got) != api.MaxCountedApps+1 || got["summed"] != 0 || got[api.OtherApps] != 0 {
		t.Errorf("at the bound: %d series, %v summed, %v others", len(got), got["summed"], got[api.OtherApps])
	}
	for _, app := range []string{"Y", "Z"} {
		for id := range 2 {
			n.put(t, app, fmt.Sprint(id), "")
		}
	}
	if got := series(); len(got) != api.MaxCountedApps+2 || got["summed"] != 2 || got[api.OtherApps] != 4 || got["APP-0999"] != 1 {
		t.Errorf("beyond: %d series, %v summed, %v others", len(got), got["summed"], got[api.OtherApps])
	}
}
