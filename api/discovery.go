package api

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/registryd/registryd/eureka"
)

// targetGroup is one target of Prometheus's HTTP service discovery.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// Labels of targets begin as those of Prometheus's own eureka_sd_configs, and are the same: rules
// that were written for one work with the other.
const (
	appLabel      = "__meta_eureka_app_name"
	instanceLabel = "__meta_eureka_app_instance_"
)

// discover answers Prometheus's HTTP service discovery with a target for each instance that
// lists show, or for those of the applications that ?app= names. While lists may not be read it is
// 503: Prometheus keeps the targets that it has.
func (h *Handler) discover(w http.ResponseWriter, r *http.Request) int {
	now := h.opts.Node.Readiness()
	if !now.Reads || now.Empty {
		return text(w, http.StatusServiceUnavailable, "not yet: "+now.State)
	}
	given, err := parameters(r.URL.RawQuery, "app", "app")
	if err != nil {
		return text(w, http.StatusBadRequest, err.Error())
	}
	wanted := map[string]bool{}
	for _, app := range given["app"] {
		wanted[eureka.Upper(app)] = true
	}
	groups := []targetGroup{}
	h.eachShown(func(i *eureka.InstanceInfo) {
		if len(wanted) == 0 || wanted[i.App] {
			groups = append(groups, targetOf(i))
		}
	})
	body, err := json.Marshal(groups)
	if err != nil {
		return h.notEncoded(w, "targets", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	return h.sendList(w, "application/json; charset=utf-8", body)
}

// eachShown calls do with each instance that lists show to readers who name no region. What it
// says of renewals may be old.
func (h *Handler) eachShown(do func(*eureka.InstanceInfo)) {
	if h.regions != nil {
		for _, app := range h.regions.Applications(h.regions.Default(), h.reg).Applications {
			for _, i := range app.Instances {
				do(i)
			}
		}
		return
	}
	for _, part := range h.reg.List(h.opts.MaxAge).Parts {
		for i := range part.Views() {
			do(i)
		}
	}
}

func targetOf(i *eureka.InstanceInfo) targetGroup {
	value := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	labels := map[string]string{
		"instance": value(i.InstanceID),
		appLabel:   i.App,

		instanceLabel + "id":                  value(i.InstanceID),
		instanceLabel + "hostname":            i.HostName,
		instanceLabel + "homepage_url":        value(i.HomePageURL),
		instanceLabel + "statuspage_url":      value(i.StatusPageURL),
		instanceLabel + "healthcheck_url":     value(i.HealthCheckURL),
		instanceLabel + "ip_addr":             i.IPAddr,
		instanceLabel + "vip_address":         value(i.VIPAddress),
		instanceLabel + "secure_vip_address":  value(i.SecureVIPAddress),
		instanceLabel + "status":              string(i.Status),
		instanceLabel + "port":                strconv.Itoa(i.Port.Number),
		instanceLabel + "port_enabled":        strconv.FormatBool(i.Port.Enabled),
		instanceLabel + "secure_port":         strconv.Itoa(i.SecurePort.Number),
		instanceLabel + "secure_port_enabled": strconv.FormatBool(i.SecurePort.Enabled),
		instanceLabel + "country_id":          strconv.Itoa(i.CountryID),
		instanceLabel + "datacenterinfo_name": i.DataCenterInfo.Name,
	}
	addLabels(labels, instanceLabel+"datacenterinfo_metadata_", i.DataCenterInfo.Metadata)
	addLabels(labels, instanceLabel+"metadata_", i.Metadata)
	for name, v := range labels {
		labels[name] = strings.ToValidUTF8(v, "\uFFFD") // else Prometheus refuses the whole list
	}
	return targetGroup{
		Targets: []string{net.JoinHostPort(i.HostName, strconv.Itoa(i.Port.Number))}, Labels: labels,
	}
}

// addLabels adds metadata. Of several keys that make the same label the last one counts.
func addLabels(labels map[string]string, prefix string, metadata map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		labels[prefix+labelName(key)] = metadata[key]
	}
}

// labelName replaces what may not be in the name of a label, as Prometheus does.
func labelName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
}
