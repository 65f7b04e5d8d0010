// Package prometheus_test shows rules, the dashboard and service discovery to the real promtool.
package prometheus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

const (
	deploy   = "../../deploy"
	patience = 30 * time.Second
)

// promtool runs Prometheus's own tool and returns its output.
func promtool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: Debian's package prometheus has it, and any release of Prometheus")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("promtool %s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestAlerts(t *testing.T) {
	dir := filepath.Join(deploy, "prometheus")
	promtool(t, dir, "check", "rules", "alerts.yml")
	promtool(t, dir, "test", "rules", "alerts_test.yml")
	promtool(t, dir, "check", "config", "prometheus.yml")
}

// TestDashboard has promtool read every expression of the dashboard, as a rule.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "grafana", "registryd.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", "registryd", "$instance", ".+")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	count := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			fmt.Fprintf(&rules, "  - record: panel:%d\n    expr: %q\n", count, variables.Replace(target.Expr))
			count++
		}
	}
	if count < 20 {
		t.Fatalf("%d expressions found: is the format another?", count)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := promtool(t, dir, "check", "rules", "rules.yml"); !regexp.MustCompile(fmt.Sprintf(`%d rules found`, count)).MatchString(out) {
		t.Errorf("promtool says %q, want %d rules", out, count)
	}
}

// TestServiceDiscovery has Prometheus find the targets of one node both ways: by its own
// eureka_sd_configs, and by http_sd_configs. It must find the same.
func TestServiceDiscovery(t *testing.T) {
	address := startNode(t)
	for i, instance := range []string{
		`"instanceId":"o-1:8080","hostName":"o-1.test","app":"ORDERS","ipAddr":"192.0.2.1","status":"UP","port":{"$":8080,"@enabled":"true"},
		 "securePort":{"$":8443,"@enabled":"false"},"homePageUrl":"http://o-1.test/","statusPageUrl":"http://o-1.test/info","healthCheckUrl":"http://o-1.test/health",
		 "vipAddress":"orders","secureVipAddress":"sorders","countryId":7,"metadata":{"prometheus.scrape":"true","zone":"east","a-b":"1"},
		 "dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}`,
		`"hostName":"u-1.test","app":"USERS","ipAddr":"192.0.2.2","status":"DOWN",
		 "dataCenterInfo":{"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon","metadata":{"instance-id":"i-1","availability-zone":"us-1"}}`,
	} {
		app := []string{"ORDERS", "USERS"}[i]
		res, err := http.Post("http://"+address+"/eureka/apps/"+app, "application/json", strings.NewReader(`{"instance":{`+instance+`}}`)) //nolint:noctx // A test's own server.
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusNoContent {
			t.Fatalf("register %s: %s", app, res.Status)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	config := fmt.Sprintf("scrape_configs:\n- job_name: eureka\n  eureka_sd_configs: [{server: 'http://%[1]s/eureka'}]\n"+
		"- job_name: http\n  http_sd_configs: [{url: 'http://%[1]s/prometheus/sd'}]\n"+
		"- job_name: one\n  http_sd_configs: [{url: 'http://%[1]s/prometheus/sd?app=users'}]\n", address)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	eureka, byHTTP, one := discovered(t, dir, "eureka"), discovered(t, dir, "http"), discovered(t, dir, "one")
	if len(eureka) != 2 {
		t.Fatalf("eureka_sd_configs finds %v, want two targets", eureka)
	}
	if !reflect.DeepEqual(byHTTP, eureka) {
		t.Errorf("http_sd_configs finds\n%v\neureka_sd_configs\n%v", byHTTP, eureka)
	}
	if len(one) != 1 || !reflect.DeepEqual(one, slices.DeleteFunc(eureka, func(l map[string]string) bool { return l["__meta_eureka_app_name"] != "USERS" })) {
		t.Errorf("of USERS it finds %v", one)
	}
}

// discovered returns the labels of the targets of a job, in order.
func discovered(t *testing.T, dir, job string) []map[string]string {
	t.Helper()
	out := promtool(t, dir, "check", "service-discovery", "--timeout=3s", "prometheus.yml", job)
	var targets []struct {
		DiscoveredLabels map[string]string `json:"discoveredLabels"`
	}
	if err := json.Unmarshal([]byte(out), &targets); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var all []map[string]string
	for _, target := range targets {
		for _, label := range []string{"job", "__meta_url"} { // which tell the two apart
			delete(target.DiscoveredLabels, label)
		}
		all = append(all, target.DiscoveredLabels)
	}
	slices.SortFunc(all, func(a, b map[string]string) int {
		return strings.Compare(a["__meta_eureka_app_name"], b["__meta_eureka_app_name"])
	})
	return all
}

// startNode starts a node and returns its address.
func startNode(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("INTEROP_REGISTRYD")
	if binary == "" {
		binary = "../../bin/registryd"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // A test's own address.
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = process.Start(t, "registryd", func(string) bool { return true }, nil, binary,
		"serve", "--listen", address, "--node", "a", "--embedded-listen", "127.0.0.1:0", "--data", "none")
	if err != nil {
		t.Fatal(err)
	}
	ready := errors.New("not asked yet")
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for ready != nil {
		select {
		case <-deadline:
			t.Fatalf("not ready after %v: %v", patience, ready)
		case <-tick.C:
		}
		res, err := http.Get("http://" + address + "/readyz") //nolint:noctx // A test's own server.
		if ready = err; err == nil {
			if res.StatusCode != http.StatusOK {
				ready = errors.New(res.Status)
			}
			ready = errors.Join(ready, res.Body.Close())
		}
	}
	return address
}
