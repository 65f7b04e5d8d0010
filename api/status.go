package api

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
)

// stat is one line of Eureka's status resource.
type stat struct{ name, value string }

// status answers with Eureka's status page (StatusResource, StatusInfo) in both
// formats; Spring's server fails for JSON. The spelling isHeathly is Java's.
func (h *Handler) status(w http.ResponseWriter, r *http.Request) int {
	f, ok := answerFormat(w, r)
	if !ok {
		return notAcceptable(w)
	}
	node := h.opts.Node.Overview()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	uptime := time.Duration(0)
	if !node.Started.IsZero() {
		uptime = time.Since(node.Started)
	}
	var registered, available, unavailable []string
	for _, p := range node.Peers {
		registered = append(registered, p.URL)
		if p.Available() {
			available = append(available, p.URL)
		} else {
			unavailable = append(unavailable, p.URL)
		}
	}
	general := []stat{
		{"environment", node.Cluster},
		{"num-of-cpus", strconv.Itoa(runtime.NumCPU())},
		{"total-avail-memory", strconv.FormatUint(memory.Sys>>20, 10) + "mb"},
		{"current-memory-usage", strconv.FormatUint(memory.HeapAlloc>>20, 10) + "mb"},
		{"server-uptime", uptimeText(uptime)},
	}
	application := []stat{
		{"registered-replicas", strings.Join(registered, ",")},
		{"available-replicas", strings.Join(available, ",")},
		{"unavailable-replicas", strings.Join(unavailable, ",")},
	}
	if f == eureka.XML {
		return document(w, http.StatusOK, f.ContentType(), appendXMLStatus(nil, general, application, node.Ready))
	}
	body, err := jsonStatus(general, application, node.Ready)
	if err != nil {
		return h.notEncoded(w, "status", err)
	}
	return document(w, http.StatusOK, f.ContentType(), body)
}

// xmlStatus is Java's name for the page, which its XML spells out.
const xmlStatus = "com.netflix.eureka.util.StatusInfo"

func appendXMLStatus(b []byte, general, application []stat, healthy bool) []byte {
	b = append(b, "<"+xmlStatus+">"...)
	b = appendXMLStats(b, "generalStats", general)
	b = appendXMLStats(b, "applicationStats", application)
	b = append(b, "<isHeathly>"...)
	b = strconv.AppendBool(b, healthy)
	return append(b, "</isHeathly></"+xmlStatus+">"...)
}

// appendXMLStats writes an element for each stat, as Java's converter for maps does.
func appendXMLStats(b []byte, name string, stats []stat) []byte {
	b = append(append(append(b, '<'), name...), '>')
	for _, s := range stats {
		b = append(append(append(b, '<'), s.name...), '>')
		b = appendXMLText(b, s.value)
		b = append(append(append(b, "</"...), s.name...), '>')
	}
	return append(append(append(b, "</"...), name...), '>')
}

// jsonStatus is the page in JSON, which only Netflix's server has.
func jsonStatus(general, application []stat, healthy bool) ([]byte, error) {
	members := func(stats []stat) map[string]string {
		m := make(map[string]string, len(stats))
		for _, s := range stats {
			m[s.name] = s.value
		}
		return m
	}
	return json.Marshal(struct {
		General     map[string]string `json:"generalStats"`
		Application map[string]string `json:"applicationStats"`
		Healthy     bool              `json:"isHeathly"`
	}{members(general), members(application), healthy})
}

// appendXMLText appends s as the text of an element. Characters that XML does not
// have become U+FFFD.
func appendXMLText(b []byte, s string) []byte {
	var out bytes.Buffer
	if err := xml.EscapeText(&out, []byte(strings.ToValidUTF8(s, "\uFFFD"))); err != nil {
		return b // a buffer takes all
	}
	return append(b, out.Bytes()...)
}

// uptimeText writes a time as Eureka does: days, then hours:minutes.
func uptimeText(d time.Duration) string {
	minutes := int64(d / time.Minute)
	days, hours := minutes/(24*60), minutes/60%24
	clock := []byte{'0' + byte(hours/10), '0' + byte(hours%10), ':', '0' + byte(minutes%60/10), '0' + byte(minutes%10)}
	switch days {
	case 0:
		return string(clock)
	case 1:
		return "1 day " + string(clock)
	default:
		return strconv.FormatInt(days, 10) + " days " + string(clock)
	}
}
